// Constraints of products of floats of eight bits.
#include "KernelChecks.h"

#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::kernel;
using lm::getDims;
using lm::SymExpr;

LogicalResult GemmF8Op::verify() {
  auto weight = cast<RankedTensorType>(getWeight().getType());
  int64_t n = getN(), k = getK();
  if (!isa<Float8E4M3FNType>(weight.getElementType()) || !isPackedMatrix(weight, k, n, Layout::Rows)) // (C1)
    return emitOpError() << "expected an f8E4M3FN weight of k = " << k << " and n = " << n << " in rows, but got "
                         << weight;
  SmallVector<SymExpr> out = getDims(getResult());
  if (out.empty() || lm::mayDiffer(out.back(), n))
    return emitOpError() << "expected a last dimension of " << n << ", but got " << getResult().getType();
  if (!isa<Float8E4M3FNType>(getElementTypeOrSelf(getInput())) || !haveRowsOf(getInput(), out, k)) // (C2)
    return emitOpError() << "expected f8E4M3FN rows of " << k << " elements, but got " << getInput().getType()
                         << " for " << getResult().getType();
  if (!haveRowsOf(getInputScale(), out, 1)) // (C3)
    return emitOpError() << "expected one scale for each row of " << getResult().getType() << ", but got "
                         << getInputScale().getType();
  for (Value vector : {Value(getWeightScale()), Value(getBias())}) // (C4)
    if (!isVector(vector, n))
      return emitOpError() << "expected " << n << " elements, but got " << vector.getType();
  if (getResidual() && !lm::areCompatibleTypes(getResidual().getType(), getResult().getType()))
    return emitOpError() << "expected the residual " << getResult().getType() << ", but got "
                         << getResidual().getType();
  return success();
}
