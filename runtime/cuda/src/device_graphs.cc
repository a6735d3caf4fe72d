// Graphs of a session: recording a run, launching it again, and changing what is different
// in the next one.
#include "device_session.h"

using namespace llmopt::rt;

namespace {
constexpr int kCaptureThreadLocal = 1;
} // namespace

bool DeviceSession::mayCapture() const {
  if (model->desc.num_data_symbols)
    return false;
  for (uint32_t s = 0; s < model->desc.num_steps; ++s)
    if (model->desc.steps[s].control != LLMOPT_CONTROL_NONE && model->desc.steps[s].control != LLMOPT_CONTROL_CHECK)
      return false;
  return true;
}

bool DeviceSession::allocateGraphs() {
  const llmopt_model_desc &desc = model->desc;
  size_t keyLength = 4 + desc.num_inputs + desc.num_outputs, values = 0;
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    keyLength += desc.inputs[i].rank;
  if (!desc.num_caches)
    return graphs.allocate(keyLength, 0, 0);
  for (uint32_t s = 0; s < desc.num_steps; ++s)
    if (uint32_t k = desc.device->step_kernels[s]; k != LLMOPT_NONE)
      values += size_t(desc.device->kernels[k].num_buffers) + desc.device->kernels[k].num_dims + 1 +
                LibraryProducts::kNumValues;
  size_t copies = size_t(desc.num_inputs) + 2 * size_t(desc.num_outputs);
  return graphs.allocate(keyLength, desc.num_steps + copies, values + 3 * copies);
}

/// All that the addresses, sizes and parameters of a run follow from. With caches only how
/// many tokens are new tells graphs apart, since all else of a graph is updated: sizes that
/// count past tokens have many names.
void DeviceSession::makeKey(const Binding &binding) {
  const llmopt_model_desc &desc = model->desc;
  bool updates = desc.num_caches != 0;
  int64_t *key = graphs.key();
  *key++ = int64_t(generation);
  *key++ = updates ? binding.newTokens : binding.cache.past;
  *key++ = binding.cache.capacity;
  *key++ = int64_t(devicePointers);
  for (uint32_t i = 0; i < desc.num_inputs; ++i) {
    for (uint32_t d = 0; d < binding.inputs[i].rank; ++d)
      *key++ = updates ? 0 : binding.inputs[i].dims[d];
    *key++ = updates ? 0 : int64_t(inputAddresses[i]);
  }
  for (uint32_t o = 0; o < desc.num_outputs; ++o)
    *key++ = updates ? 0 : int64_t(outputAddresses[o]);
}

/// The node of what was launched last into the stream that is recorded.
llmopt_status DeviceSession::findNode(void **node, llmopt_error *error) {
  int state = 0;
  uint64_t id = 0;
  void *graph = nullptr;
  void *const *nodes = nullptr;
  const void *edges = nullptr;
  size_t count = 0;
  int result = driver->captureInfo3 ? driver->captureInfo3(stream, &state, &id, &graph, &nodes, &edges, &count)
                                    : driver->captureInfo2(stream, &state, &id, &graph, &nodes, &count);
  if (llmopt_status status = driver->check(result, "recording a CUDA graph", error))
    return status;
  if (count != 1)
    return fail(error, LLMOPT_DEVICE_ERROR, "recording a CUDA graph: expected one node in front, but got %zu", count);
  *node = nodes[0];
  return LLMOPT_OK;
}

llmopt_status DeviceSession::note(uint32_t what, uint32_t tiles, const uint64_t *values, uint32_t count,
                                  llmopt_error *error) {
  if (mode != Mode::Record || !record)
    return LLMOPT_OK;
  void *node = nullptr;
  if (llmopt_status status = findNode(&node, error))
    return status;
  if (!record->add(node, what, tiles, count))
    return fail(error, LLMOPT_INTERNAL, "a run has more launches than its model has steps");
  std::memcpy(record->valuesOf((*record)[record->size() - 1]), values, count * sizeof(uint64_t));
  return LLMOPT_OK;
}

/// The operation of the record that the next of this run is; NULL where it is of another kind.
RunRecord::Operation *DeviceSession::nextRecorded(uint32_t what, uint32_t count) {
  if (differs || nextOperation == record->size() || (*record)[nextOperation].what != what ||
      (*record)[nextOperation].numValues != count) {
    differs = true;
    return nullptr;
  }
  return &(*record)[nextOperation++];
}

llmopt_status DeviceSession::updateLaunch(uint32_t which, uint32_t tiles, const uint64_t *values, uint32_t count,
                                          llmopt_error *error) {
  RunRecord::Operation *operation = nextRecorded(which, count);
  if (!operation)
    return LLMOPT_OK;
  uint64_t *before = record->valuesOf(*operation);
  if (operation->tiles == tiles && std::memcmp(before, values, count * sizeof(uint64_t)) == 0)
    return LLMOPT_OK;
  const llmopt_device_kernel &kernel = model->desc.device->kernels[which];
  KernelNodeParams params = {nullptr,           {tiles, 1, 1}, {kernel.threads, 1, 1}, kernel.shared_bytes,
                             parameters.data(), nullptr,       device->kernels[which], nullptr};
  if (llmopt_status status =
          driver->check(driver->graphExecKernelSetParams(executable, operation->node, &params), kernel.name, error))
    return status;
  operation->tiles = tiles;
  std::memcpy(before, values, count * sizeof(uint64_t));
  return LLMOPT_OK;
}

/// Its nodes cannot be changed: an update finds that the graph is another one.
llmopt_status DeviceSession::launchProduct(const Binding &binding, const llmopt_library_product &product,
                                           llmopt_error *error) {
  uint64_t operands[LibraryProducts::kNumValues];
  products.describe(binding, product, operands);
  uint32_t is = RunRecord::kProduct + product.step;
  if (mode != Mode::Update) {
    if (llmopt_status status = products.launch(product, operands, stream, error))
      return status;
    return note(is, 0, operands, LibraryProducts::kNumValues, error);
  }
  RunRecord::Operation *operation = nextRecorded(is, LibraryProducts::kNumValues);
  differs = differs || (operation && std::memcmp(record->valuesOf(*operation), operands, sizeof(operands)) != 0);
  return LLMOPT_OK;
}

/// Direct and into a graph; in an update, the change of the node.
llmopt_status DeviceSession::copy(CopyKind kind, uint64_t to, uint64_t from, uint64_t bytes, const char *what,
                                  llmopt_error *error) {
  uint64_t values[] = {to, from, bytes};
  uint32_t is = RunRecord::kCopy + uint32_t(kind);
  if (mode != Mode::Update) {
    int result = kind == CopyKind::ToDevice
                     ? driver->copyToDeviceAsync(to, reinterpret_cast<const void *>(from), bytes, stream)
                 : kind == CopyKind::ToHost ? driver->copyToHostAsync(reinterpret_cast<void *>(to), from, bytes, stream)
                                            : driver->copyAsync(to, from, bytes, stream);
    if (llmopt_status status = driver->check(result, what, error))
      return status;
    return note(is, 0, values, 3, error);
  }
  RunRecord::Operation *operation = nextRecorded(is, 3);
  if (!operation || std::memcmp(record->valuesOf(*operation), values, sizeof(values)) == 0)
    return LLMOPT_OK;
  Memcpy3D params = {};
  params.sourceType = kind == CopyKind::ToDevice ? kHostMemory : kDeviceMemory;
  params.targetType = kind == CopyKind::ToHost ? kHostMemory : kDeviceMemory;
  if (kind == CopyKind::ToDevice)
    params.sourceHost = reinterpret_cast<const void *>(from);
  else
    params.sourceDevice = from;
  if (kind == CopyKind::ToHost)
    params.targetHost = reinterpret_cast<void *>(to);
  else
    params.targetDevice = to;
  params.sourcePitch = params.targetPitch = params.width = bytes;
  params.height = params.depth = 1;
  if (llmopt_status status = driver->check(
          driver->graphExecMemcpySetParams(executable, operation->node, &params, device->context), what, error))
    return status;
  std::memcpy(record->valuesOf(*operation), values, sizeof(values));
  return LLMOPT_OK;
}

/// Records this run and makes it the graph of the present key.
llmopt_status DeviceSession::recordGraph(Binding &binding, void **graph, llmopt_error *error) {
  if (driver->streamBeginCapture(stream, kCaptureThreadLocal) != 0)
    return LLMOPT_OK; // launched one by one, then
  mode = Mode::Record;
  record = graphs.record();
  if (record)
    record->clear();
  llmopt_status status = enqueue(binding, nullptr, nullptr, error);
  mode = Mode::Direct;
  void *recorded = nullptr;
  int result = driver->streamEndCapture(stream, &recorded);
  if (!status && !result && recorded)
    result = driver->graphInstantiate(graph, recorded, 0);
  if (status || result || !recorded) {
    if (recorded)
      driver->graphDestroy(recorded);
    return status ? status : driver->check(result, "recording a CUDA graph", error);
  }
  graphs.keep(*graph, recorded);
  return LLMOPT_OK;
}

/// The graph for this run, NULL where it is to be launched step by step.
llmopt_status DeviceSession::prepareGraph(Binding &binding, void **graph, llmopt_error *error) {
  *graph = nullptr;
  if (!useGraphs)
    return LLMOPT_OK;
  makeKey(binding);
  GraphCache::Answer answer = graphs.look(graph);
  graphs.collect(*driver); // idle: every run ends with a wait
  if (answer == GraphCache::Answer::Launch && graphs.record()) {
    mode = Mode::Update;
    record = graphs.record();
    executable = *graph;
    differs = false;
    nextOperation = 0;
    llmopt_status status = enqueue(binding, nullptr, nullptr, error);
    mode = Mode::Direct;
    if (status)
      return status;
    if (!differs && nextOperation == record->size())
      return LLMOPT_OK;
    graphs.drop(*driver); // other steps have something to do now
    *graph = nullptr;
    answer = GraphCache::Answer::Record;
  }
  return answer == GraphCache::Answer::Record ? recordGraph(binding, graph, error) : LLMOPT_OK;
}
