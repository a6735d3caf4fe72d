// Gradients of matrix products.
#include "VJPRules.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

LogicalResult matmulVJP(MatMulOp matmul, Value g, const VJPContext &c) {
  Value a = matmul.getLhs(), b = matmul.getRhs();
  if (getDims(a).size() < 2 || getDims(b).size() < 2)
    return failure();
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

LogicalResult linearVJP(LinearOp linear, Value g, const VJPContext &c) {
  bool transposed = linear.getTransposeWeight();
  if (c.isActive(linear.getInput())) // g W^T
    c.accumulate(linear.getInput(),
                 c.create<LinearOp>(g, linear.getWeight(), Value(), c.builder.getBoolAttr(!transposed)));
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
