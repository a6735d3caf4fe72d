// What must hold of bound shapes for a plan to be right.
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/CodeGen/Plan/Tables.h"
#include "llmopt/Dialect/LM/IR/Relation.h"

using namespace mlir;
using namespace llmopt;
using lm::getDims;
using lm::SymExpr;

static std::optional<ShapeConstraint> parseConstraint(StringRef text) {
  std::optional<lm::Relation> relation = lm::Relation::parse(text);
  if (!relation)
    return std::nullopt;
  return ShapeConstraint{relation->lhs, relation->rhs, relation->isEqual ? LLMOPT_EQUAL : LLMOPT_AT_MOST, text.str()};
}

namespace {
class Collector {
public:
  std::vector<ShapeConstraint> found;

  void add(ShapeConstraint constraint) {
    for (const ShapeConstraint &other : found)
      if (other.lhs == constraint.lhs && other.rhs == constraint.rhs && other.relation == constraint.relation)
        return;
    found.push_back(std::move(constraint));
  }

  /// Dimensions that broadcast to their maximum: equal, or one of them is 1.
  void addBroadcast(const SymExpr &a, const SymExpr &b, Operation *op) {
    if (a.isUnknown() || b.isUnknown() || a == b || a.isConstant(1) || b.isConstant(1))
      return;
    // (a - b)(a - 1)(b - 1) = 0
    SymExpr product = (a - b) * (a - SymExpr(1)) * (b - SymExpr(1));
    add({product, SymExpr(0), LLMOPT_EQUAL,
         "broadcast of " + a.str() + " and " + b.str() + " in " + getNodeNames(op->getLoc())});
    // Beside a 1, a 0 stays 0 and is no maximum.
    if (a.getConstant() || b.getConstant())
      return;
    add({SymExpr::max(a, b), a * b, LLMOPT_AT_MOST,
         "broadcast of " + a.str() + " and " + b.str() + ", one empty and one 1, in " + getNodeNames(op->getLoc())});
  }

  /// A dimension that is repeated: it is 1, or as many as there will be.
  void addRepeat(const SymExpr &in, const SymExpr &out, Operation *op) {
    if (in.isUnknown() || out.isUnknown() || in == out || in.isConstant(1))
      return;
    add({(in - out) * (in - SymExpr(1)), SymExpr(0), LLMOPT_EQUAL,
         "broadcast of " + in.str() + " to " + out.str() + " in " + getNodeNames(op->getLoc())});
  }

  void addEqual(const SymExpr &a, const SymExpr &b, Operation *op) {
    if (a.isUnknown() || b.isUnknown() || a == b)
      return;
    add({a, b, LLMOPT_EQUAL, a.str() + " == " + b.str() + " in " + getNodeNames(op->getLoc())});
  }

  void addAtMost(const SymExpr &a, const SymExpr &b, Operation *op) {
    if (a.isUnknown() || b.isUnknown() || a == b)
      return;
    if (std::optional<int64_t> slack = (b - a).lowerBound(); slack && *slack >= 0)
      return;
    add({a, b, LLMOPT_AT_MOST, a.str() + " <= " + b.str() + " in " + getNodeNames(op->getLoc())});
  }

  void visit(Operation *op);
};
} // namespace

void Collector::visit(Operation *op) {
  if (isElementwise(op)) {
    for (size_t i = 0; i + 1 < op->getNumOperands(); ++i)
      for (size_t j = i + 1; j < op->getNumOperands(); ++j) {
        SmallVector<SymExpr> a = getDims(op->getOperand(i)), b = getDims(op->getOperand(j));
        for (size_t d = 1; d <= std::min(a.size(), b.size()); ++d)
          addBroadcast(a[a.size() - d], b[b.size() - d], op);
      }
    return;
  }
  if (auto product = dyn_cast<lm::MatMulOp>(op)) {
    SmallVector<SymExpr> a = getDims(product.getLhs()), b = getDims(product.getRhs());
    addEqual(a.back(), b[b.size() < 2 ? 0 : b.size() - 2], op);
    for (size_t d = 3; d <= std::min(a.size(), b.size()); ++d)
      addBroadcast(a[a.size() - d], b[b.size() - d], op);
  } else if (auto linear = dyn_cast<lm::LinearOp>(op)) {
    addEqual(getDims(linear.getInput()).back(), getDims(linear.getWeight())[linear.getTransposeWeight() ? 1 : 0], op);
  } else if (auto conv = dyn_cast<lm::ConvOp>(op)) {
    SmallVector<SymExpr> in = getDims(conv.getInput()), weight = getDims(conv.getWeight());
    const SymExpr groups(static_cast<int64_t>(conv.getGroups()));
    addEqual(in[1], weight[1] * groups, op);
    addEqual(SymExpr::mod(weight[0], groups), SymExpr(0), op);
    if (conv.getBias())
      addEqual(getDims(conv.getBias())[0], weight[0], op);
  } else if (auto gemm = dyn_cast<kernel::GemmOp>(op)) {
    if (!gemm.getRowStride())
      addEqual(getDims(gemm.getInput()).back(), SymExpr(int64_t(gemm.getK())), op);
  } else if (auto gemm = dyn_cast<kernel::GemmS8Op>(op)) {
    addEqual(getDims(gemm.getInput()).back(), SymExpr(int64_t(gemm.getK())), op);
  } else if (auto gemm = dyn_cast<kernel::GemmF8Op>(op)) {
    addEqual(getDims(gemm.getInput()).back(), SymExpr(int64_t(gemm.getK())), op);
  } else if (auto gemm = dyn_cast<kernel::GemmW4A8Op>(op)) {
    addEqual(getDims(gemm.getInput()).back(), SymExpr(int64_t(gemm.getK())), op);
  } else if (auto gemm = dyn_cast<kernel::GemmWQOp>(op)) {
    addEqual(getDims(gemm.getInput()).back(), SymExpr(int64_t(gemm.getK())), op);
  } else if (auto product = dyn_cast<kernel::BatchedMatmulOp>(op)) {
    SmallVector<SymExpr> a = getDims(product.getLhs()), b = getDims(product.getRhs());
    addEqual(a[a.size() - (product.getTransposeLhs() ? 2 : 1)], b[b.size() - (product.getTransposeRhs() ? 1 : 2)], op);
  } else if (auto attention = dyn_cast<kernel::AttentionOp>(op)) {
    SmallVector<SymExpr> q = getDims(attention.getQuery()), k = getDims(attention.getKey()),
                         v = getDims(attention.getValue());
    addEqual(q[0], k[0], op);
    addEqual(k[0], v[0], op);
    addEqual(k[1], v[1], op);
    if (!attention.getMask())
      return;
    SmallVector<SymExpr> mask = getDims(attention.getMask());
    if (mask.size() == 1)
      return addEqual(mask[0], q[0], op);
    SmallVector<SymExpr> scores{q[0], int64_t(attention.getNumHeads()), q[1], k[1]};
    for (auto [a, b] : llvm::zip(mask, scores))
      if (!a.isConstant(1))
        addEqual(a, b, op);
  } else if (auto concat = dyn_cast<lm::ConcatOp>(op)) {
    SmallVector<SymExpr> first = getDims(concat.getInputs().front());
    for (Value other : concat.getInputs().drop_front())
      for (auto [d, size] : llvm::enumerate(getDims(other)))
        if (int64_t(d) != int64_t(concat.getAxis()))
          addEqual(first[d], size, op);
  } else if (auto reshape = dyn_cast<lm::ReshapeOp>(op)) {
    addEqual(lm::getNumElements(reshape.getInput().getType()), lm::getNumElements(reshape.getType()), op);
  } else if (auto view = dyn_cast<kernel::ViewOp>(op)) {
    SymExpr end = lm::getExprs(view.getOffset())[0] + lm::getNumElements(view.getType());
    addAtMost(end, lm::getNumElements(view.getInput().getType()), op);
  } else if (auto slice = dyn_cast<lm::SliceOp>(op)) {
    SmallVector<SymExpr> in = getDims(slice.getInput()), out = getDims(slice.getType());
    SmallVector<SymExpr> starts = lm::getExprs(slice.getStarts());
    for (size_t d = 0; d < in.size(); ++d) {
      SymExpr last = starts[d] + (out[d] - SymExpr(1)) * SymExpr(slice.getSteps()[d]);
      addAtMost(slice.getSteps()[d] > 0 ? last + SymExpr(1) : starts[d] + SymExpr(1), in[d], op);
      addAtMost(SymExpr(0), slice.getSteps()[d] > 0 ? starts[d] : last, op);
    }
  } else if (auto broadcast = dyn_cast<lm::BroadcastOp>(op)) {
    SmallVector<SymExpr> in = getDims(broadcast.getInput()), out = getDims(broadcast.getType());
    for (size_t d = 1; d <= std::min(in.size(), out.size()); ++d)
      addRepeat(in[in.size() - d], out[out.size() - d], op);
  }
}

FailureOr<std::vector<ShapeConstraint>> llmopt::collectConstraints(func::FuncOp function) {
  Collector collector;
  if (auto given = function->getAttrOfType<ArrayAttr>("lm.constraints"))
    for (Attribute attr : given) {
      auto text = dyn_cast<StringAttr>(attr);
      std::optional<ShapeConstraint> constraint = text ? parseConstraint(text.getValue()) : std::nullopt;
      if (!constraint)
        return function.emitError() << "expected a constraint such as \"sequence <= 512\", but got " << attr;
      collector.add(std::move(*constraint));
    }
  function.walk([&](Operation *op) { collector.visit(op); });
  return std::move(collector.found);
}
