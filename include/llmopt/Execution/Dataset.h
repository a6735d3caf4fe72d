// Samples for calibration and evaluation.
#ifndef LLMOPT_EXECUTION_DATASET_H
#define LLMOPT_EXECUTION_DATASET_H

#include "llmopt/Execution/Artifact.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt {

/// Arrays whose first dimension counts samples: one per input of a model, and
/// others (labels) as they are in the file.
class Dataset {
public:
  /// Reads a .npz, a folder of .npy files (named after inputs), or .jsonl: one sample
  /// per line, {"input_ids": [101, ...], ...}, lists of different length padded
  /// with zeros at the end; an `attention_mask` that no line has is made from the
  /// lengths. Errors name the file, the array, and what was expected: names, element
  /// types (integers may be narrower than the model's), ranks and sizes as the inputs
  /// of `function` say, as many samples in all arrays, at least one, floats finite.
  static llvm::Expected<Dataset> read(llvm::StringRef path, mlir::func::FuncOp function);

  int64_t size() const { return samples; }
  /// Samples [first, first + count) of all inputs.
  std::vector<NamedArray> getBatch(int64_t first, int64_t count) const;
  /// An array that is no input; null if there is none. Its first dimension is size().
  const NamedArray *find(llvm::StringRef name) const;
  /// The names of all arrays that are no inputs.
  std::vector<std::string> getExtraNames() const;
  /// Samples that one run takes: `wanted`, or what a fixed batch dimension says.
  int64_t getBatchSize(int64_t wanted) const { return fixedBatch ? fixedBatch : std::min(wanted, samples); }
  /// Only the first `count` samples.
  void truncate(int64_t count) { samples = std::min(samples, count); }

private:
  llvm::Error check(llvm::StringRef path, mlir::func::FuncOp function, std::vector<NamedArray> arrays);

  std::vector<NamedArray> inputs, extra;
  int64_t samples = 0;
  int64_t fixedBatch = 0;
};

/// Element `i` of an array.
double getElement(const NamedArray &array, int64_t i);
int64_t countElements(const NamedArray &array);

} // namespace llmopt

#endif
