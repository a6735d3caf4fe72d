// A session on a device: memory behind a binding, copies in and out, launches.
//
// One stream does all in order: inputs from pinned memory, steps, outputs to
// pinned memory; the caller's buffers are only touched by the caller's thread.
// Steps that the runtime carries out itself (branches, loops) read what they
// decide on from the device, and wait for it.
#ifndef LLMOPT_RT_CUDA_DEVICE_SESSION_H
#define LLMOPT_RT_CUDA_DEVICE_SESSION_H

#include "binding.h"
#include "device_model.h"
#include "graph_cache.h"
#include "library_products.h"

namespace llmopt::rt {

class DeviceSession {
public:
  DeviceSession() = default;
  DeviceSession(const DeviceSession &) = delete;
  DeviceSession &operator=(const DeviceSession &) = delete;
  ~DeviceSession();

  llmopt_status open(const llmopt_model &model, const DeviceModel &device, const llmopt_session_options &options,
                     llmopt_error *error);

  /// Makes room for a binding; nothing changes where memory is short.
  llmopt_status makeRoom(const Binding &next, llmopt_error *error);
  /// Where the buffers of a binding are.
  Memory memory() const;

  /// Checks ids, runs, and waits. `totalNs` and `lastNs`, where given, get the time
  /// that the device took for every step.
  llmopt_status run(Binding &binding, const llmopt_input *inputs, const llmopt_output *outputs, uint64_t *totalNs,
                    uint64_t *lastNs, llmopt_error *error);

  /// What computed a step of the last run: "cuBLASLt", or "" for the model's own kernel.
  const char *providerOf(uint32_t step) const;

  uint64_t arenaCapacity() const { return arena.size(); }
  uint64_t cacheCapacity() const { return caches.size(); }
  uint64_t scratchSize() const { return scratch.size(); }

private:
  struct Pinned {
    char *data = nullptr;
    uint64_t size = 0;
  };

  llmopt_status allocatePinned(uint64_t bytes, Pinned *result, llmopt_error *error) const;
  llmopt_status sizeScratch(const Binding &binding, uint64_t *bytes, llmopt_error *error) const;
  /// Everything between the copies into and out of pinned memory.
  llmopt_status enqueue(Binding &binding, uint64_t *totalNs, uint64_t *lastNs, llmopt_error *error);
  llmopt_status runSteps(Binding &binding, uint64_t *totalNs, uint64_t *lastNs, llmopt_error *error);
  llmopt_status launch(const Binding &binding, uint32_t step, llmopt_error *error);
  llmopt_status runControl(Binding &binding, uint32_t step, size_t *next, llmopt_error *error);
  llmopt_status copyOutputs(const Binding &binding, llmopt_error *error);
  llmopt_status readNumber(DeviceAddress from, uint64_t bytes, int64_t *number, llmopt_error *error);
  llmopt_status synchronize(const char *what, llmopt_error *error);
  llmopt_status fetchIds(const Binding &binding, const llmopt_input *inputs, llmopt_error *error);

  // Graphs: device_graphs.cc
  enum class Mode { Direct, Record, Update };
  enum class CopyKind { ToDevice, ToHost, OnDevice };
  bool mayCapture() const;
  bool allocateGraphs();
  void makeKey(const Binding &binding);
  llmopt_status prepareGraph(Binding &binding, void **graph, llmopt_error *error);
  llmopt_status recordGraph(Binding &binding, void **graph, llmopt_error *error);
  llmopt_status findNode(void **node, llmopt_error *error);
  llmopt_status note(uint32_t what, uint32_t tiles, const uint64_t *values, uint32_t count, llmopt_error *error);
  RunRecord::Operation *nextRecorded(uint32_t what, uint32_t count);
  llmopt_status launchProduct(const Binding &binding, const llmopt_library_product &product, llmopt_error *error);
  llmopt_status updateLaunch(uint32_t which, uint32_t tiles, const uint64_t *values, uint32_t count,
                             llmopt_error *error);
  llmopt_status copy(CopyKind kind, uint64_t to, uint64_t from, uint64_t bytes, const char *what, llmopt_error *error);

  const llmopt_model *model = nullptr;
  const DeviceModel *device = nullptr;
  const CudaDriver *driver = nullptr;
  void *stream = nullptr, *before = nullptr, *after = nullptr; // events: of profiles
  bool devicePointers = false, useGraphs = true, overlaps = false;

  DeviceBlock arena, caches, scratch, staging, zeros;
  bool zerosMayDiffer = false;                 ///< a run has failed: what should be zero may not be
  Pinned pinned;                               ///< laid out as `staging`; the last 64 bytes are for single numbers
  Array<uint64_t> inputOffsets, outputOffsets; ///< in `staging`
  Array<uint64_t> nextInputs, nextOutputs;     ///< of a binding that is being made
  Array<llmopt_input> hostInputs;              ///< whose ids are checked
  Array<DeviceAddress> inputAddresses, outputAddresses; ///< in this run
  Array<void *> parameters;
  Array<uint64_t> values; ///< that `parameters` point to
  LibraryProducts products;
  Array<uint8_t> byLibrary; ///< per step, in the last run
  GraphCache graphs;
  Mode mode = Mode::Direct;
  RunRecord *record = nullptr; ///< of the graph that is recorded or updated
  void *executable = nullptr;  ///< that graph
  size_t nextOperation = 0;    ///< of the record, in an update
  bool differs = false;        ///< this run consists of other operations
  uint64_t generation = 0;     ///< counts moves of memory
};

} // namespace llmopt::rt

#endif
