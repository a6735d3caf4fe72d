#include "llmopt/CodeGen/CPU/CostTable.h"

#include <algorithm>

using namespace llmopt::cpu;

namespace {
/// 10^9 operations (two per multiplication and addition) per second and core at 128
/// rows; 10^9 bytes of packed weights per second, which bound products of few rows;
/// 10^9 inputs quantized per second.
struct Rates {
  double f32, int8, int4;
  double read;
  double quantize;
};
} // namespace

static Rates getRates(const TargetInfo &target) {
  bool dot = target.features.find("vnni") != std::string::npos || target.features.find("dotprod") != std::string::npos;
  switch (target.isa) {
  case Isa::Avx512:
    return dot ? Rates{155, 620, 510, 18, 5} : Rates{155, 150, 180, 18, 4};
  case Isa::Avx2:
    return {86, 130, 175, 18, 2.5};
  case Isa::Neon:
    return dot ? Rates{40, 100, 80, 12, 1.5} : Rates{40, 50, 50, 12, 1.5};
  case Isa::Baseline:
    return {20, 25, 15, 12, 0.6};
  }
  return {20, 25, 15, 12, 0.6};
}

double llmopt::cpu::estimateProduct(const TargetInfo &target, Product product, int64_t rows, int64_t k, int64_t n) {
  Rates rates = getRates(target);
  double m = static_cast<double>(rows), weights = static_cast<double>(k) * static_cast<double>(n);
  double rate = rates.f32, bytes = 4 * weights, inputs = 0;
  switch (product) {
  case Product::Float:
    break;
  case Product::Int8:
  case Product::Int8Static:
    rate = rates.int8;
    bytes = weights;
    inputs = m * static_cast<double>(k) / rates.quantize * (product == Product::Int8 ? 1 : 0.6);
    break;
  case Product::Int4:
    rate = rates.int4;
    bytes = 0.625 * weights;
    inputs = m * static_cast<double>(k) / rates.quantize;
    break;
  case Product::Int4Weights:
    rate = 0.85 * rates.f32;
    bytes = 0.625 * weights;
    break;
  }
  return (std::max(2 * m * weights / rate, bytes / rates.read) + inputs) * 1e-9;
}
