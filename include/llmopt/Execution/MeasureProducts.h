// Times of linear layers, measured with the kernels that run them.
#ifndef LLMOPT_EXECUTION_MEASUREPRODUCTS_H
#define LLMOPT_EXECUTION_MEASUREPRODUCTS_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Transforms/Quantization/Scheme.h"

#include "llvm/Support/Error.h"

namespace llmopt {

/// Seconds of [rows, k] times [k, n] in each of `schemes`, quantization of the inputs
/// included, on one thread: medians of runs in turn, so that a disturbance hits all
/// alike. Between runs the caches of the processor are filled with something else:
/// a model reads its weights from memory. `target` must run on this machine.
llvm::Expected<std::vector<double>> measureProduct(const cpu::TargetInfo &target, int64_t rows, int64_t k, int64_t n,
                                                   llvm::ArrayRef<QuantScheme> schemes);

} // namespace llmopt

#endif
