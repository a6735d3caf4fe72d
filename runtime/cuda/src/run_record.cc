#include "run_record.h"

using namespace llmopt::rt;

bool RunRecord::allocate(size_t numOps, size_t numVals) {
  return operations.allocate(numOps ? numOps : 1) && values.allocate(numVals ? numVals : 1);
}

bool RunRecord::add(void *node, uint32_t what, uint32_t tiles, uint32_t count) {
  if (numOperations == operations.size() || count > values.size() - numValues)
    return false;
  operations[numOperations++] = {node, what, tiles, uint32_t(numValues), count};
  numValues += count;
  return true;
}
