// A weight [K, N] in memory, quantized or not, as solvers work on it.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_WEIGHTMATRIX_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_WEIGHTMATRIX_H

#include <cstdint>
#include <vector>

namespace llmopt {

/// Floats [K, N], row k all outputs of input k.
struct WeightMatrix {
  int64_t k = 0, n = 0;
  std::vector<float> values;

  float &at(int64_t i, int64_t o) { return values[i * n + o]; }
  float at(int64_t i, int64_t o) const { return values[i * n + o]; }
};

/// Integers of `bits` bits with scales per `group` inputs and output. Of bits = 8
/// one group has all K inputs. Symmetric: no zero points, the smallest integer is
/// not used; else values are 0 .. 2^bits - 1 with zero points of the same range.
struct QuantizedMatrix {
  int64_t k = 0, n = 0, group = 0;
  int bits = 4;
  bool symmetric = true;
  std::vector<int8_t> q;         ///< [K, N]
  std::vector<float> scale;      ///< [K / group, N]
  std::vector<int8_t> zeroPoint; ///< [K / group, N]; empty where symmetric

  int lowest() const { return symmetric ? -(1 << (bits - 1)) + 1 : 0; }
  int highest() const { return symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1; }
  /// The float that row `i`, output `o` stands for.
  float value(int64_t i, int64_t o) const;
  /// `w` rounded with the parameters of row `i`, output `o`.
  int round(float w, int64_t i, int64_t o) const;
  WeightMatrix dequantize() const;
};

struct GridOptions {
  int bits = 4;
  int64_t group = 32;
  bool symmetric = true;
  /// Narrows every range to the one with the least (weighted) squared error.
  bool search = false;
};

/// Scales and zero points of `w`; `q` rounded to nearest. `importance`, where not
/// empty, weighs the error of each input in the search: [K], not negative.
QuantizedMatrix roundToNearest(const WeightMatrix &w, const GridOptions &options,
                               const std::vector<float> &importance = {});

/// sum of squares of (w - quantized)^T H (w - quantized) over outputs, H the upper
/// triangle of a Gram matrix [K, K]: the squared error of the layer's output.
double getOutputError(const WeightMatrix &w, const QuantizedMatrix &quantized, const std::vector<float> &gram);

/// 10 log10(|w|^2 / |w - quantized|^2), in dB.
double getSQNR(const WeightMatrix &w, const QuantizedMatrix &quantized);

} // namespace llmopt

#endif
