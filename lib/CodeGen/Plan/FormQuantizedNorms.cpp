// Quantization of what a norm gives, in the norm: a row is in the cache then, and one
// step less waits for all others.
#include "Partition.h"

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

void plan::formQuantizedNorms(func::FuncOp function, const PlanTarget &target) {
  if (!target.hasQuantizedNorm())
    return;
  for (auto rows : llvm::make_early_inc_range(function.getOps<kernel::QuantizeRowsOp>())) {
    kernel::NormOp norm = getNorm(rows);
    if (!norm || rows.getInput() == norm.getSum() || norm->getBlock() != rows->getBlock())
      continue;
    SmallVector<SymExpr> dims = getDims(norm.getResult()), scaleDims = dims;
    SymExpr width = getDims(rows.getInput()).back();
    if (!dims.back().getConstant() || !width.getConstant())
      continue;
    scaleDims.back() = SymExpr(*dims.back().getConstant() / *width.getConstant());
    OpBuilder builder(norm);
    Location loc = builder.getFusedLoc({norm.getLoc(), rows.getLoc()});
    auto fused = kernel::NormQuantizedOp::create(
        builder, loc, norm.getResult().getType(), lm::getTensorType(dims, builder.getI8Type()),
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
