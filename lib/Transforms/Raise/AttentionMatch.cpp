// Scaled dot-product attention, found from its softmax: down to the product of
// queries and keys, up to the product with the values.
#include "AttentionMatch.h"

#include "llmopt/Transforms/ViewChain.h"

#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static Miss miss(const Twine &reason, const Twine &suggestion = "") { return Miss{reason.str(), suggestion.str()}; }

static Type getElementType(Value value) { return getElementTypeOrSelf(value.getType()); }

static bool isProductOfActivations(Operation *op) {
  auto matmul = dyn_cast_or_null<MatMulOp>(op);
  return matmul && !isWeightDerived(matmul.getRhs()) && !isWeightDerived(matmul.getLhs());
}

/// Whether `value` is computed elementwise from a product of activations.
static bool leadsToScores(Value value, unsigned depth = 0) {
  Operation *op = value.getDefiningOp();
  if (!op || depth > 12)
    return false;
  if (isProductOfActivations(op))
    return true;
  if (!isa<AddOp, SubOp, MulOp, DivOp, WhereOp, CastOp, ReshapeOp>(op))
    return false;
  return llvm::any_of(op->getOperands(), [&](Value operand) { return leadsToScores(operand, depth + 1); });
}

/// A reshape that only groups leading dimensions otherwise.
static bool keepsLastTwo(ReshapeOp reshape) {
  SmallVector<SymExpr> from = getDims(reshape.getInput()), to = getDims(reshape.getResult());
  return from.size() >= 2 && to.size() >= 2 && from.back() == to.back() && from[from.size() - 2] == to[to.size() - 2];
}

static Value stripBroadcasts(Value value) {
  while (auto broadcast = value.getDefiningOp<BroadcastOp>())
    value = broadcast.getInput();
  return value;
}

namespace {

class Matcher {
public:
  explicit Matcher(SoftmaxOp softmax) { match.softmax = softmax; }

  MatchOr<AttentionMatch> run() {
    for (auto step : {&Matcher::checkSoftmax, &Matcher::walkToScores, &Matcher::walkToContext, &Matcher::readOperands,
                      &Matcher::readShapes})
      if (std::optional<Miss> found = (this->*step)())
        return *found;
    if (std::optional<Miss> found = planMask(match, zeroing))
      return *found;
    return std::move(match);
  }

private:
  std::optional<Miss> checkSoftmax() {
    int64_t rank = cast<RankedTensorType>(match.softmax.getType()).getRank();
    if (match.softmax.getLog())
      return miss("it is a logarithmic softmax");
    if (static_cast<int64_t>(match.softmax.getAxis()) != rank - 1)
      return miss("the softmax is along dimension " + Twine(match.softmax.getAxis()) + ", expected the last one");
    if (rank < 2 || rank > 4)
      return miss("the scores have rank " + Twine(rank) + ", expected 2 to 4");
    return std::nullopt;
  }

  /// From the softmax down to the product of queries and keys.
  std::optional<Miss> walkToScores() {
    Value current = match.softmax.getInput();
    SmallVector<MaskTerm> downward; // nearest to the softmax first
    double scale = 1;               // everything that scores are multiplied by above `current`
    while (true) {
      Operation *op = current.getDefiningOp();
      if (!op)
        return miss("the scores are no product of queries and keys");
      if (getOnlyUser(current) == nullptr)
        return miss("the scores are used elsewhere too", "do not make them an output of the model");
      match.locations.push_back(op->getLoc());
      levels.push_back(getDims(current));
      if (isProductOfActivations(op)) {
        match.scores = cast<MatMulOp>(op);
        break;
      }
      if (isFloatCast(op)) {
        current = op->getOperand(0);
      } else if (auto reshape = dyn_cast<ReshapeOp>(op); reshape && keepsLastTwo(reshape)) {
        current = reshape.getInput();
      } else if (isa<MulOp, DivOp>(op) && getScalar(op->getOperand(1), op->getOperand(0))) {
        double factor = *getScalar(op->getOperand(1), op->getOperand(0));
        factor = isa<DivOp>(op) ? 1 / factor : factor;
        if (!std::isfinite(factor) || factor == 0)
          return miss("the scores are scaled by a number that is not finite or zero");
        scale *= factor;
        current = op->getOperand(0);
      } else if (isa<AddOp, SubOp>(op)) {
        bool left = leadsToScores(op->getOperand(0));
        if (!left && (isa<SubOp>(op) || !leadsToScores(op->getOperand(1))))
          return miss("the scores are no product of queries and keys");
        Value mask = op->getOperand(left ? 1 : 0);
        current = op->getOperand(left ? 0 : 1);
        downward.push_back(
            {MaskTerm::Add, stripBroadcasts(mask), isa<SubOp>(op) ? -scale : scale, 0, getDims(op->getResult(0))});
      } else if (auto where = dyn_cast<WhereOp>(op)) {
        std::optional<double> ifTrue = getScalar(where.getLhs()), ifFalse = getScalar(where.getRhs());
        if (ifTrue.has_value() == ifFalse.has_value())
          return miss("a where chooses between scores and something that is no constant");
        current = ifTrue ? where.getRhs() : where.getLhs();
        // What happens to the fill above the where happens to it too.
        downward.push_back({ifTrue ? MaskTerm::DropWhere : MaskTerm::KeepWhere, stripBroadcasts(where.getCondition()),
                            1, (ifTrue ? *ifTrue : *ifFalse) * scale, getDims(op->getResult(0))});
      } else {
        return miss("between the scores and the softmax stands " + op->getName().getStringRef());
      }
      if (!haveSameDims(current, op->getResult(0)) && !isa<ReshapeOp>(op))
        return miss("a mask changes the shape of the scores, or their dimensions are unknown");
    }
    match.scale = scale;
    match.terms.assign(downward.rbegin(), downward.rend());
    return std::nullopt;
  }

  /// From the softmax up to the product with the values.
  std::optional<Miss> walkToContext() {
    Value current = match.softmax.getResult();
    while (true) {
      levels.push_back(getDims(current));
      if (WhereOp where = findZeroing(current)) {
        match.locations.push_back(where.getLoc());
        current = where.getResult();
        continue;
      }
      Operation *user = getOnlyUser(current);
      if (!user)
        return miss("the attention probabilities are used elsewhere too", "do not make them an output of the model");
      match.locations.push_back(user->getLoc());
      if (auto matmul = dyn_cast<MatMulOp>(user)) {
        if (matmul.getLhs() != current || matmul.getRhs() == current)
          return miss("the probabilities are the right factor of the product with the values");
        match.context = matmul;
        return std::nullopt;
      }
      auto reshape = dyn_cast<ReshapeOp>(user);
      if (!isFloatCast(user) && !(reshape && keepsLastTwo(reshape)))
        return miss("between the softmax and the product with the values stands " + user->getName().getStringRef());
      current = user->getResult(0);
    }
  }

  /// where(is_nan(p), 0, p), or a where that repeats the mask with 0 as fill.
  WhereOp findZeroing(Value p) {
    for (Operation *user : p.getUsers()) {
      auto where = dyn_cast<WhereOp>(user);
      if (!where || !haveSameDims(where, p))
        continue;
      auto isNaN = where.getCondition().getDefiningOp<IsNaNOp>();
      if (isNaN && isNaN.getInput() == p && isNaN->hasOneUse() && where.getRhs() == p &&
          getScalar(where.getLhs()) == 0.0 &&
          llvm::all_of(p.getUsers(), [&](Operation *other) { return other == where || other == isNaN; })) {
        zeroing = Zeroing::NaNs;
        return where;
      }
      bool dropped = where.getRhs() == p && getScalar(where.getLhs()) == 0.0;
      bool kept = where.getLhs() == p && getScalar(where.getRhs()) == 0.0;
      if (!p.hasOneUse() || dropped == kept || match.terms.size() != 1)
        continue;
      const MaskTerm &term = match.terms.front();
      if (term.mask == stripBroadcasts(where.getCondition()) &&
          term.kind == (dropped ? MaskTerm::DropWhere : MaskTerm::KeepWhere)) {
        zeroing = Zeroing::Masked;
        return where;
      }
    }
    return {};
  }

  /// Takes factors out of queries and keys, and agrees on an element type.
  std::optional<Miss> readOperands() {
    match.value = match.context.getRhs();
    Type elementType = getElementType(match.value);
    auto peel = [&](Value value) {
      while (Operation *op = value.getDefiningOp()) {
        std::optional<double> factor;
        if (isa<MulOp, DivOp>(op))
          factor = getScalar(op->getOperand(1), op->getOperand(0));
        if (factor && std::isfinite(*factor) && *factor != 0)
          match.scale *= isa<DivOp>(op) ? 1 / *factor : *factor;
        else if (!(isFloatCast(op) && getElementType(value) != elementType && stripExactCasts(value) != value))
          break;
        if (factor)
          match.locations.push_back(op->getLoc());
        value = op->getOperand(0);
      }
      return value;
    };
    match.query = peel(match.scores.getLhs());
    match.key = peel(match.scores.getRhs());
    if (getElementType(match.query) != elementType || getElementType(match.key) != elementType)
      return miss("queries, keys and values differ in their element type");
    if (getElementType(match.context.getResult()) != elementType)
      return miss("the product with the values has another element type than the values");
    if (!std::isfinite(match.scale))
      return miss("the scale of the scores is not finite");
    return std::nullopt;
  }

  std::optional<Miss> readShapes() {
    SmallVector<SymExpr> q = getDims(match.query), k = getDims(match.key), v = getDims(match.value),
                         s = getDims(match.scores.getResult()), c = getDims(match.context.getResult());
    size_t rank = s.size();
    if (q.size() != rank || k.size() != rank || rank < 2 || rank > 4 || v.size() != c.size() || c.size() < 2 ||
        c.size() > 4)
      return miss("queries, keys and values differ in rank");
    auto sameLeading = [](ArrayRef<SymExpr> a, ArrayRef<SymExpr> b) {
      return a.size() == b.size() && llvm::equal(a.drop_back(2), b.drop_back(2));
    };
    if (!sameLeading(q, s) || !sameLeading(k, s) || !sameLeading(v, c))
      return miss("queries, keys or values are broadcast over batch or heads, or their dimensions are unknown");
    for (const SymExpr &dim : llvm::concat<const SymExpr>(s, c))
      if (dim.isUnknown())
        return miss("a dimension of the scores is unknown", "name it with -shape, or export with named dimensions");
    match.queryLength = s[rank - 2];
    match.keyLength = s[rank - 1];
    if (v[v.size() - 2] != match.keyLength || c[c.size() - 2] != match.queryLength)
      return miss("the values do not have the length of the keys");
    std::optional<int64_t> headSize = q.back().getConstant(), valueSize = v.back().getConstant();
    if (!headSize || !valueSize || *headSize <= 0 || *valueSize <= 0)
      return miss("the size of a head is not constant", "fix the size of the model when exporting");
    match.headSize = *headSize;
    match.valueSize = *valueSize;
    return readHeads(ArrayRef(s).drop_back(2));
  }

  /// Batch and heads: from the leading dimensions where there are two, else from
  /// any place where one of the values that form the site has two.
  std::optional<Miss> readHeads(ArrayRef<SymExpr> leading) {
    levels.push_back(getDims(match.context.getResult()));
    for (ArrayRef<SymExpr> dims : levels) {
      if (dims.size() != 4)
        continue;
      std::optional<int64_t> heads = dims[1].getConstant();
      if (!heads || *heads <= 0 || product(leading) != dims[0] * dims[1])
        return miss("the number of heads is not constant", "fix the size of the model when exporting");
      match.numHeads = *heads;
      match.batch = dims[0];
      break;
    }
    if (match.batch.isConstant(0)) {
      match.batch = product(leading);
      for (Value value : {match.query, match.key, match.value})
        if (leading.size() == 1 && readHeadsFromView(value))
          break;
    }
    for (ArrayRef<SymExpr> dims : levels)
      if (dims.size() == 4 ? dims[0] != match.batch || !dims[1].isConstant(match.numHeads)
                           : dims.size() == 3 && dims[0] != match.batch * SymExpr(match.numHeads))
        return miss("batch and heads are grouped in two different ways");
    return std::nullopt;
  }

  /// [B*N, S, D]: N is what the leading dimension has as its innermost factor.
  bool readHeadsFromView(Value value) {
    ViewChain chain = ViewChain::compose(value);
    ArrayRef<unsigned> leading = chain.getResultDims().empty() ? ArrayRef<unsigned>() : chain.getResultDims()[0];
    if (leading.size() < 2)
      return false;
    std::optional<int64_t> heads = chain.getAtomSize(leading.back()).getConstant();
    if (!heads)
      return false;
    match.numHeads = *heads;
    match.batch = 1;
    for (unsigned atom : leading.drop_back())
      match.batch *= chain.getAtomSize(atom);
    return true;
  }

  AttentionMatch match;
  Zeroing zeroing = Zeroing::None;
  /// The dimensions of every value that holds scores or probabilities.
  SmallVector<SmallVector<SymExpr>> levels;
};

} // namespace

Candidate<AttentionMatch> llmopt::matchAttention(SoftmaxOp softmax) {
  bool fromScores = leadsToScores(softmax.getInput());
  bool toContext = llvm::any_of(softmax->getUsers(), [](Operation *user) { return isa<MatMulOp>(user); });
  if (!fromScores && !toContext)
    return std::nullopt;
  return Matcher(softmax).run();
}
