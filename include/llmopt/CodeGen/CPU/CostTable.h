// What a linear layer costs on a target, from measured rates.
#ifndef LLMOPT_CODEGEN_CPU_COSTTABLE_H
#define LLMOPT_CODEGEN_CPU_COSTTABLE_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"

namespace llmopt::cpu {

/// Raised when kernels become faster or slower: times measured before are no longer
/// taken.
inline constexpr int kKernelVersion = 1;

/// The kinds of product that have kernels of their own.
enum class Product {
  Float,
  Int8,        ///< int8 weights, inputs quantized per row
  Int8Static,  ///< the same with a known scale of inputs
  Int4,        ///< int4 weights in groups, inputs quantized alike
  Int4Weights, ///< int4 weights, float inputs
};

/// Estimated seconds on one core of [rows, k] times [k, n], quantization of the
/// inputs included. Rates are those of bench/results; a row of the table per level.
double estimateProduct(const TargetInfo &target, Product product, int64_t rows, int64_t k, int64_t n);

} // namespace llmopt::cpu

#endif
