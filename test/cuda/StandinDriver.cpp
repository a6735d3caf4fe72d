// The driver's entry points over Standin.h.
#include "Standin.h"

#include <cstdlib>
#include <cstring>

using namespace standin;
using Address = uint64_t;

#define LOCK std::lock_guard<std::recursive_mutex> lock(state().mutex)
#define NEED_CONTEXT(call)                                                                                             \
  LOCK;                                                                                                                \
  if (int result = checkContext(call))                                                                                 \
  return result

static thread_local std::vector<void *> contexts;
static int theContext; // its address is the handle

bool standin::isContextCurrent() { return !contexts.empty() && contexts.back() == &theContext; }

int standin::checkContext(const char *call) {
  if (!state().initialized)
    return violation(NotInitialized, "%s: cuInit was not called", call);
  if (!isContextCurrent() || !state().retained)
    return violation(InvalidContext, "%s: no context is current", call);
  return Success;
}

// For the library that stands in for cuBLASLt.
STANDIN_API int standin_enqueue_v1(void *stream, void (*run)(void *), void *argument, void (*drop)(void *)) {
  NEED_CONTEXT("cublasLtMatmul");
  std::shared_ptr<void> owned(argument, drop);
  ++state().counts["product"];
  return enqueue(stream, "cublasLtMatmul", [=] {
    run(owned.get());
    return int(Success);
  });
}
STANDIN_API int standin_is_inside_v1(uint64_t address, size_t bytes) {
  LOCK;
  return isInside(state().memory, address, bytes);
}

STANDIN_API int cuInit(unsigned flags) {
  LOCK;
  if (state().failWhat == "init")
    return NoDevice;
  state().initialized = true;
  return flags ? InvalidValue : Success;
}

static int driverVersion() { return state().failWhat == "version" ? int(state().failAt) : 13000; }
static int architecture() { return state().failWhat == "arch" ? int(state().failAt) : 90; }

STANDIN_API int cuDriverGetVersion(int *version) {
  *version = driverVersion();
  return Success;
}

STANDIN_API int cuGetErrorString(int error, const char **text) {
  static const std::map<int, const char *> texts = {{Success, "no error"},
                                                    {InvalidValue, "invalid argument"},
                                                    {OutOfMemory, "out of memory"},
                                                    {NotInitialized, "initialization error"},
                                                    {NoDevice, "no CUDA-capable device is detected"},
                                                    {InvalidContext, "invalid device context"},
                                                    {InvalidHandle, "invalid resource handle"},
                                                    {NotFound, "named symbol not found"},
                                                    {IllegalAddress, "an illegal memory access was encountered"},
                                                    {LaunchFailed, "unspecified launch failure"}};
  auto found = texts.find(error);
  *text = found == texts.end() ? "unknown error" : found->second;
  return Success;
}

STANDIN_API int cuDeviceGetCount(int *count) {
  *count = state().failWhat == "no-device" ? 0 : 1;
  return Success;
}

STANDIN_API int cuDeviceGet(int *device, int ordinal) {
  *device = 0;
  return ordinal == 0 ? Success : InvalidValue;
}

STANDIN_API int cuDeviceGetName(char *name, int length, int) {
  std::strncpy(name, "stand-in", size_t(length));
  return Success;
}

STANDIN_API int cuDeviceGetAttribute(int *value, int attribute, int) {
  int arch = architecture();
  *value = attribute == 75 ? arch / 10 : attribute == 76 ? arch % 10 : attribute == 97 ? 227 * 1024 : 0;
  return Success;
}

STANDIN_API int cuDevicePrimaryCtxRetain(void **context, int) {
  LOCK;
  ++state().retained;
  *context = &theContext;
  return Success;
}

STANDIN_API int cuDevicePrimaryCtxRelease_v2(int) {
  LOCK;
  if (--state().retained < 0)
    return violation(InvalidContext, "the primary context is released more often than retained");
  return Success;
}

STANDIN_API int cuCtxPushCurrent_v2(void *context) {
  if (context != &theContext)
    return violation(InvalidContext, "cuCtxPushCurrent: no context");
  contexts.push_back(context);
  return Success;
}

STANDIN_API int cuCtxPopCurrent_v2(void **context) {
  if (contexts.empty())
    return violation(InvalidContext, "cuCtxPopCurrent: none is current");
  *context = contexts.back();
  contexts.pop_back();
  return Success;
}

STANDIN_API int cuMemGetInfo_v2(size_t *freeBytes, size_t *total) {
  NEED_CONTEXT("cuMemGetInfo");
  *total = state().total;
  *freeBytes = state().total - state().used;
  return Success;
}

STANDIN_API int cuMemAlloc_v2(Address *address, size_t bytes) {
  NEED_CONTEXT("cuMemAlloc");
  if (bytes == 0)
    return violation(InvalidValue, "cuMemAlloc: 0 bytes");
  if (bytes > state().total - state().used)
    return OutOfMemory;
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!memory)
    return OutOfMemory;
  std::memset(memory, 0xcb, bytes); // nothing that anyone would compute
  state().memory[uintptr_t(memory)] = bytes;
  state().used += bytes;
  *address = uintptr_t(memory);
  return Success;
}

STANDIN_API int cuMemFree_v2(Address address) {
  NEED_CONTEXT("cuMemFree");
  auto found = state().memory.find(address);
  if (found == state().memory.end())
    return violation(InvalidValue, "cuMemFree: no live allocation");
  for (Stream *stream : state().streams) // freeing waits for the device
    if (int result = finish(*stream))
      return result;
  state().used -= found->second;
  std::free(reinterpret_cast<void *>(address));
  state().constant.erase(found->first);
  state().memory.erase(found);
  return Success;
}

STANDIN_API int cuMemAllocHost_v2(void **address, size_t bytes) {
  NEED_CONTEXT("cuMemAllocHost");
  *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!*address || !bytes)
    return OutOfMemory;
  std::memset(*address, 0xcd, bytes);
  state().pinned[uintptr_t(*address)] = bytes;
  return Success;
}

STANDIN_API int cuMemFreeHost(void *address) {
  NEED_CONTEXT("cuMemFreeHost");
  if (!state().pinned.erase(uintptr_t(address)))
    return violation(InvalidValue, "cuMemFreeHost: no live allocation");
  std::free(address);
  return Success;
}

/// What a stream writes is not constant.
static void noteWrite(Address to) {
  auto next = state().memory.upper_bound(to);
  if (next != state().memory.begin())
    state().constant.erase(std::prev(next)->first);
}

/// The checks of every copy; the work is done by the caller.
static int checkCopy(const char *call, const void *host, bool mustBePinned, Address device, size_t bytes) {
  if (state().fails("copy"))
    return Unknown;
  if (!isInside(state().memory, device, bytes))
    return violation(InvalidValue, "%s: [%#llx, +%zu) lies in no live allocation", call,
                     static_cast<unsigned long long>(device), bytes);
  if (mustBePinned && !isInside(state().pinned, uintptr_t(host), bytes))
    return violation(InvalidValue, "%s: the host's memory is not pinned", call);
  return Success;
}

STANDIN_API int cuMemcpyHtoD_v2(Address to, const void *from, size_t bytes) {
  NEED_CONTEXT("cuMemcpyHtoD");
  if (int result = checkCopy("cuMemcpyHtoD", from, false, to, bytes))
    return result;
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  state().constant.insert(std::prev(state().memory.upper_bound(to))->first);
  return Success;
}

STANDIN_API int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
  NEED_CONTEXT("cuMemcpyHtoDAsync");
  if (int result = checkCopy("cuMemcpyHtoDAsync", from, true, to, bytes))
    return result;
  noteWrite(to);
  return enqueue(stream, "cuMemcpyHtoDAsync",
                 [=] {
                   std::memcpy(reinterpret_cast<void *>(to), from, bytes);
                   return int(Success);
                 },
                 {nullptr, false, 1, 2});
}

STANDIN_API int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
  NEED_CONTEXT("cuMemcpyDtoHAsync");
  if (int result = checkCopy("cuMemcpyDtoHAsync", to, true, from, bytes))
    return result;
  return enqueue(stream, "cuMemcpyDtoHAsync",
                 [=] {
                   std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
                   return int(Success);
                 },
                 {nullptr, false, 2, 1});
}

STANDIN_API int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
  NEED_CONTEXT("cuMemcpyDtoDAsync");
  if (int result = checkCopy("cuMemcpyDtoDAsync", nullptr, false, to, bytes))
    return result;
  if (int result = checkCopy("cuMemcpyDtoDAsync", nullptr, false, from, bytes))
    return result;
  if (to < from + bytes && from < to + bytes && to != from)
    return violation(InvalidValue, "cuMemcpyDtoDAsync: the two overlap");
  noteWrite(to);
  return enqueue(stream, "cuMemcpyDtoDAsync",
                 [=] {
                   std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
                   return int(Success);
                 },
                 {nullptr, false, 2, 2});
}

STANDIN_API int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *stream) {
  NEED_CONTEXT("cuMemsetD8Async");
  if (int result = checkCopy("cuMemsetD8Async", nullptr, false, to, bytes))
    return result;
  noteWrite(to);
  return enqueue(stream, "cuMemsetD8Async", [=] {
    std::memset(reinterpret_cast<void *>(to), value, bytes);
    return int(Success);
  });
}

STANDIN_API int cuLibraryLoadData(void **library, const void *code, int *, void **, unsigned, int *, void **,
                                  unsigned) {
  NEED_CONTEXT("cuLibraryLoadData");
  unsigned magic = 0;
  std::memcpy(&magic, code, sizeof(magic));
  if (magic != 0xba55ed50)
    return violation(InvalidValue, "cuLibraryLoadData: not a fat binary");
  auto *made = new Library();
  state().libraries.insert(made);
  *library = made;
  return Success;
}

STANDIN_API int cuLibraryUnload(void *library) {
  NEED_CONTEXT("cuLibraryUnload");
  if (!state().libraries.erase(static_cast<Library *>(library)))
    return violation(InvalidHandle, "cuLibraryUnload: not alive");
  delete static_cast<Library *>(library);
  return Success;
}

STANDIN_API int cuLibraryGetKernel(void **kernel, void *handle, const char *name) {
  NEED_CONTEXT("cuLibraryGetKernel");
  auto *library = static_cast<Library *>(handle);
  if (!state().libraries.count(library))
    return violation(InvalidHandle, "cuLibraryGetKernel: the library is not alive");
  for (const EmulatedLibrary &emulated : state().emulated)
    for (const EmulatedKernel *code = emulated.kernels; code->name; ++code)
      if (std::strcmp(code->name, name) == 0) {
        library->kernels.push_back(std::make_unique<Kernel>(Kernel{code, &emulated}));
        *kernel = library->kernels.back().get();
        return Success;
      }
  return violation(NotFound, "cuLibraryGetKernel: LLMOPT_STANDIN_KERNELS has no kernel %s", name);
}

static Kernel *findKernel(void *handle) {
  for (Library *library : state().libraries)
    for (const auto &kernel : library->kernels)
      if (kernel.get() == handle)
        return kernel.get();
  return nullptr;
}

STANDIN_API int cuKernelSetAttribute(int attribute, int value, void *handle, int) {
  NEED_CONTEXT("cuKernelSetAttribute");
  Kernel *kernel = findKernel(handle);
  if (!kernel || attribute != 8 || value < 0 || value > 227 * 1024)
    return violation(InvalidValue, "cuKernelSetAttribute: no kernel, or %d bytes of shared memory", value);
  kernel->dynamicShared = value;
  return Success;
}

/// What cuLaunchKernel and cuLaunchKernelEx share.
static int launch(const char *call, void *handle, const unsigned *grid, const unsigned *block, unsigned sharedBytes,
                  void *stream, void **parameters, void **extra, bool early) {
  Kernel *kernel = findKernel(handle);
  if (!kernel || extra)
    return violation(InvalidHandle, "%s: the kernel is not alive", call);
  if (state().fails("launch"))
    return Unknown;
  Operation operation;
  if (int result = prepareLaunch(*kernel, grid, block, sharedBytes, parameters, early, operation))
    return result;
  state().counts["early"] += early;
  return enqueue(stream, call, std::move(operation), {kernel, early});
}

STANDIN_API int cuLaunchKernel(void *handle, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                               unsigned blockY, unsigned blockZ, unsigned sharedBytes, void *stream, void **parameters,
                               void **extra) {
  NEED_CONTEXT("cuLaunchKernel");
  const unsigned grid[] = {gridX, gridY, gridZ}, block[] = {blockX, blockY, blockZ};
  return launch("cuLaunchKernel", handle, grid, block, sharedBytes, stream, parameters, extra, false);
}

/// CUlaunchConfig and CUlaunchAttribute.
struct LaunchAttribute {
  int id;
  alignas(8) int value;
  char rest[60];
};
struct LaunchConfig {
  unsigned grid[3], block[3], sharedBytes;
  void *stream;
  const LaunchAttribute *attributes;
  unsigned numAttributes;
};

STANDIN_API int cuLaunchKernelEx(const LaunchConfig *config, void *handle, void **parameters, void **extra) {
  NEED_CONTEXT("cuLaunchKernelEx");
  if (!config || (config->numAttributes && !config->attributes))
    return violation(InvalidValue, "cuLaunchKernelEx: no configuration");
  bool early = false;
  for (unsigned i = 0; i < config->numAttributes; ++i) {
    const LaunchAttribute &attribute = config->attributes[i];
    if (attribute.id != 6)
      return violation(InvalidValue, "cuLaunchKernelEx: attribute %d is not known here", attribute.id);
    early = early || attribute.value;
  }
  if (early && (architecture() < 90 || driverVersion() < 12030))
    return violation(InvalidValue, "cuLaunchKernelEx: this device and driver cannot start kernels early");
  return launch("cuLaunchKernelEx", handle, config->grid, config->block, config->sharedBytes, config->stream,
                parameters, extra, early);
}

STANDIN_API int cuStreamCreate(void **stream, unsigned flags) {
  NEED_CONTEXT("cuStreamCreate");
  auto *made = new Stream();
  state().streams.insert(made);
  *stream = made;
  return flags <= 1 ? Success : InvalidValue;
}

STANDIN_API int cuStreamDestroy_v2(void *stream) {
  NEED_CONTEXT("cuStreamDestroy");
  if (!state().streams.erase(static_cast<Stream *>(stream)))
    return violation(InvalidHandle, "cuStreamDestroy: not alive");
  delete static_cast<Stream *>(stream);
  return Success;
}

STANDIN_API int cuStreamSynchronize(void *handle) {
  NEED_CONTEXT("cuStreamSynchronize");
  auto *stream = static_cast<Stream *>(handle);
  if (!state().streams.count(stream) || stream->capture)
    return violation(InvalidHandle, "cuStreamSynchronize: not alive, or recording");
  if (state().fails("sync"))
    return IllegalAddress;
  return finish(*stream);
}

STANDIN_API int cuStreamBeginCapture_v2(void *handle, int) {
  NEED_CONTEXT("cuStreamBeginCapture");
  auto *stream = static_cast<Stream *>(handle);
  if (!state().streams.count(stream) || stream->capture)
    return violation(InvalidHandle, "cuStreamBeginCapture: not alive, or recording");
  stream->capture = new Graph();
  stream->last = nullptr;
  return Success;
}

STANDIN_API int cuStreamEndCapture(void *handle, void **graph) {
  NEED_CONTEXT("cuStreamEndCapture");
  auto *stream = static_cast<Stream *>(handle);
  if (!state().streams.count(stream) || !stream->capture)
    return violation(InvalidHandle, "cuStreamEndCapture: not alive, or not recording");
  state().graphs.insert(stream->capture);
  *graph = stream->capture;
  stream->capture = nullptr;
  return Success;
}

static int captureInfo(void *handle, int *status, uint64_t *id, void **graph, void *const **nodes, size_t *count) {
  auto *stream = static_cast<Stream *>(handle);
  if (!state().streams.count(stream))
    return violation(InvalidHandle, "cuStreamGetCaptureInfo: the stream is not alive");
  *status = stream->capture ? 1 : 0;
  *id = 1;
  *graph = stream->capture;
  *nodes = &stream->last;
  *count = stream->capture && stream->last ? 1 : 0;
  return Success;
}

STANDIN_API int cuStreamGetCaptureInfo_v2(void *stream, int *status, uint64_t *id, void **graph, void *const **nodes,
                                          size_t *count) {
  NEED_CONTEXT("cuStreamGetCaptureInfo");
  return captureInfo(stream, status, id, graph, nodes, count);
}

STANDIN_API int cuStreamGetCaptureInfo_v3(void *stream, int *status, uint64_t *id, void **graph, void *const **nodes,
                                          const void **edges, size_t *count) {
  NEED_CONTEXT("cuStreamGetCaptureInfo");
  *edges = nullptr;
  return captureInfo(stream, status, id, graph, nodes, count);
}

STANDIN_API int cuGraphInstantiateWithFlags(void **executable, void *handle, unsigned long long) {
  NEED_CONTEXT("cuGraphInstantiate");
  auto *graph = static_cast<Graph *>(handle);
  if (!state().graphs.count(graph))
    return violation(InvalidHandle, "cuGraphInstantiate: the graph is not alive");
  auto *made = new Executable{graph, {}, {}};
  for (const auto &node : graph->nodes) {
    made->operations[node.get()] = node->operation;
    made->order.push_back(node.get());
  }
  state().executables.insert(made);
  *executable = made;
  ++state().counts["recorded"];
  return Success;
}

STANDIN_API int cuGraphLaunch(void *handle, void *stream) {
  NEED_CONTEXT("cuGraphLaunch");
  auto *graph = static_cast<Executable *>(handle);
  if (!state().executables.count(graph))
    return violation(InvalidHandle, "cuGraphLaunch: the graph is not alive");
  ++state().counts["graph"];
  for (const Node *node : graph->order)
    if (int result = enqueue(stream, "cuGraphLaunch", graph->operations[node]))
      return result;
  return Success;
}

/// The operation of a node in an executable graph; null where there is none, with one line.
static Operation *findOperation(const char *call, void *handle, void *node) {
  auto *executable = static_cast<Executable *>(handle);
  if (!state().executables.count(executable) || !state().graphs.count(executable->source)) {
    violation(InvalidHandle, "%s: the graph, or the one that it was made of, is not alive", call);
    return nullptr;
  }
  auto found = executable->operations.find(static_cast<Node *>(node));
  if (found == executable->operations.end()) {
    violation(InvalidHandle, "%s: the node is of another graph", call);
    return nullptr;
  }
  ++state().counts["changed"];
  return &found->second;
}

struct KernelNodeParams {
  void *function;
  unsigned grid[3], block[3], sharedBytes;
  void **parameters, **extra;
  void *kernel, *context;
};

STANDIN_API int cuGraphExecKernelNodeSetParams_v2(void *graph, void *handle, const KernelNodeParams *params) {
  NEED_CONTEXT("cuGraphExecKernelNodeSetParams");
  Operation *operation = findOperation("cuGraphExecKernelNodeSetParams", graph, handle);
  if (!operation)
    return InvalidHandle;
  const NodeKind &kind = static_cast<Node *>(handle)->kind;
  if (!kind.kernel || params->function || params->extra || params->kernel != kind.kernel)
    return violation(InvalidValue, "cuGraphExecKernelNodeSetParams: expected the kernel of the node");
  return prepareLaunch(*kind.kernel, params->grid, params->block, params->sharedBytes, params->parameters, kind.early,
                       *operation);
}

struct Memcpy3D {
  size_t sourceX, sourceY, sourceZ, sourceLevel;
  int sourceType;
  const void *sourceHost;
  Address sourceDevice;
  void *sourceArray, *reserved0;
  size_t sourcePitch, sourceHeight;
  size_t targetX, targetY, targetZ, targetLevel;
  int targetType;
  void *targetHost;
  Address targetDevice;
  void *targetArray, *reserved1;
  size_t targetPitch, targetHeight;
  size_t width, height, depth;
};

STANDIN_API int cuGraphExecMemcpyNodeSetParams(void *graph, void *handle, const Memcpy3D *p, void *context) {
  const char *call = "cuGraphExecMemcpyNodeSetParams";
  NEED_CONTEXT(call);
  Operation *operation = findOperation(call, graph, handle);
  if (!operation)
    return InvalidHandle;
  const NodeKind &kind = static_cast<Node *>(handle)->kind;
  if (context != &theContext || !kind.from || p->sourceType != kind.from || p->targetType != kind.to ||
      p->height != 1 || p->depth != 1 || !p->width || p->sourceX || p->targetX || p->sourceY || p->targetY ||
      p->sourceArray || p->targetArray || p->reserved0 || p->reserved1)
    return violation(InvalidValue, "%s: expected a copy in one dimension, between memory of the same kinds", call);
  const void *from = kind.from == 1 ? p->sourceHost : reinterpret_cast<const void *>(p->sourceDevice);
  void *to = kind.to == 1 ? p->targetHost : reinterpret_cast<void *>(p->targetDevice);
  const size_t bytes = p->width;
  for (auto [type, address] : {std::pair(kind.from, from), std::pair(kind.to, static_cast<const void *>(to))})
    if (!isInside(type == 1 ? state().pinned : state().memory, uintptr_t(address), bytes))
      return violation(InvalidValue, "%s: %p lies in no live allocation of its kind", call, address);
  if (kind.to == 2)
    noteWrite(p->targetDevice);
  *operation = [=] {
    std::memmove(to, from, bytes);
    return int(Success);
  };
  return Success;
}

STANDIN_API int cuGraphExecDestroy(void *handle) {
  NEED_CONTEXT("cuGraphExecDestroy");
  if (!state().executables.erase(static_cast<Executable *>(handle)))
    return violation(InvalidHandle, "cuGraphExecDestroy: not alive");
  delete static_cast<Executable *>(handle);
  return Success;
}

STANDIN_API int cuGraphDestroy(void *handle) {
  NEED_CONTEXT("cuGraphDestroy");
  if (!state().graphs.erase(static_cast<Graph *>(handle)))
    return violation(InvalidHandle, "cuGraphDestroy: not alive");
  delete static_cast<Graph *>(handle);
  return Success;
}

STANDIN_API int cuEventCreate(void **event, unsigned) {
  NEED_CONTEXT("cuEventCreate");
  auto *made = new Event();
  state().events.insert(made);
  *event = made;
  return Success;
}

STANDIN_API int cuEventDestroy_v2(void *event) {
  NEED_CONTEXT("cuEventDestroy");
  if (!state().events.erase(static_cast<Event *>(event)))
    return violation(InvalidHandle, "cuEventDestroy: not alive");
  delete static_cast<Event *>(event);
  return Success;
}

STANDIN_API int cuEventRecord(void *handle, void *stream) {
  NEED_CONTEXT("cuEventRecord");
  auto *event = static_cast<Event *>(handle);
  if (!state().events.count(event))
    return violation(InvalidHandle, "cuEventRecord: the event is not alive");
  event->recorded = false;
  return enqueue(stream, "cuEventRecord", [=] {
    event->recorded = true;
    return int(Success);
  });
}

STANDIN_API int cuEventSynchronize(void *handle) {
  NEED_CONTEXT("cuEventSynchronize");
  auto *event = static_cast<Event *>(handle);
  if (!state().events.count(event))
    return violation(InvalidHandle, "cuEventSynchronize: the event is not alive");
  for (Stream *stream : state().streams)
    if (!stream->capture)
      if (int result = finish(*stream))
        return result;
  return Success;
}

STANDIN_API int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
  NEED_CONTEXT("cuEventElapsedTime");
  auto *first = static_cast<Event *>(from), *second = static_cast<Event *>(to);
  if (!state().events.count(first) || !state().events.count(second) || !first->recorded || !second->recorded)
    return violation(InvalidHandle, "cuEventElapsedTime: an event is not alive, or not recorded");
  *milliseconds = 0.001f;
  return Success;
}
