// Folds of elementwise operations: constants, symbolic sizes, identities.
//
// Float identities hold for every value, NaN and -0 included: x - 0 is x, but
// x + 0 is not (-0 + 0 is 0), so only -0 is dropped from sums.
#include "FoldSupport.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

namespace {

bool isFloat(Value value) { return isa<FloatType>(getElementTypeOrSelf(value)); }
/// `value`, where it has the type that the operation promises.
OpFoldResult ifTyped(Value value, Type type) { return value.getType() == type ? OpFoldResult(value) : OpFoldResult(); }

OpFoldResult splatZero(Type type) {
  auto ranked = cast<RankedTensorType>(type);
  if (!ranked.hasStaticShape())
    return {};
  return DenseElementsAttr::get(ranked, APInt::getZero(ranked.getElementTypeBitWidth()));
}

bool isNotNegative(const SymExpr &expr) { return expr.lowerBound().value_or(-1) >= 0; }
bool isPositive(const SymExpr &expr) { return expr.lowerBound().value_or(0) > 0; }
/// A size may turn out to be 0; what is divided by it has no value then, in ONNX neither.
bool isDivisor(const SymExpr &expr) { return isNotNegative(expr) && !expr.isConstant(0); }

std::optional<bool> decide(Predicate predicate, const SymExpr &a, const SymExpr &b) {
  std::optional<int64_t> low = (a - b).lowerBound(), negatedHigh = (b - a).lowerBound();
  bool equal = a == b, greater = low && *low > 0, less = negatedHigh && *negatedHigh > 0;
  bool atLeast = low && *low >= 0, atMost = negatedHigh && *negatedHigh >= 0;
  auto answer = [](bool yes, bool no) { return yes ? std::optional(true) : no ? std::optional(false) : std::nullopt; };
  switch (predicate) {
  case Predicate::EQ:
    return answer(equal, greater || less);
  case Predicate::LT:
    return answer(less, atLeast);
  case Predicate::LE:
    return answer(atMost, greater);
  case Predicate::GT:
    return answer(greater, atMost);
  case Predicate::GE:
    return answer(atLeast, less);
  }
  return std::nullopt;
}

/// More conditions than this are no shape computation.
constexpr size_t kMaxConditions = 16;
constexpr unsigned kMaxConditionDepth = 8;

/// A truth value as a size, 0 or 1.
SymExpr truth(Predicate predicate, const SymExpr &a, const SymExpr &b) {
  const SymExpr one(1), difference = a - b;
  auto less = [&](const SymExpr &x, const SymExpr &y) { return SymExpr::min(SymExpr::max(y - x, 0), one); };
  switch (predicate) {
  case Predicate::EQ:
    return one - SymExpr::min(SymExpr::max(difference, SymExpr(0) - difference), one);
  case Predicate::LT:
    return less(a, b);
  case Predicate::LE:
    return one - less(b, a);
  case Predicate::GT:
    return less(b, a);
  case Predicate::GE:
    return one - less(a, b);
  }
  return SymExpr::unknown();
}

/// The truth values of a few booleans that follow from sizes, which no attribute
/// can hold: "are there as many heads as keys' heads".
std::optional<SmallVector<SymExpr>> getTruth(Value value, unsigned depth = 0) {
  if (std::optional<SmallVector<SymExpr>> known = getSymbolicValue(value))
    return known;
  Operation *op = value.getDefiningOp();
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!op || depth > kMaxConditionDepth || !type || !type.hasStaticShape() ||
      type.getNumElements() > static_cast<int64_t>(kMaxConditions) ||
      !isa<CompareOp, NotOp, AndOp, OrOp, XorOp, ReshapeOp>(op))
    return std::nullopt;
  SmallVector<SmallVector<SymExpr>, 2> parts;
  size_t count = type.getNumElements();
  for (Value operand : op->getOperands()) {
    auto element = getElementTypeOrSelf(operand);
    if (isa<CompareOp>(op) && !element.isInteger(64) && !element.isInteger(32))
      return std::nullopt;
    std::optional<SmallVector<SymExpr>> part =
        isa<CompareOp>(op) ? getSymbolicValue(operand) : getTruth(operand, depth + 1);
    if (!part || (part->size() != count && part->size() != 1))
      return std::nullopt;
    part->resize(count, SymExpr(part->front()));
    parts.push_back(std::move(*part));
  }
  const SymExpr one(1);
  SmallVector<SymExpr> result;
  for (size_t i = 0; i < count; ++i) {
    const SymExpr &a = parts[0][i], &b = parts.back()[i];
    result.push_back(isa<NotOp>(op)       ? one - a
                     : isa<AndOp>(op)     ? a * b
                     : isa<OrOp>(op)      ? a + b - a * b
                     : isa<XorOp>(op)     ? a + b - SymExpr(2) * a * b
                     : isa<CompareOp>(op) ? truth(cast<CompareOp>(op).getPredicate(), a, b)
                                          : a);
    if (result.back().isUnknown())
      return std::nullopt;
  }
  return result;
}

/// One of two sizes by a condition over sizes: rhs + condition (lhs - rhs).
Attribute foldSizeChoice(WhereOp op, ArrayRef<Attribute> operands) {
  auto type = dyn_cast<RankedTensorType>(op.getType());
  if (!type || !type.hasStaticShape() || (!type.getElementType().isInteger(64) && !type.getElementType().isInteger(32)))
    return {};
  size_t count = type.getNumElements();
  std::optional<SmallVector<SymExpr>> lhs = getSymbolicValue(operands[1]), rhs = getSymbolicValue(operands[2]);
  if (!count || count > kMaxConditions || !lhs || !rhs)
    return {};
  std::optional<SmallVector<SymExpr>> condition = getTruth(op.getCondition());
  if (!condition)
    return {};
  SmallVector<SymExpr> result;
  for (auto *part : {&*condition, &*lhs, &*rhs}) {
    if (part->size() != count && part->size() != 1)
      return {};
    part->resize(count, SymExpr(part->front()));
  }
  for (auto [c, x, y] : llvm::zip(*condition, *lhs, *rhs)) {
    result.push_back(y + c * (x - y));
    if (result.back().isUnknown())
      return {};
  }
  return getSymbolicAttr(type, result);
}

/// Whether every value of `from` is one of `to`.
bool isLossless(Type from, Type to) {
  auto width = [](Type type) { return type.getIntOrFloatBitWidth(); };
  auto floatFrom = dyn_cast<FloatType>(from), floatTo = dyn_cast<FloatType>(to);
  if (floatFrom && floatTo)
    return (floatFrom.isF16() || floatFrom.isBF16() || floatFrom.isF32()) && (floatTo.isF32() || floatTo.isF64()) &&
           width(from) <= width(to);
  if (floatFrom || to.isInteger(1))
    return from == to;
  if (floatTo)
    return (to.isF32() && width(from) <= 24) || (to.isF64() && width(from) <= 53);
  bool unsignedFrom = from.isInteger(1) || from.isUnsignedInteger();
  if (to.isUnsignedInteger())
    return unsignedFrom && width(from) <= width(to);
  return unsignedFrom ? width(from) < width(to) : width(from) <= width(to);
}

} // namespace

//===- One operand ---------------------------------------------------------===//

#define LM_FOLD_CONSTANT(OP)                                                                                           \
  OpFoldResult OP::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
LM_FOLD_CONSTANT(ExpOp)
LM_FOLD_CONSTANT(LogOp)
LM_FOLD_CONSTANT(SqrtOp)
LM_FOLD_CONSTANT(ReciprocalOp)
LM_FOLD_CONSTANT(SinOp)
LM_FOLD_CONSTANT(CosOp)
LM_FOLD_CONSTANT(ErfOp)
LM_FOLD_CONSTANT(TanhOp)
LM_FOLD_CONSTANT(SigmoidOp)
LM_FOLD_CONSTANT(SoftplusOp)
LM_FOLD_CONSTANT(FloorOp)
LM_FOLD_CONSTANT(CeilOp)
LM_FOLD_CONSTANT(RoundOp)
LM_FOLD_CONSTANT(LeakyReluOp)
LM_FOLD_CONSTANT(EluOp)
LM_FOLD_CONSTANT(IsNaNOp)
LM_FOLD_CONSTANT(IsInfOp)
#undef LM_FOLD_CONSTANT

OpFoldResult NegOp::fold(FoldAdaptor adaptor) {
  if (auto inner = getInput().getDefiningOp<NegOp>())
    return inner.getInput();
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return SymExpr(0) - x[0]; });
}

OpFoldResult NotOp::fold(FoldAdaptor adaptor) {
  if (auto inner = getInput().getDefiningOp<NotOp>())
    return inner.getInput();
  return foldConstant(*this, adaptor.getOperands());
}

OpFoldResult AbsOp::fold(FoldAdaptor adaptor) {
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(),
                      [](ArrayRef<SymExpr> x) { return isNotNegative(x[0]) ? std::optional(x[0]) : std::nullopt; });
}

OpFoldResult ReluOp::fold(FoldAdaptor adaptor) {
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return SymExpr::max(x[0], 0); });
}

OpFoldResult SignOp::fold(FoldAdaptor adaptor) {
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(),
                      [](ArrayRef<SymExpr> x) { return isPositive(x[0]) ? std::optional(SymExpr(1)) : std::nullopt; });
}

OpFoldResult CastOp::fold(FoldAdaptor adaptor) {
  if (getInput().getType() == getType())
    return getInput();
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  // Sizes fit 32 bits wherever a model narrows them, as its own runtime assumes.
  if (!getElementTypeOrSelf(getType()).isInteger(1))
    if (Attribute value = foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return x[0]; }))
      return value;
  auto inner = getInput().getDefiningOp<CastOp>();
  if (!inner || !isLossless(getElementTypeOrSelf(inner.getInput()), getElementTypeOrSelf(inner.getType())))
    return {};
  getInputMutable().assign(inner.getInput());
  return getResult();
}

//===- Two operands --------------------------------------------------------===//

OpFoldResult AddOp::fold(FoldAdaptor adaptor) {
  double zero = isFloat(getLhs()) ? -0.0 : 0.0;
  if (isSplatOf(adaptor.getRhs(), zero) && getLhs().getType() == getType())
    return getLhs();
  if (isSplatOf(adaptor.getLhs(), zero) && getRhs().getType() == getType())
    return getRhs();
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return x[0] + x[1]; });
}

OpFoldResult SubOp::fold(FoldAdaptor adaptor) {
  if (isSplatOf(adaptor.getRhs(), 0.0) && getLhs().getType() == getType())
    return getLhs();
  if (getLhs() == getRhs() && !isFloat(getLhs()))
    if (OpFoldResult zero = splatZero(getType()))
      return zero;
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return x[0] - x[1]; });
}

OpFoldResult MulOp::fold(FoldAdaptor adaptor) {
  if (isSplatOf(adaptor.getRhs(), 1.0) && getLhs().getType() == getType())
    return getLhs();
  if (isSplatOf(adaptor.getLhs(), 1.0) && getRhs().getType() == getType())
    return getRhs();
  if (!isFloat(getLhs()) && (isSplatOf(adaptor.getRhs(), 0.0) || isSplatOf(adaptor.getLhs(), 0.0)))
    if (OpFoldResult zero = splatZero(getType()))
      return zero;
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return x[0] * x[1]; });
}

OpFoldResult DivOp::fold(FoldAdaptor adaptor) {
  if (isSplatOf(adaptor.getRhs(), 1.0) && getLhs().getType() == getType())
    return getLhs();
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) -> std::optional<SymExpr> {
    if (std::optional<SymExpr> exact = SymExpr::divideExactly(x[0], x[1]))
      return exact;
    // Truncation is the floor only where nothing is negative.
    return isNotNegative(x[0]) && isDivisor(x[1]) ? std::optional(SymExpr::floorDiv(x[0], x[1])) : std::nullopt;
  });
}

OpFoldResult ModOp::fold(FoldAdaptor adaptor) {
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  bool fmod = getFmod();
  return foldSymbolic(*this, adaptor.getOperands(), [&](ArrayRef<SymExpr> x) -> std::optional<SymExpr> {
    if (!isDivisor(x[1]) || (fmod && !isNotNegative(x[0])))
      return std::nullopt;
    return SymExpr::mod(x[0], x[1]);
  });
}

OpFoldResult PowOp::fold(FoldAdaptor adaptor) {
  if (isSplatOf(adaptor.getRhs(), 1.0) && getLhs().getType() == getType())
    return getLhs();
  return foldConstant(*this, adaptor.getOperands());
}

OpFoldResult MinOp::fold(FoldAdaptor adaptor) {
  if (getLhs() == getRhs())
    return ifTyped(getLhs(), getType());
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return SymExpr::min(x[0], x[1]); });
}

OpFoldResult MaxOp::fold(FoldAdaptor adaptor) {
  if (getLhs() == getRhs())
    return ifTyped(getLhs(), getType());
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  return foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) { return SymExpr::max(x[0], x[1]); });
}

/// `neutral` leaves the other operand, `absorbing` is the result itself.
static OpFoldResult foldLogical(Operation *op, ArrayRef<Attribute> operands, bool neutral,
                                std::optional<bool> absorbing) {
  Type type = op->getResult(0).getType();
  for (unsigned i : {0u, 1u}) {
    if (isSplatOf(operands[i], neutral) && op->getOperand(1 - i).getType() == type)
      return op->getOperand(1 - i);
    if (absorbing && isSplatOf(operands[i], *absorbing) && cast<RankedTensorType>(type).hasStaticShape())
      return DenseElementsAttr::get(cast<RankedTensorType>(type), *absorbing);
  }
  if (absorbing && op->getOperand(0) == op->getOperand(1))
    return ifTyped(op->getOperand(0), type);
  return foldConstant(op, operands);
}

OpFoldResult AndOp::fold(FoldAdaptor adaptor) { return foldLogical(*this, adaptor.getOperands(), true, false); }
OpFoldResult OrOp::fold(FoldAdaptor adaptor) { return foldLogical(*this, adaptor.getOperands(), false, true); }
OpFoldResult XorOp::fold(FoldAdaptor adaptor) { return foldLogical(*this, adaptor.getOperands(), false, std::nullopt); }

OpFoldResult CompareOp::fold(FoldAdaptor adaptor) {
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  Predicate predicate = getPredicate();
  return foldSymbolic(*this, adaptor.getOperands(), [&](ArrayRef<SymExpr> x) -> std::optional<SymExpr> {
    std::optional<bool> answer = decide(predicate, x[0], x[1]);
    return answer ? std::optional(SymExpr(*answer)) : std::nullopt;
  });
}

//===- Three operands ------------------------------------------------------===//

OpFoldResult ClipOp::fold(FoldAdaptor adaptor) {
  if (!getMin() && !getMax())
    return ifTyped(getInput(), getType());
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  bool hasMin = static_cast<bool>(getMin()), hasMax = static_cast<bool>(getMax());
  return foldSymbolic(*this, adaptor.getOperands(), [&](ArrayRef<SymExpr> x) {
    SymExpr value = hasMin ? SymExpr::max(x[0], x[1]) : x[0];
    return hasMax ? SymExpr::min(value, x.back()) : value;
  });
}

OpFoldResult WhereOp::fold(FoldAdaptor adaptor) {
  if (isSplatOf(adaptor.getCondition(), 1) && getLhs().getType() == getType())
    return getLhs();
  if (isSplatOf(adaptor.getCondition(), 0) && getRhs().getType() == getType())
    return getRhs();
  if (getLhs() == getRhs() && getLhs().getType() == getType())
    return getLhs();
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  if (Attribute value = foldSymbolic(*this, adaptor.getOperands(), [](ArrayRef<SymExpr> x) -> std::optional<SymExpr> {
        std::optional<int64_t> condition = x[0].getConstant();
        return condition ? std::optional(*condition ? x[1] : x[2]) : std::nullopt;
      }))
    return value;
  return foldSizeChoice(*this, adaptor.getOperands());
}

namespace {
/// A constant condition picks one side, broadcast to the result.
struct WhereToBroadcast : OpRewritePattern<WhereOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(WhereOp op, PatternRewriter &rewriter) const override {
    Attribute condition;
    if (!matchPattern(op.getCondition(), m_Constant(&condition)))
      return failure();
    bool allTrue = isSplatOf(condition, 1), allFalse = isSplatOf(condition, 0);
    if (!allTrue && !allFalse)
      return failure();
    rewriter.replaceOpWithNewOp<BroadcastOp>(op, op.getType(), allTrue ? op.getLhs() : op.getRhs());
    return success();
  }
};
} // namespace

void WhereOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<WhereToBroadcast>(context);
}
