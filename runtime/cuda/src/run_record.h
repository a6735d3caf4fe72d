// What a recorded graph consists of, so that the next run of it may differ: a decoder's
// sizes change with every token, its launches do not.
#ifndef LLMOPT_RT_CUDA_RUN_RECORD_H
#define LLMOPT_RT_CUDA_RUN_RECORD_H

#include "driver.h"

namespace llmopt::rt {

/// The launches and copies of a run, in order, each with its node of a graph.
class RunRecord {
public:
  /// Room for so many operations with so many parameters in all.
  [[nodiscard]] bool allocate(size_t operations, size_t values);
  bool isAllocated() const { return values.size() != 0; }
  void clear() { numOperations = numValues = 0; }
  size_t size() const { return numOperations; }

  struct Operation {
    void *node;
    uint32_t what; ///< a kernel, or kCopy + CopyKind
    uint32_t tiles;
    uint32_t firstValue, numValues;
  };
  static constexpr uint32_t kCopy = 0xfffffff0u, kProduct = 0x80000000u; ///< + step

  /// Adds an operation; false where there is no room. Values are set behind that.
  [[nodiscard]] bool add(void *node, uint32_t what, uint32_t tiles, uint32_t count);
  Operation &operator[](size_t i) { return operations[i]; }
  uint64_t *valuesOf(const Operation &operation) { return values.data() + operation.firstValue; }

private:
  Array<Operation> operations;
  Array<uint64_t> values;
  size_t numOperations = 0, numValues = 0;
};

} // namespace llmopt::rt

#endif
