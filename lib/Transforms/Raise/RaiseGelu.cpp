// GELU, by the polynomials around an erf, tanh or sigmoid.
#include "Polynomial.h"
#include "RaiseMatchers.h"

#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_RAISEGELUPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// One form: activation(argument(x)) inside result(x, activation).
struct Form {
  GeluKind kind;
  Polynomial argument, result;
  const char *argumentText, *resultText;
};

const Form &getForm(Operation *op) {
  static const Form erf = {
      GeluKind::Erf, {{{1, 0}, 0.70710678118654752}}, {{{1, 0}, 0.5}, {{1, 1}, 0.5}}, "x / sqrt(2)", "x/2 (1 + erf)"};
  static const Form tanh = {GeluKind::Tanh,
                            {{{1, 0}, 0.79788456080286536}, {{3, 0}, 0.79788456080286536 * 0.044715}},
                            {{{1, 0}, 0.5}, {{1, 1}, 0.5}},
                            "sqrt(2/pi) (x + 0.044715 x^3)",
                            "x/2 (1 + tanh)"};
  static const Form quick = {GeluKind::Quick, {{{1, 0}, 1.702}}, {{{1, 1}, 1.0}}, "1.702 x", "x sigmoid"};
  return isa<ErfOp>(op) ? erf : isa<TanhOp>(op) ? tanh : quick;
}

/// A tanh or sigmoid is a gate or a pooler as often as a GELU: those that are not
/// the start of one are no missed sites.
bool isCandidate(Operation *op, const Form &form) {
  if (isa<ErfOp>(op))
    return true;
  for (Value x : getArithmeticSources(op->getOperand(0)))
    if (std::optional<Polynomial> polynomial = PolynomialReader(x).read(op->getOperand(0)))
      if (form.kind == GeluKind::Quick ? isNear(*polynomial, form.argument, op->getResult(0).getType())
                                       : polynomial->count({3, 0}))
        return true;
  return false;
}

} // namespace

Candidate<GeluMatch> llmopt::matchGelu(Operation *op) {
  if (!isa<ErfOp, TanhOp, SigmoidOp>(op))
    return std::nullopt;
  const Form &form = getForm(op);
  if (!isCandidate(op, form))
    return std::nullopt;
  StringRef name = op->getName().stripDialect();
  Value argument = op->getOperand(0);
  Type type = argument.getType();
  bool argumentFits = false, usedElsewhere = false;
  for (Value x : getArithmeticSources(argument)) {
    std::optional<Polynomial> polynomial = PolynomialReader(x).read(argument);
    if (!polynomial || !isNear(*polynomial, form.argument, type))
      continue;
    argumentFits = true;
    PolynomialReader reader(x, op->getResult(0));
    Value current = op->getResult(0);
    for (int step = 0; step < 8; ++step) {
      Operation *user = getOnlyUser(current);
      if (!user || user->getNumResults() != 1) {
        usedElsewhere |= !current.use_empty() && !user;
        break;
      }
      current = user->getResult(0);
      std::optional<Polynomial> result = reader.read(current);
      if (!result)
        break;
      if (isNear(*result, form.result, type) && haveSameDims(current, x))
        return MatchOr<GeluMatch>(GeluMatch{form.kind, x, user});
    }
  }
  if (!argumentFits)
    return MatchOr<GeluMatch>(Miss{llvm::formatv("the argument of {0} is not {1}", name, form.argumentText), ""});
  if (usedElsewhere)
    return MatchOr<GeluMatch>(Miss{llvm::formatv("a value between {0} and the result is used elsewhere", name),
                                   "do not make it an output of the model"});
  return MatchOr<GeluMatch>(Miss{llvm::formatv("what follows {0} does not form {1}", name, form.resultText), ""});
}

/// Scalar factors that cleanup moved behind a view (the 0.5 of x/2 (1 + erf) where
/// a transpose follows) return to where the expression around `anchor` needs them.
static void pullFactorsBeforeViews(IRRewriter &rewriter, Operation *anchor) {
  Value current = anchor->getResult(0);
  for (int step = 0; step < 8; ++step) {
    Operation *user = getOnlyUser(current);
    if (!user || user->getNumResults() != 1)
      return;
    if (!isa<ReshapeOp, TransposeOp>(user)) {
      current = user->getResult(0);
      continue;
    }
    Operation *next = getOnlyUser(user->getResult(0));
    if (!isa_and_nonnull<MulOp, DivOp>(next) || next->getOperand(0) != user->getResult(0))
      return;
    std::optional<double> factor = getScalar(next->getOperand(1), next->getOperand(0));
    if (!factor)
      return;
    rewriter.setInsertionPoint(user);
    Value scalar = createScalar(rewriter, next->getLoc(), getElementTypeOrSelf(current.getType()), *factor);
    Operation *moved = rewriter.clone(*next);
    moved->setOperands({current, scalar});
    moved->getResult(0).setType(current.getType());
    rewriter.modifyOpInPlace(user, [&] { user->setOperand(0, moved->getResult(0)); });
    rewriter.replaceOp(next, user->getResult(0));
    current = moved->getResult(0);
  }
}

namespace {
struct RaiseGeluPass : llmopt::impl::RaiseGeluPassBase<RaiseGeluPass> {
  void runOnOperation() override {
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    SmallVector<Operation *> anchors;
    getOperation()->walk([&](Operation *op) {
      if (isa<ErfOp, TanhOp, SigmoidOp>(op))
        anchors.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    for (Operation *anchor : anchors) {
      pullFactorsBeforeViews(rewriter, anchor);
      Candidate<GeluMatch> candidate = matchGelu(anchor);
      if (!candidate || !*candidate)
        continue;
      GeluMatch &match = **candidate;
      Operation *root = match.root;
      Value source = stripExactCasts(match.input);
      // f16, computed in f32, back to f16: that is a GELU of f16.
      if (Operation *user = getOnlyUser(root->getResult(0));
          user && isFloatCast(user) &&
          getElementTypeOrSelf(user->getResult(0).getType()) == getElementTypeOrSelf(source.getType()))
        root = user;
      rewriter.setInsertionPoint(root);
      Location loc = rewriter.getFusedLoc({anchor->getLoc(), root->getLoc()});
      // Casts in between are read through: compute in the wider of the two types.
      Type elementType = getElementTypeOrSelf(root->getResult(0).getType());
      Value input = castIfWider(rewriter, loc, source, elementType);
      auto kind = GeluKindAttr::get(&getContext(), match.kind);
      Value result = GeluOp::create(rewriter, loc, input.getType(), kind, input);
      rewriter.replaceOp(root, castTo(rewriter, loc, result, elementType));
    }
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    emitFusionRemarks(getOperation(), FusionKind::Gelu, "lm-raise-gelu");
  }
};
} // namespace
