#include "graph_cache.h"

using namespace llmopt::rt;

bool GraphCache::allocate(size_t keyLength) {
  for (Entry &entry : entries)
    if (!entry.key.allocate(keyLength))
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
    *graph = entry.graph;
    return entry.graph ? Answer::Launch : Answer::Record;
  }
  dropped = oldest->graph;
  oldest->graph = nullptr;
  oldest->used = ++clock;
  std::memcpy(oldest->key.data(), wanted.data(), wanted.size() * sizeof(int64_t));
  current = oldest;
  return Answer::First;
}

void GraphCache::keep(void *graph) { current->graph = graph; }

void GraphCache::collect(const CudaDriver &driver) {
  if (dropped)
    driver.graphExecDestroy(dropped);
  dropped = nullptr;
}

void GraphCache::clear(const CudaDriver &driver) {
  collect(driver);
  for (Entry &entry : entries) {
    if (entry.graph)
      driver.graphExecDestroy(entry.graph);
    entry.graph = nullptr;
    entry.used = 0;
  }
}
