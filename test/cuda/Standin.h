// A CUDA driver that stands in for a GPU in tests: device memory is the host's, and
// kernels are those of an emulated model.
//
// It is strict where a real driver is silent: pointers must lie in live allocations,
// host memory of asynchronous copies must be pinned, a context must be current, handles
// must be alive. Work of a stream is done as late as it may be, when something waits for
// it, so that a missing wait reads old data. What is violated is one line on standard
// error and an error of the call; what is left when the process ends is one line and
// exit code 66.
//
//   LLMOPT_STANDIN_KERNELS  artefacts of -emulate, ':' between them: where kernels are
//   LLMOPT_STANDIN_FAIL     no-device | init | arch:<n> | version:<n> | memory:<bytes> |
//                           copy:<n> | launch:<n> | sync:<n>: what fails, at the n-th call
//   LLMOPT_STANDIN_LOG      a file that gets a line of counts at the end
//
// A launch that may start before the one in front is done does so: its first blocks see
// nothing but poison in all memory that kernels write until they have waited.
#ifndef LLMOPT_TEST_CUDA_STANDIN_H
#define LLMOPT_TEST_CUDA_STANDIN_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace standin {

enum Result {
  Success = 0,
  InvalidValue = 1,
  OutOfMemory = 2,
  NotInitialized = 3,
  NoDevice = 100,
  InvalidContext = 201,
  InvalidHandle = 400,
  NotFound = 500,
  IllegalAddress = 700,
  LaunchFailed = 719,
  Unknown = 999
};

/// What model_emulation.cpp exports.
struct EmulatedKernel {
  const char *name;
  int buffers, dims, scratch; // parameters
  bool (*run)(const unsigned *grid, const unsigned *block, size_t sharedBytes, void *const *parameters);
};
struct EmulatedLibrary {
  const EmulatedKernel *kernels;
  const char *(*error)();
  void (*setRanges)(const void *const *pointers, const size_t *sizes, size_t count);
  /// May be absent: kernels that no launch may start early.
  void (*setEarly)(int enabled, void (*change)(int waited), const void *const *constants, const size_t *sizes,
                   size_t count);
};

using Operation = std::function<int()>;

struct Kernel;
/// What a node of a graph does, for calls that change it.
struct NodeKind {
  Kernel *kernel = nullptr; // of a launch
  bool early = false;       // that may start before the one in front is done
  int from = 0, to = 0;     // memory types of a copy
};
struct Node {
  Operation operation;
  NodeKind kind;
};
struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;
};
/// Its operations are those of the source's nodes, each until it is changed.
struct Executable {
  Graph *source;
  std::map<const Node *, Operation> operations;
  std::vector<const Node *> order;
};
struct Stream {
  std::vector<Operation> pending;
  Graph *capture = nullptr;
  void *last = nullptr; // node of the capture
};
struct Event {
  bool recorded = false;
};
struct Kernel {
  const EmulatedKernel *code;
  const EmulatedLibrary *library;
  int dynamicShared = 48 * 1024;
};
struct Library {
  std::vector<std::unique_ptr<Kernel>> kernels;
};

/// Everything alive, and the plan of failures. One lock for all calls.
struct State {
  std::recursive_mutex mutex;
  bool initialized = false;
  int retained = 0;
  std::map<uintptr_t, size_t> memory, pinned;
  std::set<uintptr_t> constant; // of `memory`: written by synchronous copies, and by nothing else
  std::set<Stream *> streams;
  std::set<Event *> events;
  std::set<Library *> libraries;
  std::set<Graph *> graphs;
  std::set<Executable *> executables;
  std::vector<EmulatedLibrary> emulated;
  size_t total = size_t(8) << 30, used = 0;
  std::string failWhat;
  long failAt = 0;
  std::map<std::string, long> counts;

  State();
  ~State();
  /// Counts a call, and says whether it is the one that is to fail.
  bool fails(const char *what);
};

State &state();

/// One line on standard error; gives `result` back.
int violation(int result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// Whether [address, address + bytes) lies in a live allocation of `where`.
bool isInside(const std::map<uintptr_t, size_t> &where, uintptr_t address, size_t bytes);
/// Success, or an error where no context is current.
int checkContext(const char *call);
bool isContextCurrent();

/// Puts work into a stream, or into the graph that it records.
int enqueue(void *stream, const char *call, Operation operation, NodeKind kind = {});
/// Does all that waits in a stream.
int finish(Stream &stream);

/// Checks parameters of a launch and gives the work; `early`: it may start before the one in
/// front is done.
int prepareLaunch(Kernel &kernel, const unsigned *grid, const unsigned *block, unsigned sharedBytes, void **parameters,
                  bool early, Operation &operation);

} // namespace standin

#define STANDIN_API extern "C" __attribute__((visibility("default")))

#endif
