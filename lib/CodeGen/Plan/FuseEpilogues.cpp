// What follows a gemm and reads nothing else of it: bias, activation, residual.
//
// The order inside a kernel is fixed (sum, bias, activation, residual), so each
// step applies only while no later one is taken.
#include "Partition.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using kernel::Activation;
using kernel::GemmOp;
using kernel::GemmS8Op;
using lm::getDims;

/// The activation that `op` applies to `value`, and the operation whose result
/// is the activated value.
static std::pair<Activation, Operation *> matchActivation(Operation *op, Value value) {
  if (auto gelu = dyn_cast<lm::GeluOp>(op)) {
    switch (gelu.getKind()) {
    case lm::GeluKind::Erf:
      return {Activation::GeluErf, op};
    case lm::GeluKind::Tanh:
      return {Activation::GeluTanh, op};
    case lm::GeluKind::Quick:
      return {Activation::GeluQuick, op};
    }
  }
  if (isa<lm::ReluOp>(op))
    return {Activation::Relu, op};
  if (isa<lm::TanhOp>(op))
    return {Activation::Tanh, op};
  if (isa<lm::SigmoidOp>(op))
    return {Activation::Sigmoid, op};
  return {Activation::None, nullptr};
}

/// x * sigmoid(x), where `value` has exactly these two uses.
static std::pair<Activation, Operation *> matchSilu(Value value) {
  if (!value.hasNUses(2))
    return {Activation::None, nullptr};
  for (Operation *user : value.getUsers())
    if (auto sigmoid = dyn_cast<lm::SigmoidOp>(user); sigmoid && sigmoid->hasOneUse())
      if (auto mul = dyn_cast<lm::MulOp>(*sigmoid->user_begin());
          mul && (mul.getLhs() == value || mul.getRhs() == value))
        return {Activation::Silu, mul};
  return {Activation::None, nullptr};
}

/// Replaces `last` by the gemm with what `change` adds, at the place of `last`.
template <typename Gemm>
static Gemm absorb(Gemm gemm, Operation *last, llvm::function_ref<void(Gemm)> change) {
  OpBuilder builder(last);
  auto fused = cast<Gemm>(builder.clone(*gemm));
  fused->setLoc(builder.getFusedLoc({gemm.getLoc(), last->getLoc()}));
  fused->getResult(0).setType(last->getResult(0).getType());
  change(fused);
  last->getResult(0).replaceAllUsesWith(fused.getResult());
  return fused;
}

/// activation(reshape(gemm)) -> reshape(activation(gemm)), so that it is next to it.
template <typename Gemm>
static void moveBehindReshape(Gemm gemm) {
  Value result = gemm.getResult();
  if (!result.hasOneUse())
    return;
  auto reshape = dyn_cast<lm::ReshapeOp>(*result.user_begin());
  if (!reshape || !reshape->hasOneUse())
    return;
  Operation *last = matchActivation(*reshape->user_begin(), reshape.getResult()).second;
  if (!last)
    return;
  OpBuilder builder(reshape);
  Operation *moved = builder.clone(*last);
  moved->setOperand(0, result);
  moved->getResult(0).setType(result.getType());
  reshape->setOperand(0, moved->getResult(0));
  last->getResult(0).replaceAllUsesWith(reshape.getResult());
  last->erase();
}

template <typename Gemm>
static bool fuseOne(Gemm &gemm) {
  if (gemm.getActivation() == Activation::None && !gemm.getResidual())
    moveBehindReshape(gemm);
  Value result = gemm.getResult();
  bool plain = gemm.getActivation() == Activation::None;
  if (gemm.getResidual())
    return false;
  Operation *last = nullptr;
  Activation activation = Activation::None;
  if (plain) {
    if (result.hasOneUse())
      std::tie(activation, last) = matchActivation(*result.user_begin(), result);
    if (!last)
      std::tie(activation, last) = matchSilu(result);
  }
  if (last && haveEqualDims(last->getResult(0).getType(), result.getType())) {
    gemm = absorb<Gemm>(gemm, last, [&](Gemm fused) { fused.setActivation(activation); });
    return true;
  }
  if (!result.hasOneUse())
    return false;
  auto add = dyn_cast<lm::AddOp>(*result.user_begin());
  if (!add || !haveEqualDims(add.getType(), result.getType()))
    return false;
  Value other = add.getLhs() == result ? add.getRhs() : add.getLhs();
  if (plain && !gemm.getBias() && getDims(other).size() == 1 && (isRecipe(other) || isParameter(other)) &&
      getDims(other)[0].isConstant(gemm.getN())) {
    gemm = absorb<Gemm>(gemm, add, [&](Gemm fused) { fused.getBiasMutable().assign(other); });
    return true;
  }
  if (haveEqualDims(other.getType(), result.getType()) && !isConstant(other)) {
    gemm = absorb<Gemm>(gemm, add, [&](Gemm fused) { fused.getResidualMutable().assign(other); });
    return true;
  }
  return false;
}

template <typename Gemm>
static void fuseAll(func::FuncOp function) {
  SmallVector<Gemm> gemms(function.getOps<Gemm>());
  for (Gemm gemm : gemms)
    while (fuseOne(gemm)) {
    }
}

void plan::fuseEpilogues(func::FuncOp function) {
  fuseAll<GemmOp>(function);
  fuseAll<GemmS8Op>(function);
  fuseAll<kernel::GemmW4A8Op>(function);
  fuseAll<kernel::GemmWQOp>(function);
  eraseDead(function);
}
