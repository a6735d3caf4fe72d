// Sessions: bindings, the memory behind them, and the run itself.
#include "binding.h"
#include "control.h"
#include "fp_state.h"

#include "../cuda/src/device_session.h"

#include <ctime>
#include <new>

using namespace llmopt::rt;

struct llmopt_session {
  llmopt_model *model = nullptr;
  Pool pool;
  std::atomic<uint32_t> busy{0};

  // The one in use and the one that the next bind works on.
  Binding bindings[2];
  uint32_t active = 0;
  Pages arena, scratch, caches, zeros;
  uint64_t scratchStride = 0;
  CacheState cache;
  uint64_t boundCacheBytes = 0;
  DeviceSession device; // unused by models for CPUs
  bool onDevice = false;

  bool profile = false, poison = false;
  uint64_t runs = 0;
  Array<uint64_t> totalNs, lastNs;

  Binding &binding() { return bindings[active]; }
  const Binding &binding() const { return bindings[active]; }

  llmopt_session() = default;
  llmopt_session(const llmopt_session &) = delete;
  llmopt_session &operator=(const llmopt_session &) = delete;
};

namespace {
constexpr uint32_t maxThreads = 1024;
constexpr uint64_t defaultCacheCapacity = 2048; // tokens
constexpr uint64_t maxCacheCapacity = uint64_t(1) << 40;

void destroySession(llmopt_session *session) {
  llmopt_model *model = session->model;
  session->~llmopt_session();
  std::free(session);
  if (model)
    model->release(); // behind what the session holds of a device
}

/// Marks a session as in use for its lifetime.
class Use {
public:
  explicit Use(llmopt_session *session) : session(session) {
    free = session->busy.exchange(1, std::memory_order_acquire) == 0;
  }
  ~Use() {
    if (free)
      session->busy.store(0, std::memory_order_release);
  }
  Use(const Use &) = delete;
  Use &operator=(const Use &) = delete;
  bool isFree() const { return free; }

private:
  llmopt_session *session;
  bool free;
};

llmopt_status isBusy(llmopt_error *error) {
  return fail(error, LLMOPT_BUSY, "the session is in use by another thread; give each its own");
}

uint64_t nowNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1000000000u + uint64_t(t.tv_nsec);
}

/// Makes room for a binding; nothing changes where memory is short.
llmopt_status makeRoom(llmopt_session *session, const Binding &next, llmopt_error *error) {
  if (session->onDevice)
    return session->device.makeRoom(next, error);
  // Room between the threads' parts, so that no cache line is shared.
  uint64_t stride, allThreads;
  if (__builtin_add_overflow(next.scratchBytes, 128, &stride) || !alignUp(stride, 128, &stride) ||
      __builtin_mul_overflow(stride, session->pool.threads(), &allThreads))
    return fail(error, LLMOPT_SHAPE_MISMATCH, "the scratch memory overflows for these shapes");
  Pages newArena, newScratch, newCaches, newZeros;
  if (next.zeroSize > session->zeros.size() && !newZeros.allocate(next.zeroSize))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory: these shapes need %llu bytes for partial sums",
                static_cast<unsigned long long>(next.zeroSize));
  bool growArena = next.arenaSize > session->arena.size();
  bool growScratch = allThreads > session->scratch.size();
  bool growCaches = next.cacheSize > session->caches.size();
  // With a cache, shapes grow by a token from run to run: take room for many.
  uint64_t slack = next.cacheSize ? 2 : 1;
  if (growCaches && !newCaches.allocate(next.cacheSize))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory: these shapes need %llu bytes for caches",
                static_cast<unsigned long long>(next.cacheSize));
  if (growArena && !newArena.allocate(next.arenaSize * slack))
    return fail(error, LLMOPT_OUT_OF_MEMORY,
                "out of memory: these shapes need %llu bytes for "
                "intermediate values",
                static_cast<unsigned long long>(next.arenaSize));
  if (growScratch && !newScratch.allocate(allThreads * slack))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory: these shapes need %llu bytes of scratch",
                static_cast<unsigned long long>(allThreads));
  if (newZeros.size()) { // new pages are zero
    session->zeros.swap(newZeros);
  }
  if (growArena)
    session->arena.swap(newArena);
  if (growScratch)
    session->scratch.swap(newScratch);
  if (growCaches)
    session->caches.swap(newCaches);
  session->scratchStride = stride;
  return LLMOPT_OK;
}

template <typename Data>
llmopt_status checkData(const char *what, const llmopt_tensor_desc &declared, const Data &given, uint64_t bytes,
                        llmopt_error *error) {
  if (given.size < bytes)
    return fail(error, LLMOPT_SHAPE_MISMATCH, "%s '%s': expected %llu bytes, but got %llu", what, declared.name,
                static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(given.size));
  if (!given.data && bytes)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "%s '%s': data is NULL", what, declared.name);
  size_t alignment = llmopt_dtype_size(declared.dtype);
  if (reinterpret_cast<uintptr_t>(given.data) % alignment != 0)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "%s '%s': expected data at a multiple of %zu bytes", what,
                declared.name, alignment);
  return LLMOPT_OK;
}

/// Where the bytes of a value are in this run.
const char *addressOf(const OutputCopy &at, const llmopt_input *inputs, const llmopt_output *outputs) {
  if (at.kind == LLMOPT_BUFFER_INPUT)
    return static_cast<const char *>(inputs[at.index].data) + at.offset;
  if (at.kind == LLMOPT_BUFFER_OUTPUT)
    return static_cast<const char *>(outputs[at.index].data) + at.offset;
  return at.data;
}

llmopt_status runSteps(llmopt_session *session, const llmopt_input *inputs, const llmopt_output *outputs,
                       llmopt_error *error) {
  const llmopt_model &model = *session->model;
  Binding &binding = session->binding();
  const Array<PreparedStep> &steps = binding.steps;
  char *scratch = session->scratch.data();
  uint64_t stride = session->scratchStride;
  for (uint64_t &ns : session->lastNs)
    ns = 0;
  uint64_t before = session->profile ? nowNs() : 0;
  if (session->poison && binding.arenaSize)
    std::memset(session->arena.data(), 0xFF, binding.arenaSize);
  uint32_t nextCount = 0, numCounts = model.desc.num_data_symbols;
  const llmopt_data_symbol *counts = model.desc.data_symbols;
  for (size_t s = 0, reached = 0;;) {
    // Branches pass numbers by, and loops come back to them.
    if (s < reached)
      nextCount = 0;
    reached = s;
    while (nextCount < numCounts && counts[nextCount].first_step < s)
      ++nextCount;
    for (; nextCount < numCounts && counts[nextCount].first_step == s; ++nextCount) {
      int64_t number;
      std::memcpy(&number, addressOf(binding.counts[nextCount], inputs, outputs), sizeof(number));
      if (llmopt_status status = binding.publish(model, nextCount, number, error))
        return status;
    }
    if (s == steps.size())
      break;
    size_t now = s;
    const PreparedStep &step = steps[s++];
    const bool isLast = s == steps.size(); // outputs are copied behind it
    if (step.kernel)
      session->pool.run(step, scratch, stride);
    else if (llmopt_status status = runControl(model, binding, step, &s, error))
      return status;
    if (session->poison && !isLast && step.kernel)
      binding.poison(model, static_cast<uint32_t>(now), session->arena.data());
    if (session->profile) {
      // A step of a loop runs often: its times add up.
      uint64_t after = nowNs();
      session->lastNs[now] += after - before;
      session->totalNs[now] += after - before;
      before = after;
    }
  }
  return numCounts ? binding.sizeOutputsOfRun(model, error) : LLMOPT_OK;
}
} // namespace

extern "C" llmopt_status llmopt_session_create(llmopt_model *model, const llmopt_session_options *given,
                                               llmopt_session **result, llmopt_error *error) {
  if (!model || !result)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model or session is NULL");
  llmopt_session_options options;
  if (llmopt_status status = readOptions(given, &options, "session options", error))
    return status;
  if (options.num_threads > maxThreads)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected at most %u threads, but got %u", maxThreads,
                options.num_threads);
  if (options.cache_capacity > maxCacheCapacity)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected a cache_capacity of at most %llu tokens, but got %llu",
                static_cast<unsigned long long>(maxCacheCapacity),
                static_cast<unsigned long long>(options.cache_capacity));

  void *memory = nullptr;
  if (posix_memalign(&memory, alignof(llmopt_session), sizeof(llmopt_session)) != 0)
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a session");
  llmopt_session *session = new (memory) llmopt_session();
  session->profile = options.profile != 0;
  session->poison = options.poison != 0;
  bool allocated = true;
  for (Binding &binding : session->bindings)
    allocated = allocated && binding.allocate(*model);
  if (session->profile)
    allocated = allocated && session->totalNs.allocate(model->desc.num_steps) &&
                session->lastNs.allocate(model->desc.num_steps);
  if (!allocated) {
    destroySession(session);
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a session");
  }
  if (model->desc.device) {
    const DeviceModel *device = nullptr;
    llmopt_status status = model->useDevice(&device, error);
    if (!status)
      status = session->device.open(*model, *device, options, error);
    if (status) {
      destroySession(session);
      return status;
    }
    session->onDevice = true;
  } else if (options.device_pointers) {
    destroySession(session);
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session options: device_pointers is for models that run on a device");
  }
  uint32_t threads = session->onDevice ? 1 : options.num_threads ? options.num_threads : availableCpus();
  if (llmopt_status status = session->pool.start(threads < maxThreads ? threads : maxThreads, error)) {
    destroySession(session);
    return status;
  }
  // Room for what the model can make use of, where that is known.
  uint64_t capacity = options.cache_capacity ? options.cache_capacity : model->desc.max_tokens;
  session->cache.capacity = static_cast<int64_t>(capacity ? capacity : defaultCacheCapacity);
  model->retain();
  session->model = model;
  *result = session;
  return LLMOPT_OK;
}

extern "C" void llmopt_session_destroy(llmopt_session *session) {
  if (session)
    destroySession(session);
}

extern "C" llmopt_status llmopt_session_bind(llmopt_session *session, const llmopt_tensor_type *inputs,
                                             size_t numInputs, llmopt_error *error) {
  if (!session || (numInputs && !inputs))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session or inputs is NULL");
  const llmopt_model &model = *session->model;
  if (numInputs != model.desc.num_inputs)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected %u inputs, but got %zu", model.desc.num_inputs, numInputs);
  Use use(session);
  if (!use.isFree())
    return isBusy(error);
  if (session->binding().matches(inputs, session->cache)) {
    session->binding().forgetRun();
    return LLMOPT_OK;
  }
  Binding &next = session->bindings[1 - session->active];
  if (llmopt_status status = next.bind(model, inputs, session->cache, error))
    return status;
  if (session->cache.past && next.cacheBytes != session->boundCacheBytes)
    return fail(error, LLMOPT_SHAPE_MISMATCH,
                "expected the batch size of the tokens in the cache; truncate it to 0 tokens first");
  if (llmopt_status status = makeRoom(session, next, error))
    return status;
  Memory host = {session->arena.data(), session->caches.data(), model.weights.data(), nullptr, nullptr,
                 session->zeros.data()};
  next.place(model, session->onDevice ? session->device.memory() : host);
  session->boundCacheBytes = next.cacheBytes;
  session->active = 1 - session->active;
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_session_get_output_type(const llmopt_session *session, uint32_t index,
                                                        llmopt_tensor_type *type, llmopt_error *error) {
  if (!session || !type)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session or type is NULL");
  const Binding &binding = session->binding();
  if (index >= session->model->desc.num_outputs)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "output %u: expected an index below %u", index,
                session->model->desc.num_outputs);
  if (!binding.valid)
    return fail(error, LLMOPT_NOT_BOUND, "expected bind before output types");
  *type = binding.actual[index];
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_session_run(llmopt_session *session, const llmopt_input *inputs, size_t numInputs,
                                            const llmopt_output *outputs, size_t numOutputs, llmopt_error *error) {
  if (!session || (numInputs && !inputs) || (numOutputs && !outputs))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session, inputs or outputs is NULL");
  const llmopt_model_desc &desc = session->model->desc;
  if (numInputs != desc.num_inputs || numOutputs != desc.num_outputs)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected %u inputs and %u outputs, but got %zu and %zu",
                desc.num_inputs, desc.num_outputs, numInputs, numOutputs);
  Use use(session);
  if (!use.isFree())
    return isBusy(error);
  Binding &binding = session->binding();
  if (!binding.valid)
    return fail(error, LLMOPT_NOT_BOUND, "expected bind before run");
  if (binding.cache.past != session->cache.past)
    return fail(error, LLMOPT_NOT_BOUND, "expected bind before run: the number of tokens in the cache has changed");
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    if (llmopt_status status = checkData("input", desc.inputs[i], inputs[i], binding.inputBytes[i], error))
      return status;
  if (!session->onDevice)
    if (llmopt_status status = binding.checkIndices(*session->model, inputs, error))
      return status;
  for (uint32_t o = 0; o < desc.num_outputs; ++o)
    if (llmopt_status status = checkData("output", desc.outputs[o], outputs[o], binding.outputBytes[o], error))
      return status;

  if (session->onDevice) {
    if (llmopt_status status =
            session->device.run(binding, inputs, outputs, session->profile ? session->totalNs.data() : nullptr,
                                session->profile ? session->lastNs.data() : nullptr, error))
      return status;
    ++session->runs;
    session->cache.past += binding.newTokens;
    return LLMOPT_OK;
  }
  for (size_t p = 0; p < binding.numInputPatches; ++p) {
    const Patch &patch = binding.inputPatches[p];
    binding.args[patch.argument] = static_cast<char *>(const_cast<void *>(inputs[patch.index].data)) + patch.offset;
  }
  for (size_t p = 0; p < binding.numOutputPatches; ++p) {
    const Patch &patch = binding.outputPatches[p];
    binding.args[patch.argument] = static_cast<char *>(outputs[patch.index].data) + patch.offset;
  }
  {
    ScopedFpState state;
    binding.forgetRun();
    if (llmopt_status status = runSteps(session, inputs, outputs, error))
      return status;
  }
  for (size_t c = 0; c < binding.numCopies; ++c) {
    const OutputCopy &copy = binding.copies[c];
    const char *source = addressOf(copy, inputs, outputs);
    if (uint64_t bytes = binding.writtenBytes[copy.output])
      std::memmove(outputs[copy.output].data, source, bytes);
  }
  ++session->runs;
  session->cache.past += binding.newTokens;
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_session_truncate(llmopt_session *session, uint64_t tokens, llmopt_error *error) {
  if (!session)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session is NULL");
  Use use(session);
  if (!use.isFree())
    return isBusy(error);
  if (tokens > static_cast<uint64_t>(session->cache.past))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected at most the %lld tokens that the cache holds, but got %llu",
                static_cast<long long>(session->cache.past), static_cast<unsigned long long>(tokens));
  session->cache.past = static_cast<int64_t>(tokens);
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_session_get_info(const llmopt_session *session, llmopt_session_info *info,
                                                 llmopt_error *error) {
  if (!session)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session is NULL");
  const Binding &binding = session->binding();
  llmopt_session_info filled;
  std::memset(&filled, 0, sizeof(filled));
  filled.num_threads = session->pool.threads();
  filled.bound = binding.valid;
  filled.arena_size = binding.valid ? binding.arenaSize : 0;
  filled.arena_lower_bound = binding.valid ? binding.arenaLowerBound : 0;
  filled.arena_capacity = session->onDevice ? session->device.arenaCapacity() : session->arena.size();
  filled.scratch_size = session->onDevice ? session->device.scratchSize() : session->scratch.size();
  if (session->model->desc.num_caches) {
    filled.cache_tokens = static_cast<uint64_t>(session->cache.past);
    filled.cache_capacity = static_cast<uint64_t>(session->cache.capacity);
    filled.cache_size = session->onDevice ? session->device.cacheCapacity() : session->caches.size();
  }
  return writeInfo(info, &filled, "session info", error);
}

extern "C" llmopt_status llmopt_session_get_profile(const llmopt_session *session, uint32_t step,
                                                    llmopt_step_profile *profile, llmopt_error *error) {
  if (!session)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "session is NULL");
  const llmopt_model_desc &desc = session->model->desc;
  if (step >= desc.num_steps)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "step %u: expected an index below %u", step, desc.num_steps);
  llmopt_step_profile filled;
  std::memset(&filled, 0, sizeof(filled));
  filled.name = desc.steps[step].name;
  filled.runs = session->runs;
  if (session->profile) {
    filled.total_ns = session->totalNs[step];
    filled.last_ns = session->lastNs[step];
  }
  if (session->binding().valid)
    filled.tiles = desc.steps[step].control == LLMOPT_CONTROL_NONE ? session->binding().steps[step].tiles : 0;
  filled.provider = session->onDevice ? session->device.providerOf(step) : "";
  return writeInfo(profile, &filled, "step profile", error);
}

extern "C" void llmopt_session_reset_profile(llmopt_session *session) {
  if (!session)
    return;
  session->runs = 0;
  for (uint64_t &ns : session->totalNs)
    ns = 0;
  for (uint64_t &ns : session->lastNs)
    ns = 0;
}
