// Layer and RMS normalisation, anchored at the mean of squares.
//
//   layer: d = x - mean(x);  rms: d = x
//   mean(d d) -> + epsilon -> sqrt -> d / that (or d times its reciprocal),
//   then a scale and a bias. Casts between float types may stand anywhere.
#include "RaiseMatchers.h"

#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

namespace llmopt {
#define GEN_PASS_DEF_RAISENORMPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

/// x, where `value` is x squared.
static Value matchSquare(Value value) {
  Operation *op = stripExactCasts(value).getDefiningOp();
  if (auto mul = dyn_cast_or_null<MulOp>(op); mul && mul.getLhs() == mul.getRhs())
    return mul.getLhs();
  if (auto pow = dyn_cast_or_null<PowOp>(op); pow && getScalar(pow.getRhs(), pow.getLhs()) == 2)
    return pow.getLhs();
  return {};
}

/// Whether a reduction is over exactly the last dimension.
static bool isOverLast(ReduceOp reduce) {
  return reduce.getAxes().size() == 1 &&
         reduce.getAxes()[0] == cast<RankedTensorType>(reduce.getInput().getType()).getRank() - 1;
}

/// A sum over the last dimension of constant size n, divided by n, is a mean too.
/// Returns the value that is the mean, or null.
static Value getMeanValue(ReduceOp reduce) {
  Value value = reduce.getResult();
  if (!reduce.getKeepdims()) {
    auto reshape = dyn_cast_or_null<ReshapeOp>(getOnlyUser(value));
    SmallVector<SymExpr> dims = getDims(reduce.getInput());
    dims.back() = 1;
    if (!reshape || !llvm::equal(getDims(reshape.getResult()), dims))
      return {};
    value = reshape.getResult();
  }
  if (reduce.getKind() == ReduceKind::Mean)
    return value;
  std::optional<int64_t> size = getDims(reduce.getInput()).back().getConstant();
  Operation *user = getOnlyUser(value);
  if (reduce.getKind() != ReduceKind::Sum || !size || !user || !isa<DivOp, MulOp>(user) || user->getOperand(0) != value)
    return {};
  std::optional<double> scalar = getScalar(user->getOperand(1), value);
  bool isMean = scalar && (isa<DivOp>(user) ? *scalar == *size : std::fabs(*scalar * *size - 1) < 1e-7);
  return isMean ? user->getResult(0) : Value();
}

/// x, where `value` is x - mean(x) over the last dimension.
static Value matchCentred(Value value) {
  auto sub = stripExactCasts(value).getDefiningOp<SubOp>();
  if (!sub)
    return {};
  // From the mean back to its reduction: past a division or a reshape.
  Value mean = stripExactCasts(sub.getRhs());
  Operation *op = mean.getDefiningOp();
  for (int step = 0; op && isa<ReshapeOp, DivOp, MulOp>(op) && step < 2; ++step)
    op = op->getOperand(0).getDefiningOp();
  auto reduce = dyn_cast_or_null<ReduceOp>(op);
  if (!reduce || !isOverLast(reduce) || getMeanValue(reduce) != mean ||
      stripExactCasts(reduce.getInput()) != stripExactCasts(sub.getLhs()))
    return {};
  return sub.getLhs();
}

static Miss miss(const Twine &reason, const Twine &suggestion = "") { return Miss{reason.str(), suggestion.str()}; }

/// The one reader of a value, past casts between float types.
static Operation *getReader(Value &value, SmallVectorImpl<Location> &locations) {
  while (Operation *user = getOnlyUser(value)) {
    locations.push_back(user->getLoc());
    if (!isFloatCast(user))
      return user;
    value = user->getResult(0);
  }
  return nullptr;
}

Candidate<NormMatch> llmopt::matchNorm(ReduceOp reduce) {
  if (reduce.getKind() != ReduceKind::Mean && reduce.getKind() != ReduceKind::Sum)
    return std::nullopt;
  Value squared = matchSquare(reduce.getInput());
  if (!squared)
    return std::nullopt;
  if (reduce.getKind() == ReduceKind::Sum && !getMeanValue(reduce))
    return std::nullopt; // a norm in the sense of a length
  using Result = MatchOr<NormMatch>;
  if (!isOverLast(reduce))
    return Result(miss("it normalises over other dimensions than the last one alone"));
  Value current = getMeanValue(reduce);
  if (!current)
    return Result(miss("the mean drops its dimension"));

  NormMatch match;
  match.locations.push_back(reduce.getLoc());
  Operation *op = getReader(current, match.locations);
  match.epsilon = 0;
  if (auto add = dyn_cast_or_null<AddOp>(op)) {
    Value other = add.getLhs() == current ? add.getRhs() : add.getLhs();
    std::optional<double> epsilon = getScalar(other, current);
    if (!epsilon)
      return Result(miss("what is added to the mean of squares is not a constant"));
    if (!(*epsilon >= 0) || !std::isfinite(*epsilon))
      return Result(miss("epsilon is " + std::to_string(*epsilon) + ", expected a number >= 0"));
    match.epsilon = *epsilon;
    current = add.getResult();
    op = getReader(current, match.locations);
  }
  // 1/sqrt as a factor, or sqrt as a divisor.
  bool inverted = false;
  if (auto pow = dyn_cast_or_null<PowOp>(op); pow && pow.getLhs() == current) {
    std::optional<double> exponent = getScalar(pow.getRhs(), current);
    if (exponent != 0.5 && exponent != -0.5)
      return Result(miss("the mean of squares is raised to another power than 1/2 or -1/2"));
    inverted = exponent == -0.5;
  } else if (!isa_and_nonnull<SqrtOp>(op)) {
    return Result(miss("no single square root follows the mean of squares",
                       "do not make intermediate values outputs of the model"));
  }
  current = op->getResult(0);
  op = getReader(current, match.locations);
  if (!inverted && isa_and_nonnull<ReciprocalOp>(op)) {
    inverted = true;
  } else if (auto div = dyn_cast_or_null<DivOp>(op);
             !inverted && div && div.getRhs() == current && getScalar(div.getLhs(), current) == 1) {
    inverted = true;
  } else {
    op = nullptr;
  }
  if (op) {
    current = op->getResult(0);
    op = getReader(current, match.locations);
  } else {
    op = getOnlyUser(current);
  }
  Value normalised;
  if (inverted && isa_and_nonnull<MulOp>(op))
    normalised = op->getOperand(0) == current ? op->getOperand(1) : op->getOperand(0);
  else if (!inverted && isa_and_nonnull<DivOp>(op) && op->getOperand(1) == current)
    normalised = op->getOperand(0);
  if (!normalised)
    return Result(miss("the root of the mean of squares does not divide one value",
                       "do not make intermediate values outputs of the model"));
  if (!haveSameDims(normalised, op->getResult(0)))
    return Result(miss("the normalised value has another shape than its input, or unknown dimensions"));

  Value squaredCentre = matchCentred(squared), centre = matchCentred(normalised);
  if (squaredCentre && centre && stripExactCasts(squaredCentre) == stripExactCasts(centre)) {
    match.kind = NormKind::Layer;
    match.input = stripExactCasts(centre);
  } else if (stripExactCasts(squared) == stripExactCasts(normalised)) {
    match.kind = NormKind::RMS;
    match.input = stripExactCasts(normalised);
  } else {
    return Result(miss("the value that is squared is not the one that is divided"));
  }
  match.root = op;
  return Result(match);
}

namespace {

/// Scale, bias and the cast before them, where they belong to the norm.
class NormBuilder {
public:
  NormBuilder(IRRewriter &rewriter, NormMatch &match) : rewriter(rewriter), match(match), root(match.root) {}

  void build() {
    Type inputType = getElementTypeOrSelf(match.input.getType());
    width = getDims(match.input).back();
    // x in f16, everything between in f32, back to f16: that is a norm of f16.
    Type elementType = getElementTypeOrSelf(root->getResult(0).getType());
    if (Operation *user = getOnlyUser(root->getResult(0));
        user && isFloatCast(user) && getElementTypeOrSelf(user->getResult(0).getType()) == inputType)
      advance(user, inputType, elementType);
    Location first = root->getLoc();
    scale = absorb<MulOp>(elementType);
    if (match.kind == NormKind::Layer)
      bias = absorb<AddOp>(elementType);
    match.locations.push_back(first);
    rewriter.setInsertionPoint(root);
    Location loc = rewriter.getFusedLoc(match.locations);
    Value input = castIfWider(rewriter, loc, match.input, elementType);
    bool sameType = getElementTypeOrSelf(input.getType()) == elementType;
    auto vector = [&](Value value) {
      value = value ? getVector(rewriter, value, width) : value;
      return value && !sameType ? castTo(rewriter, loc, value, inputType) : value;
    };
    Value scaleVector = vector(scale), biasVector = vector(bias);
    Value result = NormOp::create(rewriter, loc, input.getType(), NormKindAttr::get(rewriter.getContext(), match.kind),
                                  input, scaleVector, biasVector, rewriter.getF64FloatAttr(match.epsilon));
    rewriter.replaceOp(root, castTo(rewriter, loc, result, elementType));
  }

private:
  void advance(Operation *user, Type inputType, Type &elementType) {
    root = user;
    elementType = inputType;
  }

  /// The vector that the only reader of the root multiplies or adds, or null.
  template <typename BinaryOp> Value absorb(Type elementType) {
    auto user = dyn_cast_or_null<BinaryOp>(getOnlyUser(root->getResult(0)));
    if (!user || user.getLhs() == user.getRhs() || !haveSameDims(user, root->getResult(0)))
      return {};
    Value vector = user.getLhs() == root->getResult(0) ? user.getRhs() : user.getLhs();
    if (!isVector(vector, width) || getElementTypeOrSelf(vector.getType()) != elementType)
      return {};
    match.locations.push_back(user.getLoc());
    root = user;
    return vector;
  }

  IRRewriter &rewriter;
  NormMatch &match;
  Operation *root;
  SymExpr width;
  Value scale, bias;
};

struct RaiseNormPass : llmopt::impl::RaiseNormPassBase<RaiseNormPass> {
  void runOnOperation() override {
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    SmallVector<ReduceOp> reduces;
    getOperation()->walk([&](ReduceOp reduce) { reduces.push_back(reduce); });
    IRRewriter rewriter(&getContext());
    for (ReduceOp reduce : reduces) {
      Candidate<NormMatch> candidate = matchNorm(reduce);
      if (candidate && *candidate)
        NormBuilder(rewriter, **candidate).build();
    }
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    emitFusionRemarks(getOperation(), FusionKind::Norm, "lm-raise-norm");
  }
};
} // namespace
