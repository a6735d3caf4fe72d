#include "graph_cache.h"

using namespace llmopt::rt;

bool GraphCache::allocate(size_t keyLength, size_t operations, size_t values) {
  for (Entry &entry : entries)
    if (!entry.key.allocate(keyLength) || (values && !entry.record.allocate(operations, values)))
      return false;
  return wanted.allocate(keyLength);
}

GraphCache::Answer GraphCache::look(void **graph) {
  Entry *oldest = entries;
  for (Entry &entry : entries) {
    if (entry.used < oldest->used)
      oldest = &entry;
    if (!entry.used || std::memcmp(entry.key.data(), wanted.data(), wanted.size() * sizeof(int64_t)) != 0)
      continue;
    entry.used = ++clock;
    current = &entry;
    *graph = entry.graph.executable;
    return entry.graph.executable ? Answer::Launch : Answer::Record;
  }
  dropped = oldest->graph;
  oldest->graph = {};
  oldest->used = ++clock;
  std::memcpy(oldest->key.data(), wanted.data(), wanted.size() * sizeof(int64_t));
  current = oldest;
  return Answer::First;
}

RunRecord *GraphCache::record() { return current->record.isAllocated() ? &current->record : nullptr; }

void GraphCache::keep(void *executable, void *source) { current->graph = {executable, source}; }

void GraphCache::drop(const CudaDriver &driver) { destroy(driver, &current->graph); }

void GraphCache::destroy(const CudaDriver &driver, Graph *graph) {
  if (graph->executable)
    driver.graphExecDestroy(graph->executable);
  if (graph->source)
    driver.graphDestroy(graph->source);
  *graph = {};
}

void GraphCache::collect(const CudaDriver &driver) { destroy(driver, &dropped); }

void GraphCache::clear(const CudaDriver &driver) {
  collect(driver);
  for (Entry &entry : entries) {
    destroy(driver, &entry.graph);
    entry.used = 0;
  }
}
