// Graphs of whole runs, by what they were recorded for. A graph is recorded when
// the same run comes for the second time: shapes that come once pay nothing.
#ifndef LLMOPT_RT_CUDA_GRAPH_CACHE_H
#define LLMOPT_RT_CUDA_GRAPH_CACHE_H

#include "driver.h"

namespace llmopt::rt {

class GraphCache {
public:
  GraphCache() = default;
  GraphCache(const GraphCache &) = delete;
  GraphCache &operator=(const GraphCache &) = delete;

  [[nodiscard]] bool allocate(size_t keyLength);
  int64_t *key() { return wanted.data(); }
  size_t keyLength() const { return wanted.size(); }

  enum class Answer { First, Record, Launch };
  /// What to do with a run of the present key. After Record comes `keep`, or nothing.
  Answer look(void **graph);
  /// Keeps the graph of the key of the last `look`.
  void keep(void *graph);
  void clear(const CudaDriver &driver);
  /// Graphs that made room for others, for the caller to destroy once they are idle.
  void collect(const CudaDriver &driver);

private:
  static constexpr size_t kEntries = 8;
  struct Entry {
    uint64_t used = 0; ///< 0: empty
    void *graph = nullptr;
    Array<int64_t> key;
  };
  Entry entries[kEntries];
  Entry *current = nullptr;
  void *dropped = nullptr;
  Array<int64_t> wanted;
  uint64_t clock = 0;
};

} // namespace llmopt::rt

#endif
