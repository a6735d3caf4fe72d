#include "BlockQuantized.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

static constexpr const char *kInt8Inputs = "lm.int8_inputs";

std::optional<BlockWeight> onnx_export::matchBlockWeight(LinearOp linear) {
  auto reshape = linear.getWeight().getDefiningOp<ReshapeOp>();
  auto dequantize = reshape ? reshape.getInput().getDefiningOp<DequantizeOp>() : DequantizeOp();
  if (!dequantize || getElementTypeOrSelf(dequantize.getInput()).getIntOrFloatBitWidth() != 4 ||
      !isa<IntegerType>(getElementTypeOrSelf(dequantize.getInput())))
    return std::nullopt;
  ArrayRef<int64_t> shape = cast<RankedTensorType>(dequantize.getInput().getType()).getShape();
  ArrayRef<int64_t> scales = cast<RankedTensorType>(dequantize.getScale().getType()).getShape();
  ArrayRef<int64_t> matrix = cast<RankedTensorType>(linear.getWeight().getType()).getShape();
  bool transposed = linear.getTransposeWeight();
  BlockWeight weight{dequantize.getInput(), dequantize.getScale(), dequantize.getZeroPoint()};
  weight.k = matrix[transposed ? 1 : 0];
  weight.n = matrix[transposed ? 0 : 1];
  if (shape.size() != 3 || scales.size() != 3)
    return std::nullopt;
  weight.size = shape[transposed ? 2 : 1];
  int64_t blocks = weight.k / std::max<int64_t>(1, weight.size);
  SmallVector<int64_t> values = transposed ? SmallVector<int64_t>{weight.n, blocks, weight.size}
                                           : SmallVector<int64_t>{blocks, weight.size, weight.n};
  SmallVector<int64_t> parameters = values;
  parameters[transposed ? 2 : 1] = 1;
  // Block sizes that MatMulNBits knows.
  bool isPower = weight.size >= 16 && (weight.size & (weight.size - 1)) == 0;
  if (shape != ArrayRef(values) || scales != ArrayRef(parameters) || !isPower)
    return std::nullopt;
  // The zero point of signed values must be 0, for nibbles are stored with 8 added.
  if (weight.zeroPoint && !getElementTypeOrSelf(weight.q).isUnsignedInteger())
    return std::nullopt;
  return weight;
}

/// What `value` was before it was quantized in groups along its last dimension; null
/// where it was not.
static Value getUnquantized(Value value) {
  auto joined = value.getDefiningOp<ReshapeOp>();
  auto dequantize = joined ? joined.getInput().getDefiningOp<DequantizeOp>() : DequantizeOp();
  auto quantize = dequantize ? dequantize.getInput().getDefiningOp<QuantizeOp>() : QuantizeOp();
  auto split = quantize ? quantize.getInput().getDefiningOp<ReshapeOp>() : ReshapeOp();
  if (!split || split.getInput().getType() != value.getType() || dequantize.getScale() != quantize.getScale() ||
      !quantize.getScale().getDefiningOp<AbsMaxScaleOp>())
    return {};
  return split.getInput();
}

void onnx_export::stripBlockInputs(func::FuncOp function) {
  SmallVector<Operation *> stripped;
  function.walk([&](LinearOp linear) {
    Value before = getUnquantized(linear.getInput());
    if (!before || !matchBlockWeight(linear))
      return;
    stripped.push_back(linear.getInput().getDefiningOp());
    linear.getInputMutable().set(before);
    linear->setAttr(kInt8Inputs, UnitAttr::get(linear.getContext()));
  });
  SetVector<Operation *> dead(stripped.begin(), stripped.end());
  for (size_t i = 0; i < dead.size(); ++i) {
    Operation *op = dead[i];
    if (!op->use_empty() || !isPure(op))
      continue;
    SmallVector<Operation *> behind;
    for (Value operand : op->getOperands())
      if (Operation *def = operand.getDefiningOp())
        behind.push_back(def);
    op->erase();
    for (Operation *def : behind)
      if (def->use_empty())
        dead.insert(def);
  }
}

/// `values` [N, blocks, size] of 4 bits, two to a byte, as a tensor of the shape `dims`.
static llvm::Expected<Tensor> pack(MLIRContext *context, ArrayRef<int64_t> values, int64_t rowLength,
                                   ArrayRef<int64_t> dims, int64_t shift) {
  int64_t rows = static_cast<int64_t>(values.size()) / rowLength, rowBytes = (rowLength + 1) / 2;
  std::vector<int64_t> bytes(rows * rowBytes);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < rowLength; ++i)
      bytes[r * rowBytes + i / 2] |= ((values[r * rowLength + i] + shift) & 15) << (i % 2 * 4);
  return Tensor::fromInts(IntegerType::get(context, 8, IntegerType::Unsigned), dims, bytes);
}

/// Row-major [N, blocks, size] of a tensor that may be [blocks, size, N].
template <typename T> static std::vector<T> byOutput(ArrayRef<T> values, bool transposed, int64_t n) {
  std::vector<T> result(values.begin(), values.end());
  if (transposed)
    return result;
  int64_t inner = static_cast<int64_t>(values.size()) / n;
  for (int64_t i = 0; i < inner; ++i)
    for (int64_t o = 0; o < n; ++o)
      result[o * inner + i] = values[i * n + o];
  return result;
}

void onnx_export::writeMatMulNBits(OpWriter &w, LinearOp linear, const BlockWeight &weight) {
  MLIRContext *context = linear.getContext();
  bool transposed = linear.getTransposeWeight(), isSigned = !w.elem(weight.q).isUnsignedInteger();
  int64_t blocks = weight.k / weight.size;
  auto addTensor = [&](llvm::Expected<Tensor> tensor, const char *name) -> Name {
    if (tensor)
      return w.graph.addTensor(weight.q.getDefiningOp(), *tensor, name, linear);
    w.error(llvm::toString(tensor.takeError()));
    return "";
  };
  auto evaluate = [&](Value value) -> Tensor {
    llvm::Expected<Tensor> tensor = w.graph.evaluate(value);
    if (tensor)
      return *tensor;
    w.error(llvm::toString(tensor.takeError()));
    return {};
  };
  Tensor q = evaluate(weight.q), scale = evaluate(weight.scale);
  if (!q || !scale)
    return w.out("");
  Name packed = addTensor(pack(context, byOutput(q.ints(), transposed, weight.n), weight.size,
                               {weight.n, blocks, weight.size / 2}, isSigned ? 8 : 0),
                          "_blocks");
  Name scales = addTensor(
      Tensor::fromFloats(scale.getElementType(), {weight.n * blocks}, byOutput(scale.floats(), transposed, weight.n)),
      "_scales");
  Name zeros;
  if (weight.zeroPoint) {
    Tensor zero = evaluate(weight.zeroPoint);
    if (!zero)
      return w.out("");
    zeros = addTensor(
        pack(context, byOutput(zero.ints(), transposed, weight.n), blocks, {weight.n * ((blocks + 1) / 2)}, 0),
        "_zero_points");
  }
  Name product = w.microsoftNode("MatMulNBits", {w.in(linear.getInput()), packed, scales, zeros},
                                 {{"K", weight.k},
                                  {"N", weight.n},
                                  {"bits", 4},
                                  {"block_size", weight.size},
                                  {"accuracy_level", linear->hasAttr(kInt8Inputs) ? 4 : 0}});
  Name bias = w.in(linear.getBias());
  w.out(bias.empty() ? product : w.add(product, bias));
}
