// Gradients of matrix products.
#include "VJPRules.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

LogicalResult matmulVJP(MatMulOp matmul, Value g, const VJPContext &c) {
  Value a = matmul.getLhs(), b = matmul.getRhs();
  // A row on the left or a column on the right, which the result lacks.
  SmallVector<SymExpr> dimsA = getDims(a), dimsB = getDims(b), dims = getDims(g);
  bool isRow = dimsA.size() == 1, isColumn = dimsB.size() == 1;
  if (isRow || isColumn) {
    if (isColumn)
      dims.push_back(1);
    if (isRow)
      dims.insert(dims.end() - 1, SymExpr(1));
    Value rows = isRow ? c.reshape(a, {1, dimsA[0]}) : a, columns = isColumn ? c.reshape(b, {dimsB[0], 1}) : b;
    g = c.reshape(g, dims);
    if (c.isActive(a))
      c.accumulate(a, c.matmul(g, c.transposeMatrix(columns)));
    if (c.isActive(b)) {
      Value gradient = c.matmul(c.transposeMatrix(rows), g);
      SmallVector<SymExpr> flat = getDims(gradient);
      if (isColumn)
        flat.pop_back();
      c.accumulate(b, c.reshape(gradient, flat));
    }
    return success();
  }
  if (c.isActive(a)) // dA = g B^T
    c.accumulate(a, c.matmul(g, c.transposeMatrix(b)));
  if (c.isActive(b)) // dB = A^T g
    c.accumulate(b, c.matmul(c.transposeMatrix(a), g));
  return success();
}

/// All dimensions but the last as one.
Value flattenRows(const VJPContext &c, Value value) {
  SmallVector<SymExpr> dims = getDims(value);
  return c.reshape(value, {product(ArrayRef(dims).drop_back()), dims.back()});
}

/// g W^T. Where W is dequantized with one scale per column, they scale g instead, and the
/// product is by the integers: kernels that multiply quantized weights take it.
Value timesTransposed(LinearOp linear, Value g, const VJPContext &c) {
  bool transposed = linear.getTransposeWeight();
  Value weight = linear.getWeight();
  auto dequantize = weight.getDefiningOp<DequantizeOp>();
  SmallVector<SymExpr> dims = getDims(weight);
  SymExpr outputs = dims[transposed ? 0 : 1];
  if (dequantize && !dequantize.getZeroPoint() && getElementTypeOrSelf(dequantize.getInput()).isInteger(8) &&
      !outputs.isConstant(1) && getNumElements(dequantize.getScale().getType()) == outputs &&
      getDims(dequantize.getScale()).size() == 2) {
    g = c.mul(g, c.reshape(dequantize.getScale(), {outputs}));
    weight = c.create<DequantizeOp>(dequantize.getInput(), c.scalar(1.0, getElementTypeOrSelf(g)), Value());
  }
  return c.create<LinearOp>(g, weight, Value(), c.builder.getBoolAttr(!transposed));
}

LogicalResult linearVJP(LinearOp linear, Value g, const VJPContext &c) {
  bool transposed = linear.getTransposeWeight();
  if (c.isActive(linear.getInput()))
    c.accumulate(linear.getInput(), timesTransposed(linear, g, c));
  if (c.isActive(linear.getWeight())) { // x^T g, or g^T x for a transposed weight
    Value x = flattenRows(c, linear.getInput()), rows = flattenRows(c, g);
    Value gradient = transposed ? c.matmul(c.transposeMatrix(rows), x) : c.matmul(c.transposeMatrix(x), rows);
    c.accumulate(linear.getWeight(), gradient);
  }
  if (c.isActive(linear.getBias()))
    c.accumulate(linear.getBias(), c.sum(flattenRows(c, g), {0}, /*keepdims=*/false));
  return success();
}

} // namespace

LogicalResult llmopt::applyMatmulVJP(Operation *op, Value g, const VJPContext &c) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<MatMulOp>([&](MatMulOp matmul) { return matmulVJP(matmul, g, c); })
      .Case<LinearOp>([&](LinearOp linear) { return linearVJP(linear, g, c); })
      .Default([](Operation *) { return failure(); });
}
