#include "KnownValues.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

using Point = KnownValues::Point;

/// A score below this leaves nothing of a key, whatever is added to it.
static constexpr double kAbsorbing = -1e30;

//===- Expressions ----------------------------------------------------------------===//

SymExpr KnownValues::apply(const SymExpr &expr) const {
  return expr.substitute([&](StringRef name) -> std::optional<SymExpr> {
    auto it = symbols.find(name.str());
    return it == symbols.end() ? std::nullopt : std::optional(it->second);
  });
}

SymExpr KnownValues::makeIndex(const SymExpr &size) {
  std::string name = "count_index_" + std::to_string(made++);
  sizes[name] = apply(size) - 1;
  return SymExpr::symbol(name);
}

Point KnownValues::makePoint(ArrayRef<SymExpr> dims) {
  return llvm::map_to_vector(dims, [&](const SymExpr &dim) { return dim.isConstant(1) ? SymExpr(0) : makeIndex(dim); });
}

bool KnownValues::isAtMost(const SymExpr &a, const SymExpr &b) const {
  SymExpr difference = a - b;
  if (difference.isUnknown())
    return false;
  SymExpr highest = difference.upperBound([&](StringRef name) -> std::optional<SymExpr> {
    auto it = sizes.find(name.str());
    return it == sizes.end() ? std::nullopt : std::optional(it->second);
  });
  std::optional<int64_t> gap = highest.isUnknown() ? std::nullopt : (SymExpr(0) - highest).lowerBound();
  return gap && *gap >= 0;
}

std::optional<bool> KnownValues::isLess(const SymExpr &a, const SymExpr &b) const {
  if (isAtMost(a + 1, b))
    return true;
  return isAtMost(b, a) ? std::optional(false) : std::nullopt;
}

//===- Points ---------------------------------------------------------------------===//

Point llmopt::broadcastPoint(Value operand, ArrayRef<SymExpr> point) {
  SmallVector<SymExpr> dims = getDims(operand);
  Point result(point.take_back(dims.size()));
  for (auto [coordinate, dim] : llvm::zip(result, dims))
    if (dim.isConstant(1))
      coordinate = 0;
  return result;
}

std::optional<Point> llmopt::unitReshapePoint(ReshapeOp op, ArrayRef<SymExpr> point) {
  SmallVector<SymExpr> from = getDims(op.getInput()), to = getDims(op.getResult());
  Point result;
  size_t next = 0;
  for (const SymExpr &dim : from) {
    if (dim.isConstant(1)) {
      result.push_back(0);
      continue;
    }
    while (next < to.size() && to[next].isConstant(1))
      ++next;
    if (next == to.size() || to[next] != dim)
      return std::nullopt;
    result.push_back(point[next++]);
  }
  while (next < to.size() && to[next].isConstant(1))
    ++next;
  return next == to.size() ? std::optional(result) : std::nullopt;
}

//===- Elements -------------------------------------------------------------------===//

static Element integer(SymExpr value) {
  return value.isUnknown() ? Element() : Element{std::move(value), std::nullopt};
}
static Element truth(std::optional<bool> value) { return value ? integer(*value ? 1 : 0) : Element(); }

/// Whether integers are an affine function of their indices, like those of a range.
static std::optional<SymExpr> fitAffine(DenseIntElementsAttr dense, ArrayRef<SymExpr> point) {
  ArrayRef<int64_t> shape = dense.getType().getShape();
  SmallVector<int64_t> values;
  for (const APInt &value : dense.getValues<APInt>())
    values.push_back(dense.getElementType().isUnsignedInteger() || value.getBitWidth() == 1 ? value.getZExtValue()
                                                                                            : value.getSExtValue());
  if (values.empty() || values.size() > 65536)
    return std::nullopt;
  SmallVector<int64_t> strides(shape.size(), 1), slopes(shape.size(), 0);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * shape[d];
  SymExpr result(values[0]);
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] > 1) {
      slopes[d] = values[strides[d]] - values[0];
      result += point[d] * SymExpr(slopes[d]);
    }
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t expected = values[0];
    for (size_t d = 0; d < shape.size(); ++d)
      expected += slopes[d] * (static_cast<int64_t>(i) / strides[d] % shape[d]);
    if (values[i] != expected)
      return std::nullopt;
  }
  return result;
}

Element KnownValues::constantAt(Attribute attr, ArrayRef<SymExpr> point) const {
  if (auto symbolic = dyn_cast<SymValuesAttr>(attr)) {
    SmallVector<SymExpr> exprs = getExprs(symbolic);
    return !exprs.empty() && llvm::all_equal(exprs) ? integer(apply(exprs.front())) : Element();
  }
  if (auto ints = dyn_cast<DenseIntElementsAttr>(attr)) {
    std::optional<SymExpr> fit = fitAffine(ints, point);
    return fit ? integer(*fit) : Element();
  }
  auto floats = dyn_cast<DenseFPElementsAttr>(attr);
  if (!floats || !floats.isSplat())
    return {};
  APFloat value = floats.getSplatValue<APFloat>();
  bool lost = false;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
  return {std::nullopt, value.convertToDouble()};
}

Element KnownValues::at(Value value, ArrayRef<SymExpr> point) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto it = meanings.find(value);
    if (it == meanings.end())
      return {};
    const Meaning &meaning = it->second;
    return integer(meaning.kind == Meaning::Ones       ? SymExpr(1)
                   : meaning.kind == Meaning::Position ? past + point.back()
                                                       : past + meaning.offset);
  }
  if (!budget)
    return {};
  --budget;
  return compute(value.getDefiningOp(), value, point);
}

std::optional<bool> KnownValues::truthAt(Value value, ArrayRef<SymExpr> point) {
  std::optional<SymExpr> known = integerAt(value, point);
  std::optional<int64_t> number = known ? known->getConstant() : std::nullopt;
  return number ? std::optional(*number != 0) : std::nullopt;
}

bool KnownValues::isMaskedAt(Value mask, ArrayRef<SymExpr> point) {
  if (getElementTypeOrSelf(mask).isInteger(1))
    return truthAt(mask, point) == false;
  Element known = at(mask, point);
  return known.number && *known.number <= kAbsorbing;
}

Element KnownValues::compute(Operation *op, Value value, ArrayRef<SymExpr> point) {
  auto operand = [&](unsigned i) { return at(op->getOperand(i), broadcastPoint(op->getOperand(i), point)); };
  if (auto constant = dyn_cast<ConstantOp>(op))
    return constantAt(constant.getValue(), point);
  if (auto weight = dyn_cast<WeightOp>(op))
    return constantAt(weight.getSource(), point);
  if (auto iota = dyn_cast<IotaOp>(op))
    return integer(point[iota.getAxis()]);
  if (auto cast = dyn_cast<CastOp>(op)) {
    Type from = getElementTypeOrSelf(cast.getInput()), to = getElementTypeOrSelf(value);
    Element known = operand(0);
    std::optional<int64_t> number = known.integer ? known.integer->getConstant() : std::nullopt;
    if (isa<FloatType>(to))
      return isa<FloatType>(from) ? known : number ? Element{std::nullopt, static_cast<double>(*number)} : Element();
    if (to.isInteger(1) && !from.isInteger(1))
      return number ? truth(*number != 0) : Element();
    return isa<FloatType>(from) ? Element() : known;
  }
  if (isa<AddOp, SubOp, MulOp>(op)) {
    Element a = operand(0), b = operand(1);
    if (a.integer && b.integer)
      return integer(isa<AddOp>(op)   ? *a.integer + *b.integer
                     : isa<SubOp>(op) ? *a.integer - *b.integer
                                      : *a.integer * *b.integer);
    if (isa<AddOp>(op)) // a key that one mask leaves out stays out
      for (const Element &side : {a, b})
        if (side.number && *side.number <= kAbsorbing)
          return side;
    if (!a.number || !b.number)
      return {};
    double x = *a.number, y = *b.number;
    return {std::nullopt, isa<AddOp>(op) ? x + y : isa<SubOp>(op) ? x - y : x * y};
  }
  if (isa<MinOp, MaxOp>(op)) {
    Element a = operand(0), b = operand(1);
    if (!a.integer || !b.integer)
      return {};
    bool below = isAtMost(*a.integer, *b.integer);
    if (!below && !isAtMost(*b.integer, *a.integer))
      return {};
    return below == isa<MinOp>(op) ? a : b;
  }
  if (auto compare = dyn_cast<CompareOp>(op)) {
    Element a = operand(0), b = operand(1);
    if (!a.integer || !b.integer)
      return {};
    auto opposite = [](std::optional<bool> x) { return x ? std::optional(!*x) : std::nullopt; };
    switch (compare.getPredicate()) {
    case Predicate::EQ:
      if (*a.integer == *b.integer)
        return truth(true);
      return isLess(*a.integer, *b.integer) == true || isLess(*b.integer, *a.integer) == true ? truth(false)
                                                                                              : Element();
    case Predicate::LT:
      return truth(isLess(*a.integer, *b.integer));
    case Predicate::GE:
      return truth(opposite(isLess(*a.integer, *b.integer)));
    case Predicate::GT:
      return truth(isLess(*b.integer, *a.integer));
    case Predicate::LE:
      return truth(opposite(isLess(*b.integer, *a.integer)));
    }
    return {};
  }
  if (isa<AndOp, OrOp>(op)) {
    bool decides = isa<OrOp>(op); // one such side is enough
    std::optional<bool> a = truthAt(op->getOperand(0), broadcastPoint(op->getOperand(0), point));
    std::optional<bool> b = truthAt(op->getOperand(1), broadcastPoint(op->getOperand(1), point));
    if (a == decides || b == decides)
      return truth(decides);
    return a && b ? truth(!decides) : Element();
  }
  if (isa<NotOp>(op)) {
    std::optional<bool> a = truthAt(op->getOperand(0), broadcastPoint(op->getOperand(0), point));
    return a ? truth(!*a) : Element();
  }
  if (auto where = dyn_cast<WhereOp>(op)) {
    std::optional<bool> chosen = truthAt(where.getCondition(), broadcastPoint(where.getCondition(), point));
    if (chosen)
      return operand(*chosen ? 1 : 2);
    Element a = operand(1), b = operand(2); // the same on both sides?
    if (a.integer && b.integer && *a.integer == *b.integer)
      return a;
    return a.number && b.number && *a.number <= kAbsorbing && *b.number <= kAbsorbing ? a : Element();
  }
  if (auto reduce = dyn_cast<ReduceOp>(op); reduce && reduce.getKind() == ReduceKind::Sum) {
    SmallVector<SymExpr> dims = getDims(reduce.getInput());
    Point inner;
    SymExpr count = 1;
    size_t next = 0;
    for (auto [d, dim] : llvm::enumerate(dims)) {
      bool isReduced = reduce.getAxes().empty() || llvm::is_contained(reduce.getAxes(), static_cast<int64_t>(d));
      inner.push_back(isReduced ? makeIndex(dim) : point[next]);
      count *= isReduced ? apply(dim) : SymExpr(1);
      next += !isReduced || reduce.getKeepdims();
    }
    Element one = at(reduce.getInput(), inner);
    std::optional<int64_t> number = one.integer ? one.integer->getConstant() : std::nullopt;
    return number ? integer(SymExpr(*number) * count) : Element();
  }
  Value source = value;
  Point from(point);
  return stepBack(source, from) ? at(source, from) : Element();
}

//===- Where elements come from -----------------------------------------------------===//

bool KnownValues::stepBack(Value &value, Point &point) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  auto move = [&](Value source, Point from) {
    value = source;
    point = std::move(from);
    return true;
  };
  if (auto transpose = dyn_cast<TransposeOp>(op)) {
    Point from(point.size());
    for (auto [i, axis] : llvm::enumerate(transpose.getPerm()))
      from[axis] = point[i];
    return move(transpose.getInput(), from);
  }
  if (auto reshape = dyn_cast<ReshapeOp>(op)) {
    std::optional<Point> from = unitReshapePoint(reshape, point);
    return from && move(reshape.getInput(), *from);
  }
  if (auto broadcast = dyn_cast<BroadcastOp>(op))
    return move(broadcast.getInput(), broadcastPoint(broadcast.getInput(), point));
  if (auto slice = dyn_cast<SliceOp>(op)) {
    Point from(point);
    for (auto [coordinate, start, step] : llvm::zip(from, getExprs(slice.getStarts()), slice.getSteps()))
      coordinate = apply(start) + coordinate * SymExpr(step);
    return move(slice.getInput(), from);
  }
  if (auto concat = dyn_cast<ConcatOp>(op)) {
    SymExpr &coordinate = point[concat.getAxis()];
    SymExpr start = 0;
    for (Value input : concat.getInputs()) {
      SymExpr end = start + apply(getDims(input)[concat.getAxis()]);
      if (isLess(coordinate, end) == true && isAtMost(start, coordinate)) {
        coordinate = coordinate - start;
        value = input;
        return true;
      }
      start = end;
    }
    return false;
  }
  if (auto where = dyn_cast<WhereOp>(op)) {
    std::optional<bool> chosen = truthAt(where.getCondition(), broadcastPoint(where.getCondition(), point));
    Value side = chosen ? op->getOperand(*chosen ? 1 : 2) : Value();
    return side && move(side, broadcastPoint(side, point));
  }
  if (auto gather = dyn_cast<GatherElementsOp>(op)) {
    std::optional<SymExpr> index = integerAt(gather.getIndices(), point);
    if (!index || !isAtMost(0, *index))
      return false;
    point[gather.getAxis()] = *index;
    value = gather.getInput();
    return true;
  }
  return scatterStep(value, point);
}

/// Along one axis `a` the indices must be base + i for update i. Then an element
/// comes from an update exactly in [base, base + count).
bool KnownValues::scatterStep(Value &value, Point &point) {
  Operation *op = value.getDefiningOp();
  auto scatterND = dyn_cast<ScatterNDOp>(op);
  auto scatter = dyn_cast<ScatterElementsOp>(op);
  if (!scatterND && !scatter)
    return false;
  if ((scatterND ? scatterND.getKind() : scatter.getKind()) != ScatterKind::None)
    return false;
  Value input = op->getOperand(0), indices = op->getOperand(1), updates = op->getOperand(2);
  SmallVector<SymExpr> indexDims = getDims(indices), dims = getDims(input);
  int64_t axis = scatter ? scatter.getAxis() : 0;
  if (scatterND && (indexDims.size() != 2 || !indexDims[1].isConstant(1)))
    return false;
  if (scatter)
    for (auto [d, dim] : llvm::enumerate(dims)) // whole rows only
      if (static_cast<int64_t>(d) != axis && indexDims[d] != dim)
        return false;
  Point at = scatter ? point : Point{0, 0};
  SymExpr count = apply(indexDims[axis]), update = makeIndex(count);
  at[axis] = update;
  std::optional<SymExpr> index = integerAt(indices, at);
  if (!index)
    return false;
  SymExpr base = *index - update;
  std::set<std::string> used;
  base.collectSymbols(used);
  if (base.isUnknown() || used.count(*update.getSymbol()) || !isAtMost(0, base))
    return false;
  std::optional<bool> before = isLess(point[axis], base), behind = isLess(point[axis], base + count);
  if (before == true || behind == false) {
    value = input;
    return true;
  }
  if (before != false || behind != true)
    return false;
  point[axis] = point[axis] - base;
  value = updates;
  return true;
}
