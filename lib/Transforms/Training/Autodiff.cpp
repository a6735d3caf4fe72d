// The driver of reverse-mode differentiation: which values are active, in what
// order rules run, where gradients add up. Rules are in the VJP files.
#include "llmopt/Transforms/Training/Autodiff.h"

#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

void VJPContext::accumulate(Value operand, Value gradient) const {
  if (!isActive(operand))
    return;
  // Sum over dimensions that the operand lacks, and over those it has as 1.
  SmallVector<SymExpr> want = getDims(operand), have = getDims(gradient);
  int64_t extra = static_cast<int64_t>(have.size()) - static_cast<int64_t>(want.size());
  SmallVector<int64_t> axes;
  for (int64_t i = 0; i < static_cast<int64_t>(have.size()); ++i)
    if (i < extra || (want[i - extra].isConstant(1) && !have[i].isConstant(1)))
      axes.push_back(i);
  if (!axes.empty())
    gradient = reshape(sum(gradient, axes, /*keepdims=*/true), want);
  accumulateFn(operand, gradient);
}

Value VJPContext::scalar(double value, Type elementType) const {
  auto type = RankedTensorType::get({}, elementType);
  return create<ConstantOp>(DenseElementsAttr::get(type, builder.getFloatAttr(elementType, value)));
}

Value VJPContext::mul(Value a, double b) const { return mul(a, scalar(b, getElementTypeOrSelf(a))); }
Value VJPContext::add(Value a, double b) const { return add(a, scalar(b, getElementTypeOrSelf(a))); }

Value VJPContext::reshape(Value a, ArrayRef<SymExpr> dims) const {
  if (getTensorType(dims, getElementTypeOrSelf(a)) == a.getType())
    return a;
  return create<ReshapeOp>(a, dims);
}

Value VJPContext::transpose(Value a, ArrayRef<int64_t> perm) const { return create<TransposeOp>(a, perm); }

Value VJPContext::transposeMatrix(Value a) const {
  int64_t rank = cast<RankedTensorType>(a.getType()).getRank();
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(perm[rank - 1], perm[rank - 2]);
  return transpose(a, perm);
}

Value VJPContext::sum(Value a, ArrayRef<int64_t> axes, bool keepdims) const {
  return create<ReduceOp>(ReduceKind::Sum, a, axes, keepdims);
}

Value VJPContext::mean(Value a, ArrayRef<int64_t> axes, bool keepdims) const {
  return create<ReduceOp>(ReduceKind::Mean, a, axes, keepdims);
}

namespace {

/// The operands of an operation, and what its regions see of the values around.
SmallVector<Value> getReads(Operation *op) {
  SmallVector<Value> reads(op->getOperands());
  llvm::SetVector<Value> captured;
  for (Region &region : op->getRegions())
    getUsedValuesDefinedAbove(region, captured);
  reads.append(captured.begin(), captured.end());
  return reads;
}

using Roots = ArrayRef<std::pair<Value, Value>>;

/// Values that depend on a target, and operations a root depends on.
struct Activity {
  DenseSet<Value> active;
  SmallVector<Operation *> order; // active operations, in program order

  Activity(Roots roots, Block &block, ArrayRef<Value> targets) {
    DenseSet<Operation *> needed;
    SmallVector<Operation *> work;
    auto need = [&](Value value) {
      if (Operation *op = value.getDefiningOp(); op && needed.insert(op).second)
        work.push_back(op);
    };
    for (auto &[root, gradient] : roots)
      need(root);
    while (!work.empty())
      for (Value operand : getReads(work.pop_back_val()))
        need(operand);
    active.insert(targets.begin(), targets.end());
    for (Operation &op : block) {
      if (!needed.contains(&op) || !llvm::any_of(getReads(&op), [&](Value v) { return active.contains(v); }))
        continue;
      bool differentiable = false;
      for (Value result : op.getResults())
        if (isa<FloatType>(getElementTypeOrSelf(result.getType()))) {
          active.insert(result);
          differentiable = true;
        }
      if (differentiable)
        order.push_back(&op);
    }
  }
};

/// "lm.add at /encoder/add <- ... <- loss", the shortest way found by following
/// users towards the loss.
std::string pathToLoss(Operation *op, Value loss) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (int steps = 0; op && steps < 8; ++steps) {
    os << (steps ? " <- " : "") << op->getName();
    if (llvm::is_contained(op->getResults(), loss))
      break;
    op = op->use_empty() ? nullptr : *op->user_begin();
  }
  return text;
}

} // namespace

FailureOr<SmallVector<Value>> llmopt::buildGradients(OpBuilder &builder, Value loss, ArrayRef<Value> targets) {
  auto type = cast<RankedTensorType>(loss.getType());
  Value one = ConstantOp::create(builder, loss.getLoc(),
                                 DenseElementsAttr::get(type, builder.getFloatAttr(type.getElementType(), 1.0)));
  return buildGradients(builder, {{loss, one}}, targets);
}

FailureOr<SmallVector<Value>> llmopt::buildGradients(OpBuilder &builder, Roots roots, ArrayRef<Value> targets) {
  Activity activity(roots, *builder.getInsertionBlock(), targets);
  Value loss = roots.front().first;
  DenseMap<Value, Value> gradients;
  Location lossLoc = loss.getLoc();
  for (auto &[root, gradient] : roots)
    gradients[root] = gradient;

  for (Operation *op : llvm::reverse(activity.order)) {
    Value gradient = gradients.lookup(op->getResult(0));
    if (!gradient)
      continue;
    auto accumulate = [&](Value operand, Value part) {
      Value &slot = gradients[operand];
      slot = slot ? AddOp::create(builder, op->getLoc(), slot, part).getResult() : part;
    };
    auto isActive = [&](Value value) { return activity.active.contains(value); };
    VJPContext context(builder, op->getLoc(), accumulate, isActive);
    if (op->getNumResults() != 1 || failed(applyVJP(op, gradient, context)))
      return op->emitError() << "no gradient for " << op->getName() << " on the path " << pathToLoss(op, loss);
  }

  SmallVector<Value> results;
  for (Value target : targets) {
    Value gradient = gradients.lookup(target);
    if (!gradient) {
      VJPContext context(builder, lossLoc, [](Value, Value) {}, [](Value) { return false; });
      gradient = context.create<BroadcastOp>(context.scalar(0.0, getElementTypeOrSelf(target)), getDims(target));
    }
    results.push_back(gradient);
  }
  return results;
}
