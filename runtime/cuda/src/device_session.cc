// Memory, copies and graphs of a session; the steps are in device_steps.cc.
#include "device_session.h"

#include <initializer_list>

using namespace llmopt::rt;
using ull = unsigned long long;

namespace {
constexpr unsigned kNonBlocking = 1; // CU_STREAM_NON_BLOCKING
constexpr uint64_t kIoAlignment = 256, kNumberBytes = 64;

/// What a run has written of an output: less than its memory where steps say so.
uint64_t bytesOfRun(const Binding &binding, uint32_t output) {
  const llmopt_tensor_type &type = binding.actual[output];
  uint64_t bytes = llmopt_dtype_size(type.dtype);
  for (uint32_t d = 0; d < type.rank; ++d)
    if (type.dims[d] <= 0 || __builtin_mul_overflow(bytes, uint64_t(type.dims[d]), &bytes))
      return 0;
  return bytes < binding.writtenBytes[output] ? bytes : binding.writtenBytes[output];
}
} // namespace

DeviceSession::~DeviceSession() {
  if (!driver)
    return;
  CurrentContext current(*driver, device->context);
  if (stream)
    driver->streamSynchronize(stream);
  graphs.clear(*driver);
  products.close(*driver);
  for (void *event : {before, after})
    if (event)
      driver->eventDestroy(event);
  if (stream)
    driver->streamDestroy(stream);
  for (DeviceBlock *block : {&arena, &caches, &scratch, &staging, &zeros})
    block->release(*driver);
  if (pinned.data)
    driver->memFreeHost(pinned.data);
}

llmopt_status DeviceSession::open(const llmopt_model &theModel, const DeviceModel &theDevice,
                                  const llmopt_session_options &options, llmopt_error *error) {
  model = &theModel;
  device = &theDevice;
  driver = theDevice.driver;
  devicePointers = options.device_pointers != 0;
  const llmopt_model_desc &desc = model->desc;
  // Between the events of a profile kernels run alone.
  overlaps = device->overlaps && !options.no_device_overlap && !options.profile;
  useGraphs = !options.no_device_graphs && !options.profile && mayCapture();
  size_t mostParameters = 1;
  for (uint32_t i = 0; i < desc.device->num_kernels; ++i) {
    size_t count = size_t(desc.device->kernels[i].num_buffers) + desc.device->kernels[i].num_dims + 1;
    mostParameters = count > mostParameters ? count : mostParameters;
  }
  if (!inputOffsets.allocate(desc.num_inputs) || !outputOffsets.allocate(desc.num_outputs) ||
      !nextInputs.allocate(desc.num_inputs) || !nextOutputs.allocate(desc.num_outputs) ||
      !hostInputs.allocate(desc.num_inputs) || !inputAddresses.allocate(desc.num_inputs) ||
      !outputAddresses.allocate(desc.num_outputs) || !parameters.allocate(mostParameters) ||
      !values.allocate(mostParameters) || !byLibrary.allocate(desc.num_steps) || !allocateGraphs())
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a session");
  CurrentContext current(*driver, device->context);
  if (llmopt_status status = driver->check(driver->streamCreate(&stream, kNonBlocking), "cuStreamCreate", error))
    return status;
  for (void **event : {&before, &after})
    if (options.profile)
      if (llmopt_status status = driver->check(driver->eventCreate(event, 0), "cuEventCreate", error))
        return status;
  if (llmopt_status status = products.open(*model, *device, error))
    return status;
  return allocatePinned(kNumberBytes, &pinned, error);
}

const char *DeviceSession::providerOf(uint32_t step) const { return byLibrary[step] ? "cuBLASLt" : ""; }

llmopt_status DeviceSession::allocatePinned(uint64_t bytes, Pinned *result, llmopt_error *error) const {
  void *memory = nullptr;
  int code = driver->memAllocHost(&memory, bytes);
  if (code == kCudaOutOfMemory)
    return fail(error, LLMOPT_OUT_OF_MEMORY,
                "out of memory: these shapes need %llu bytes of pinned memory for inputs and outputs", ull(bytes));
  if (llmopt_status status = driver->check(code, "cuMemAllocHost", error))
    return status;
  result->data = static_cast<char *>(memory);
  result->size = bytes;
  return LLMOPT_OK;
}

llmopt_status DeviceSession::sizeScratch(const Binding &binding, uint64_t *bytes, llmopt_error *error) const {
  const llmopt_model_desc &desc = model->desc;
  *bytes = 0;
  for (uint32_t s = 0; s < desc.num_steps; ++s) {
    if (desc.device->step_kernels[s] == LLMOPT_NONE)
      continue;
    const llmopt_device_kernel &kernel = desc.device->kernels[desc.device->step_kernels[s]];
    const PreparedStep &step = binding.steps[s];
    uint64_t each = kernel.scratch_bytes, all;
    if (kernel.scratch_dim != LLMOPT_NONE)
      each = step.dims[kernel.scratch_dim] < 0 ? 0 : uint64_t(step.dims[kernel.scratch_dim]);
    if (__builtin_mul_overflow(each, uint64_t(step.tiles), &all))
      return fail(error, LLMOPT_SHAPE_MISMATCH, "the scratch memory of step '%s' overflows for these shapes",
                  desc.steps[s].name);
    *bytes = all > *bytes ? all : *bytes;
  }
  return LLMOPT_OK;
}

llmopt_status DeviceSession::makeRoom(const Binding &next, llmopt_error *error) {
  const llmopt_model_desc &desc = model->desc;
  uint64_t io = 0, needed;
  bool fits = true;
  auto place = [&](uint64_t bytes, uint64_t *offset) {
    *offset = io;
    fits = fits && !__builtin_add_overflow(io, bytes, &io) && alignUp(io, kIoAlignment, &io);
  };
  // With device pointers only inputs have a place, on the host, where ids are checked.
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    place(next.inputBytes[i], &nextInputs[i]);
  for (uint32_t o = 0; o < desc.num_outputs; ++o)
    place(devicePointers ? 0 : next.outputBytes[o], &nextOutputs[o]);
  if (!fits || __builtin_add_overflow(io, kNumberBytes, &needed))
    return fail(error, LLMOPT_SHAPE_MISMATCH, "the memory for inputs and outputs overflows for these shapes");
  uint64_t scratchBytes;
  if (llmopt_status status = sizeScratch(next, &scratchBytes, error))
    return status;

  CurrentContext current(*driver, device->context);
  struct Need {
    DeviceBlock *block;
    uint64_t bytes;
    bool grows; // by a token from run to run, where there is a cache: take room for many
    const char *what;
    DeviceBlock fresh;
  } needs[] = {{&caches, next.cacheSize, false, "caches", {}},
               {&arena, next.arenaSize, desc.num_caches != 0, "intermediate values", {}},
               {&scratch, scratchBytes, desc.num_caches != 0, "scratch memory", {}},
               {&staging, devicePointers ? 0 : io, desc.num_caches != 0, "inputs and outputs", {}},
               {&zeros, next.zeroSize, desc.num_caches != 0, "partial sums", {}}};
  Pinned freshPinned;
  llmopt_status status = LLMOPT_OK;
  for (Need &need : needs) {
    if (status || need.bytes <= need.block->size())
      continue;
    bool roomy =
        need.grows && need.fresh.allocate(*driver, device->name, 2 * need.bytes, need.what, nullptr) == LLMOPT_OK;
    if (!roomy)
      status = need.fresh.allocate(*driver, device->name, need.bytes, need.what, error);
  }
  if (!status && needed > pinned.size)
    status = allocatePinned(needed, &freshPinned, error);
  if (status) {
    for (Need &need : needs)
      need.fresh.release(*driver);
    if (freshPinned.data)
      driver->memFreeHost(freshPinned.data);
    return status;
  }
  bool moved = freshPinned.data != nullptr;
  zerosMayDiffer = zerosMayDiffer || needs[4].fresh.size() != 0;
  for (Need &need : needs)
    moved = need.block->replaceBy(*driver, need.fresh) || moved;
  if (freshPinned.data) {
    if (pinned.data)
      driver->memFreeHost(pinned.data);
    pinned = freshPinned;
  }
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    inputOffsets[i] = nextInputs[i];
  for (uint32_t o = 0; o < desc.num_outputs; ++o)
    outputOffsets[o] = nextOutputs[o];
  if (moved) {
    ++generation;
    graphs.clear(*driver);
  }
  return LLMOPT_OK;
}

Memory DeviceSession::memory() const {
  auto pointer = [](DeviceAddress address) { return reinterpret_cast<char *>(address); };
  return {pointer(arena.address()),           pointer(caches.address()),
          pointer(device->weights.address()), pointer(device->constants.address()),
          device->constantOffsets.data(),     pointer(zeros.address())};
}

llmopt_status DeviceSession::synchronize(const char *what, llmopt_error *error) {
  return driver->check(driver->streamSynchronize(stream), what, error);
}

/// Ids of device memory, for the check of their values.
llmopt_status DeviceSession::fetchIds(const Binding &binding, const llmopt_input *inputs, llmopt_error *error) {
  const llmopt_model_desc &desc = model->desc;
  for (uint32_t c = 0; c < desc.num_index_checks; ++c) {
    uint32_t i = desc.index_checks[c].input;
    hostInputs[i] = {pinned.data + inputOffsets[i], size_t(binding.inputBytes[i])};
    if (binding.inputBytes[i])
      if (llmopt_status status = driver->check(driver->copyToHostAsync(pinned.data + inputOffsets[i],
                                                                       reinterpret_cast<DeviceAddress>(inputs[i].data),
                                                                       binding.inputBytes[i], stream),
                                               "copying ids from the device", error))
        return status;
  }
  return desc.num_index_checks ? synchronize("reading inputs", error) : LLMOPT_OK;
}

llmopt_status DeviceSession::run(Binding &binding, const llmopt_input *inputs, const llmopt_output *outputs,
                                 uint64_t *totalNs, uint64_t *lastNs, llmopt_error *error) {
  const llmopt_model_desc &desc = model->desc;
  CurrentContext current(*driver, device->context);
  if (devicePointers)
    if (llmopt_status status = fetchIds(binding, inputs, error))
      return status;
  if (llmopt_status status = binding.checkIndices(*model, devicePointers ? hostInputs.data() : inputs, error))
    return status;
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    inputAddresses[i] =
        devicePointers ? reinterpret_cast<DeviceAddress>(inputs[i].data) : staging.address() + inputOffsets[i];
  for (uint32_t o = 0; o < desc.num_outputs; ++o)
    outputAddresses[o] =
        devicePointers ? reinterpret_cast<DeviceAddress>(outputs[o].data) : staging.address() + outputOffsets[o];
  for (size_t p = 0; p < binding.numInputPatches; ++p) {
    const Patch &patch = binding.inputPatches[p];
    binding.args[patch.argument] = reinterpret_cast<void *>(inputAddresses[patch.index] + patch.offset);
  }
  for (size_t p = 0; p < binding.numOutputPatches; ++p) {
    const Patch &patch = binding.outputPatches[p];
    binding.args[patch.argument] = reinterpret_cast<void *>(outputAddresses[patch.index] + patch.offset);
  }
  if (!devicePointers)
    for (uint32_t i = 0; i < desc.num_inputs; ++i)
      if (binding.inputBytes[i])
        std::memcpy(pinned.data + inputOffsets[i], inputs[i].data, binding.inputBytes[i]);

  binding.forgetRun();
  if (zerosMayDiffer && zeros.size())
    if (llmopt_status status =
            driver->check(driver->setAsync(zeros.address(), 0, zeros.size(), stream), "cuMemsetD8Async", error))
      return status;
  zerosMayDiffer = true; // until this run has come to its end
  void *graph = nullptr;
  if (llmopt_status status = prepareGraph(binding, &graph, error))
    return status;
  llmopt_status status = graph ? driver->check(driver->graphLaunch(graph, stream), "cuGraphLaunch", error)
                               : enqueue(binding, totalNs, lastNs, error);
  llmopt_error ignored;
  llmopt_status waited = synchronize("running the model on the device", status ? &ignored : error);
  if (status || waited)
    return status ? status : waited;
  zerosMayDiffer = false;
  if (!devicePointers)
    for (uint32_t o = 0; o < desc.num_outputs; ++o)
      if (uint64_t bytes = bytesOfRun(binding, o))
        std::memcpy(outputs[o].data, pinned.data + outputOffsets[o], bytes);
  return LLMOPT_OK;
}

llmopt_status DeviceSession::enqueue(Binding &binding, uint64_t *totalNs, uint64_t *lastNs, llmopt_error *error) {
  const llmopt_model_desc &desc = model->desc;
  if (!devicePointers)
    for (uint32_t i = 0; i < desc.num_inputs; ++i)
      if (binding.inputBytes[i])
        if (llmopt_status status =
                copy(CopyKind::ToDevice, inputAddresses[i], reinterpret_cast<uint64_t>(pinned.data + inputOffsets[i]),
                     binding.inputBytes[i], "copying inputs to the device", error))
          return status;
  if (llmopt_status status = runSteps(binding, totalNs, lastNs, error))
    return status;
  if (desc.num_data_symbols)
    if (llmopt_status status = binding.sizeOutputsOfRun(*model, error))
      return status;
  return copyOutputs(binding, error);
}

llmopt_status DeviceSession::copyOutputs(const Binding &binding, llmopt_error *error) {
  for (size_t c = 0; c < binding.numCopies; ++c) {
    const OutputCopy &from = binding.copies[c];
    DeviceAddress source = reinterpret_cast<DeviceAddress>(from.data);
    if (from.kind == LLMOPT_BUFFER_INPUT)
      source = inputAddresses[from.index] + from.offset;
    else if (from.kind == LLMOPT_BUFFER_OUTPUT)
      source = outputAddresses[from.index] + from.offset;
    if (uint64_t bytes = binding.writtenBytes[from.output])
      if (llmopt_status status =
              copy(CopyKind::OnDevice, outputAddresses[from.output], source, bytes, "copying an output", error))
        return status;
  }
  if (!devicePointers)
    for (uint32_t o = 0; o < model->desc.num_outputs; ++o)
      if (uint64_t bytes = bytesOfRun(binding, o))
        if (llmopt_status status = copy(CopyKind::ToHost, reinterpret_cast<uint64_t>(pinned.data + outputOffsets[o]),
                                        outputAddresses[o], bytes, "copying outputs from the device", error))
          return status;
  return LLMOPT_OK;
}
