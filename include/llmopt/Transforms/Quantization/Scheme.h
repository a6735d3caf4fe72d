// How one linear layer is quantized, and writing it into the graph.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_SCHEME_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_SCHEME_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/ADT/DenseMap.h"

#include <optional>
#include <string>

namespace llmopt {

/// Numeric formats of the two operands of a product. All are symmetric.
struct QuantScheme {
  enum class Weight {
    Float,
    Int8, ///< one scale per output channel
    Int4, ///< one scale per output channel and `group` inputs
    E4M3, ///< f8E4M3FN, one scale per output channel
  };
  enum class Input {
    Float,
    PerToken, ///< int8 (beside E4M3: that), one scale per row, found when running
    PerGroup, ///< int8, one scale per row and `group` inputs, found when running
    Static,   ///< int8, one scale, found by calibration
  };
  Weight weight = Weight::Float;
  Input input = Input::Float;
  int64_t group = 0; ///< inputs that share a scale; divides K
  /// lm.fake_quantize instead of integers: the same numbers, with gradients.
  bool fake = false;

  bool isFloat() const { return weight == Weight::Float; }
  /// "float", "int8", "int8-static", "int4-g32", "int4-g32-weights"...
  std::string str() const;
  /// Bytes of a [k, n] weight with its scales.
  int64_t getBytes(int64_t k, int64_t n) const;
};

/// A weight [K, N] that was quantized ahead (GPTQ, AWQ). int8: values [K, N], scales
/// [1, N]; int4: values [K/G, G, N], scales [K/G, 1, N]. Zero points have the shape of
/// the scales, or are null.
struct SolvedWeight {
  mlir::Value q, scale, zeroPoint;
};

/// The quantized inputs of a function: one pair of operations per value and
/// format, however many layers read it.
class InputQuantizer {
public:
  /// `x` quantized and dequantized again, behind the definition of `x`.
  /// `staticScale` is read where the format is static.
  mlir::Value roundTrip(mlir::Value x, const QuantScheme &scheme, double staticScale);

private:
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, mlir::Value> done;
};

/// Whether the shapes of `linear` allow `scheme`; the reason where they do not.
std::optional<std::string> whyNot(lm::LinearOp linear, const QuantScheme &scheme);

/// Puts quantize and dequantize operations on both sides of `linear`. Without
/// `solved` the weight is a recipe: rounding to nearest. whyNot must be empty.
void quantizeLinear(lm::LinearOp linear, const QuantScheme &scheme, InputQuantizer &inputs,
                    const SolvedWeight *solved = nullptr, double staticScale = 0);

/// The table of `embedding` in int8 with one scale per row. It must be an f32 value
/// made of weights.
void quantizeTable(lm::EmbeddingOp embedding);
bool isQuantizable(lm::EmbeddingOp embedding);

/// Whether a layer has an f32 input, a weight made of weights, and is not
/// quantized yet.
bool isQuantizable(lm::LinearOp linear);

/// lm.fake_quantize -> lm.quantize and lm.dequantize with the same scales, wherever it
/// is. Returns how many there were.
int64_t expandFakeQuantize(mlir::Operation *root);

/// The opposite, for what a file quantizes: lm.dequantize of lm.quantize of f32 with
/// the same scale and zero point -> lm.fake_quantize.
int64_t formFakeQuantize(mlir::Operation *root);

/// [K, N] of the weight.
std::pair<int64_t, int64_t> getWeightSize(lm::LinearOp linear);

} // namespace llmopt

#endif
