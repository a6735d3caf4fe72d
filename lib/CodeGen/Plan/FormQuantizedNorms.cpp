// Quantization of what a norm gives, in the norm: a row is in the cache then, and one
// step less waits for all others.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

/// The norm whose rows, whole or split into groups, `rows` quantizes.
static kernel::NormOp getNorm(kernel::QuantizeRowsOp rows) {
  Value input = rows.getInput();
  if (auto norm = input.getDefiningOp<kernel::NormOp>())
    return norm;
  auto reshape = input.getDefiningOp<lm::ReshapeOp>();
  auto norm = reshape ? reshape.getInput().getDefiningOp<kernel::NormOp>() : kernel::NormOp();
  if (!norm || reshape.getInput() != norm.getResult())
    return {};
  SmallVector<SymExpr> whole = getDims(norm.getResult()), split = getDims(input);
  if (split.size() != whole.size() + 1 || split[whole.size() - 1] * split.back() != whole.back())
    return {};
  for (size_t i = 0; i + 1 < whole.size(); ++i)
    if (whole[i] != split[i])
      return {};
  return norm;
}

/// Whether `value` is there before `norm`, after moving it if it is a constant.
static bool bringBefore(kernel::NormOp norm, Value value) {
  Operation *op = value ? value.getDefiningOp() : nullptr;
  if (!op || op->getBlock() != norm->getBlock() || op->isBeforeInBlock(norm))
    return true;
  if (!isa<lm::ConstantOp>(op))
    return false;
  op->moveBefore(norm);
  return true;
}

/// One scale for all rows, that is known before the norm.
static void formWithTensorScale(kernel::QuantizeTensorOp quantize) {
  auto norm = quantize.getInput().getDefiningOp<kernel::NormOp>();
  if (!norm || quantize.getInput() == norm.getSum() || norm->getBlock() != quantize->getBlock() ||
      !bringBefore(norm, quantize.getScale()) || !bringBefore(norm, quantize.getZeroPoint()))
    return;
  OpBuilder builder(norm);
  Location loc = builder.getFusedLoc({norm.getLoc(), quantize.getLoc()});
  auto fused = kernel::NormQuantizedTensorOp::create(
      builder, loc, norm.getResult().getType(), quantize.getType(), norm.getSum() ? norm.getSum().getType() : Type(),
      norm.getKind(), norm.getInput(), norm.getResidual(), norm.getInputBias(), norm.getScale(), norm.getBias(),
      quantize.getScale(), quantize.getZeroPoint(), norm.getEpsilon(), quantize.getNarrowRange());
  quantize.getResult().replaceAllUsesWith(fused.getQuantized());
  norm.getResult().replaceAllUsesWith(fused.getResult());
  if (norm.getSum())
    norm.getSum().replaceAllUsesWith(fused.getSum());
  quantize.erase();
  norm.erase();
}

void plan::formQuantizedNorms(func::FuncOp function, const PlanTarget &target) {
  if (!target.hasQuantizedNorm(/*grouped=*/false))
    return;
  for (auto quantize : llvm::make_early_inc_range(function.getOps<kernel::QuantizeTensorOp>()))
    formWithTensorScale(quantize);
  for (auto rows : llvm::make_early_inc_range(function.getOps<kernel::QuantizeRowsOp>())) {
    kernel::NormOp norm = getNorm(rows);
    if (!norm || rows.getInput() == norm.getSum() || norm->getBlock() != rows->getBlock())
      continue;
    SmallVector<SymExpr> dims = getDims(norm.getResult()), scaleDims = dims;
    SymExpr width = getDims(rows.getInput()).back();
    if (!dims.back().getConstant() || !width.getConstant())
      continue;
    scaleDims.back() = SymExpr(*dims.back().getConstant() / *width.getConstant());
    if (!scaleDims.back().isConstant(1) && !target.hasQuantizedNorm(/*grouped=*/true))
      continue;
    OpBuilder builder(norm);
    Location loc = builder.getFusedLoc({norm.getLoc(), rows.getLoc()});
    auto fused = kernel::NormQuantizedOp::create(
        builder, loc, norm.getResult().getType(), lm::getTensorType(dims, getElementTypeOrSelf(rows.getResult())),
        lm::getTensorType(scaleDims, builder.getF32Type()), norm.getSum() ? norm.getSum().getType() : Type(),
        norm.getKind(), norm.getInput(), norm.getResidual(), norm.getInputBias(), norm.getScale(), norm.getBias(),
        norm.getEpsilon());
    auto replace = [&](Value old, Value value) {
      if (!haveEqualDims(old.getType(), value.getType())) {
        builder.setInsertionPoint(rows);
        value = lm::ReshapeOp::create(builder, loc, value, getDims(old));
      }
      old.replaceAllUsesWith(value);
    };
    replace(rows.getResult(), fused.getQuantized());
    replace(rows.getScale(), fused.getQuantizedScale());
    norm.getResult().replaceAllUsesWith(fused.getResult());
    if (norm.getSum())
      norm.getSum().replaceAllUsesWith(fused.getSum());
    rows.erase();
    norm.erase();
  }
}
