// Graphs of whole runs, by what they were recorded for. A graph is recorded when
// the same run comes for the second time: shapes that come once pay nothing.
#ifndef LLMOPT_RT_CUDA_GRAPH_CACHE_H
#define LLMOPT_RT_CUDA_GRAPH_CACHE_H

#include "run_record.h"

namespace llmopt::rt {

class GraphCache {
public:
  GraphCache() = default;
  GraphCache(const GraphCache &) = delete;
  GraphCache &operator=(const GraphCache &) = delete;

  /// `values` 0: graphs are launched as they were recorded, and need no record.
  [[nodiscard]] bool allocate(size_t keyLength, size_t operations, size_t values);
  int64_t *key() { return wanted.data(); }
  size_t keyLength() const { return wanted.size(); }

  enum class Answer { First, Record, Launch };
  /// What to do with a run of the present key. After Record comes `keep`, or nothing.
  Answer look(void **graph);
  /// Keeps the graph of the key of the last `look`, with the one that its nodes belong to.
  void keep(void *executable, void *source);
  /// The record of that key; NULL where there are none.
  RunRecord *record();
  /// Destroys the graph of that key.
  void drop(const CudaDriver &driver);
  void clear(const CudaDriver &driver);
  /// Graphs that made room for others, for the caller to destroy once they are idle.
  void collect(const CudaDriver &driver);

private:
  static constexpr size_t kEntries = 8;
  struct Graph {
    void *executable = nullptr, *source = nullptr;
  };
  struct Entry {
    uint64_t used = 0; ///< 0: empty
    Graph graph;
    Array<int64_t> key;
    RunRecord record;
  };
  static void destroy(const CudaDriver &driver, Graph *graph);
  Entry entries[kEntries];
  Entry *current = nullptr;
  Graph dropped;
  Array<int64_t> wanted;
  uint64_t clock = 0;
};

} // namespace llmopt::rt

#endif
