#include "CacheSites.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static bool isView(Operation *op) { return isa_and_present<TransposeOp, ReshapeOp>(op); }

Value llmopt::stripViews(Value value) {
  while (isView(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return value;
}

//===- Readers --------------------------------------------------------------------===//

Operation *llmopt::collectReads(func::FuncOp function, CacheSite &site) {
  Operation *end = function.getBody().front().getTerminator();
  SmallVector<Value> open{site.all};
  while (!open.empty()) {
    Value value = open.pop_back_val();
    for (OpOperand &use : value.getUses()) {
      Operation *user = use.getOwner();
      if (isView(user))
        open.push_back(user->getResult(0));
      else if (auto attention = dyn_cast<AttentionOp>(user);
               attention && attention.getQuery() != value && attention.getMask() != value)
        site.reads.insert(value);
      else if (user != end || use.getOperandNumber() != site.result)
        return user;
    }
  }
  return nullptr;
}

//===- Proofs ---------------------------------------------------------------------===//

/// Whether `expr` is one of `indices` as it stands; its number.
static std::optional<size_t> findIndex(const SymExpr &expr, ArrayRef<SymExpr> indices) {
  for (auto [i, index] : llvm::enumerate(indices))
    if (expr.getSymbol() && expr == index)
      return i;
  return std::nullopt;
}

/// The past: from the present to the same place of an argument.
static BlockArgument traceOld(KnownValues &known, const SymExpr &past, Value value, int64_t axis) {
  KnownValues::Point point = known.makePoint(getDims(value));
  point[axis] = known.makeIndex(past);
  KnownValues::Point origin = point;
  while (known.stepBack(value, point))
    ;
  auto argument = dyn_cast<BlockArgument>(value);
  return argument && isa<func::FuncOp>(argument.getOwner()->getParentOp()) && point.size() == origin.size() &&
                 llvm::equal(point, origin)
             ? argument
             : BlockArgument();
}

/// The new tokens: to the first value that has nothing else.
static bool traceNew(KnownValues &known, const SymExpr &past, Value value, int64_t axis, CacheSite &site) {
  KnownValues::Point point = known.makePoint(getDims(value)), indices = point;
  SymExpr token = site.newTokens.isConstant(1) ? SymExpr(0) : known.makeIndex(site.newTokens);
  point[axis] = past + token;
  indices[axis] = token;
  KnownValues::Point all;
  auto isPure = [&] {
    return llvm::all_of(llvm::zip(point, getDims(value)), [&](auto pair) {
      auto &[coordinate, dim] = pair;
      return dim.isConstant(1) ? coordinate.isConstant(0) : findIndex(coordinate, indices).has_value();
    });
  };
  do {
    if (value == site.all)
      all = point;
    if (isPure())
      break;
  } while (known.stepBack(value, point));
  if (all.empty() || !isPure())
    return false;
  // Which dimension of the new tokens each of `all` is.
  site.fresh = value;
  site.freshAxes.assign(all.size(), -1);
  SmallVector<bool> covered(point.size(), false);
  site.axis = site.batchAxis = -1;
  for (auto [d, coordinate] : llvm::enumerate(all)) {
    bool isToken = coordinate == past + token;
    if (isToken)
      site.axis = d;
    const SymExpr &wanted = isToken ? token : coordinate;
    if (coordinate == indices[0] && indices[0].getSymbol())
      site.batchAxis = d;
    std::optional<size_t> at = findIndex(wanted, point);
    if (at)
      covered[*at] = true, site.freshAxes[d] = *at;
    else if (!wanted.isConstant(0))
      return false;
  }
  if (site.axis < 0)
    return false;
  for (auto [d, dim] : llvm::enumerate(getDims(value)))
    if (!covered[d] && !dim.isConstant(1))
      return false;
  return true;
}

bool llmopt::proveAppend(KnownValues &known, const SymExpr &past, Value returned, CacheSite &site) {
  int64_t rank = getDims(returned).size();
  for (int64_t axis = 1; axis < rank; ++axis) {
    BlockArgument argument = traceOld(known, past, returned, axis);
    if (!argument || !traceNew(known, past, returned, axis, site))
      continue;
    site.past = argument;
    return true;
  }
  return false;
}

//===- Inputs that the session knows --------------------------------------------------===//

SmallVector<BlockArgument> llmopt::collectIntegerInputs(Value value) {
  SmallVector<BlockArgument> inputs;
  llvm::SmallPtrSet<Value, 32> seen;
  SmallVector<Value> open{value};
  while (!open.empty()) {
    Value next = open.pop_back_val();
    if (!seen.insert(next).second)
      continue;
    bool isFloat = isa<FloatType>(getElementTypeOrSelf(next));
    Operation *op = next.getDefiningOp();
    if (!op) {
      auto argument = cast<BlockArgument>(next);
      if (!isFloat && isa<func::FuncOp>(argument.getOwner()->getParentOp()))
        inputs.push_back(argument);
    } else if (!isFloat || isView(op) ||
               isa<WhereOp, ConcatOp, GatherElementsOp, ScatterNDOp, ScatterElementsOp, AddOp, CastOp, BroadcastOp,
                   SliceOp, MulOp>(op)) {
      llvm::append_range(open, op->getOperands());
    }
  }
  llvm::sort(inputs, [](BlockArgument a, BlockArgument b) { return a.getArgNumber() < b.getArgNumber(); });
  return inputs;
}

SmallVector<Guess> llmopt::guessMeanings(BlockArgument argument, const SymExpr &newTokens) {
  SmallVector<SymExpr> dims = getDims(argument);
  SmallVector<Guess> guesses;
  bool isPositions = !dims.empty() && dims.back() == newTokens && !newTokens.isConstant(1);
  if (dims.size() <= 2 && isPositions)
    guesses.push_back({{Meaning::Position, 0}, ""});
  else if (dims.size() <= 1)
    for (const SymExpr &offset : {newTokens, newTokens - 1, SymExpr(0)})
      guesses.push_back({{Meaning::Tokens, offset}, ""});
  else if (dims.size() == 2 && dims[1].getSymbol())
    guesses.push_back({{Meaning::Ones, 0}, *dims[1].getSymbol()});
  return guesses;
}

bool llmopt::findMeanings(KnownValues &known, ArrayRef<BlockArgument> inputs, const SymExpr &past,
                          const SymExpr &newTokens, llvm::DenseMap<BlockArgument, Guess> &meanings,
                          llvm::function_ref<bool()> holds) {
  SmallVector<BlockArgument> open;
  llvm::copy_if(inputs, std::back_inserter(open), [&](BlockArgument input) { return !meanings.count(input); });
  if (open.size() > 4)
    return holds();
  std::function<bool(size_t)> search = [&](size_t i) {
    if (i == open.size())
      return holds();
    if (search(i + 1)) // as any other input
      return true;
    for (const Guess &guess : guessMeanings(open[i], newTokens)) {
      known.bind(open[i], guess.meaning);
      if (!guess.symbol.empty())
        known.substitute(guess.symbol, past + newTokens);
      if (search(i + 1)) {
        meanings.try_emplace(open[i], guess);
        return true;
      }
      known.forget(open[i]);
      if (!guess.symbol.empty())
        known.forgetSymbol(guess.symbol);
    }
    return false;
  };
  return search(0);
}

//===- Rows ---------------------------------------------------------------------------===//

/// Where dimension `from[at]` is in `to`, if a reshape keeps it whole.
static std::optional<int64_t> followReshape(ArrayRef<SymExpr> from, ArrayRef<SymExpr> to, int64_t at) {
  SymExpr before = product(from.take_front(at));
  for (size_t d = 0; d < to.size(); ++d)
    if (to[d] == from[at] && product(to.take_front(d)) == before)
      return d;
  return std::nullopt;
}

Value llmopt::buildRows(OpBuilder &builder, const CacheSite &site, Value read) {
  SmallVector<Operation *> views;
  for (Value value = read; value != site.all; value = value.getDefiningOp()->getOperand(0))
    views.push_back(value.getDefiningOp());
  // The new tokens in the layout of `all`.
  Location loc = site.all.getLoc();
  SmallVector<SymExpr> dims = getDims(site.all), freshDims = getDims(site.fresh), now = dims;
  now[site.axis] = site.newTokens;
  SmallVector<int64_t> perm;
  for (int64_t axis : site.freshAxes)
    if (axis >= 0)
      perm.push_back(axis);
  for (int64_t d = 0; d < static_cast<int64_t>(freshDims.size()); ++d)
    if (!llvm::is_contained(perm, d))
      perm.push_back(d);
  Value rows = site.fresh;
  if (!llvm::is_sorted(perm))
    rows = TransposeOp::create(builder, loc, rows, perm);
  if (getDims(rows) != now)
    rows = ReshapeOp::create(builder, loc, rows, now);
  int64_t token = site.axis, batch = site.batchAxis;
  for (Operation *view : llvm::reverse(views)) {
    if (auto transpose = dyn_cast<TransposeOp>(view)) {
      rows = TransposeOp::create(builder, loc, rows, transpose.getPerm());
      auto follow = [&](int64_t axis) { return llvm::find(transpose.getPerm(), axis) - transpose.getPerm().begin(); };
      token = follow(token);
      batch = batch < 0 ? -1 : follow(batch);
    } else {
      SmallVector<SymExpr> to = getDims(view->getResult(0));
      std::optional<int64_t> at = followReshape(dims, to, token);
      std::optional<int64_t> sequence = batch < 0 ? -1 : followReshape(dims, to, batch);
      if (!at || !sequence)
        return {};
      token = *at;
      batch = *sequence;
      now = to;
      now[token] = site.newTokens;
      rows = ReshapeOp::create(builder, loc, rows, now);
    }
    dims = getDims(view->getResult(0));
  }
  return dims.size() == 3 && token == 1 && (batch == 0 || batch < 0) ? rows : Value();
}
