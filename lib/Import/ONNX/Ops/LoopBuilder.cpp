#include "LoopBuilder.h"

#include "../DataSizes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// States that change their shape are written out up to so many times.
static constexpr int64_t kMaxUnrolled = 256;

static std::optional<bool> knownBool(Value value) {
  std::optional<Dims> known = value ? getSymbolicValue(value) : std::nullopt;
  if (!known || known->size() != 1 || !known->front().getConstant())
    return std::nullopt;
  return *known->front().getConstant() != 0;
}

static Value sizeConstant(Node &n, const SymExpr &value) {
  return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {value}));
}

/// The iterations one behind the other; nullopt where their number turns out to
/// depend on data.
static std::optional<llvm::SmallVector<Value>> unroll(Node &n, const LoopSpec &spec, int64_t trips, LoopBody body) {
  llvm::SmallVector<Value> states = spec.inits;
  std::vector<llvm::SmallVector<Value>> rows(spec.reverseRows.size());
  auto addRow = [&](size_t j, Value row) {
    Dims dims = n.dims(row);
    dims.insert(dims.begin(), SymExpr(1));
    rows[j].push_back(n.reshape(row, dims));
  };
  bool goOn = true;
  int64_t i = 0;
  for (; i < trips && goOn && !n.failed(); ++i) {
    std::optional<LoopStep> step = body(sizeConstant(n, i), states);
    if (!step)
      return llvm::SmallVector<Value>();
    if (step->condition) {
      std::optional<bool> known = knownBool(step->condition);
      if (!known && i + 1 < trips)
        return std::nullopt;
      goOn = known.value_or(true);
    }
    states = step->states;
    for (size_t j = 0; j < rows.size(); ++j)
      addRow(j, step->rows[j]);
  }
  if (i == 0 && !rows.empty()) { // the shapes of rows that there are none of
    std::optional<LoopStep> step = body(sizeConstant(n, 0), states);
    if (!step)
      return llvm::SmallVector<Value>();
    for (size_t j = 0; j < rows.size(); ++j) {
      Dims dims = n.dims(step->rows[j]);
      dims.insert(dims.begin(), SymExpr(0));
      rows[j].push_back(n.filled(n.elem(step->rows[j]), 0, dims));
    }
  }
  for (size_t j = 0; j < rows.size(); ++j) {
    if (spec.reverseRows[j])
      std::reverse(rows[j].begin(), rows[j].end());
    states.push_back(n.concat(rows[j], 0));
  }
  return states;
}

/// Reports a state that does not keep its type.
static void reportState(Node &n, const LoopSpec &spec, size_t i, mlir::Type before, mlir::Type after) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "expected state '" << (i < spec.stateNames.size() ? printable(spec.stateNames[i]) : std::to_string(i))
     << "' to keep its shape from one iteration to the next, but got " << before << ", then " << after
     << "; states may grow only where the number of iterations is a constant of at most " << kMaxUnrolled;
  n.error(text);
}

/// A next state whose dimensions have other names than the state's, but may be
/// equal (a broadcast of two symbols), under the names of the state: that they
/// are equal is checked when shapes are bound.
static Value asBefore(Node &n, Value next, Value init) {
  Dims before = n.dims(init), after = n.dims(next);
  if (n.failed() || before.size() != after.size() || n.elem(init) != n.elem(next))
    return next;
  for (auto [a, b] : llvm::zip(before, after)) {
    if (a == b)
      continue;
    SymExpr growth = b - a;
    // Where no size is 0: there, nothing grows.
    std::optional<int64_t> least =
        growth.substitute([](llvm::StringRef name) { return SymExpr::symbol(name) + SymExpr(1); }).lowerBound();
    if (growth.isUnknown() || growth.getConstant() || (least && *least > 0))
      return next;
  }
  return n.reshape(next, before);
}

/// The trip count as a symbol, where it depends on data but has a limit.
static SymExpr countTrips(Node &n, const LoopSpec &spec) {
  if (!spec.tripCount || !spec.trips.isUnknown() || spec.reverseRows.empty())
    return spec.trips;
  SymExpr limit = getInterval(spec.tripCount).high;
  if (limit.isUnknown())
    return spec.trips;
  Value number = n.cast(n.reshape(spec.tripCount, {}), n.b.getI64Type());
  return n.defineSymbol(n.create<MaxOp>(number, n.scalar(n.b.getI64Type(), 0)), SymExpr::max(limit, 0));
}

llvm::SmallVector<Value> onnx_import::buildLoop(Node &n, const LoopSpec &given, LoopBody body) {
  if (n.failed())
    return {};
  LoopSpec spec = given;
  spec.trips = countTrips(n, spec);
  std::optional<int64_t> constant = spec.trips.getConstant();
  if (constant)
    constant = std::max<int64_t>(*constant, 0);
  std::optional<bool> start = spec.condition ? knownBool(spec.condition) : std::optional(true);
  if (start == false)
    constant = 0;
  bool mayUnroll = constant && start;
  if (mayUnroll && (*constant == 0 || (*constant <= kMaxUnrolled && *constant * spec.nodes <= spec.unrollNodes)))
    if (auto results = unroll(n, spec, *constant, body))
      return *results;

  mlir::OperationState state(n.loc, LoopOp::getOperationName());
  mlir::Region *region = state.addRegion();
  mlir::Block &block = region->emplaceBlock();
  mlir::Type i64 = mlir::RankedTensorType::get({}, n.b.getI64Type());
  block.addArgument(i64, n.loc);
  for (Value init : spec.inits)
    block.addArgument(init.getType(), n.loc);
  std::optional<LoopStep> step;
  std::set<std::string> asked;
  size_t firstCount = n.importer.getNumCounts();
  bool stops = true, counts = false;
  n.importer.inRegion(block, asked, [&] {
    llvm::SmallVector<Value> states(block.getArguments().drop_front());
    step = body(block.getArgument(0), states);
    if (!step || n.failed())
      return;
    for (auto [next, init] : llvm::zip(step->states, spec.inits))
      next = asBefore(n, next, init);
    if (n.failed())
      return;
    stops = start != true || (step->condition && knownBool(step->condition) != true);
    counts = stops && spec.readsRows && !step->rows.empty() && !spec.trips.isUnknown();
    llvm::SmallVector<Value> yielded{step->condition ? step->condition : n.scalar(n.b.getI1Type(), 1)};
    yielded.append(step->states);
    if (counts) { // a state that says how often the loop went round
      block.addArgument(i64, n.loc);
      yielded.push_back(n.add(block.getArgument(0), 1));
    }
    yielded.append(step->rows);
    YieldOp::create(n.b, n.loc, yielded);
  });
  if (!step || n.failed()) {
    n.poison();
    return {};
  }
  for (auto [i, init] : llvm::enumerate(spec.inits)) {
    mlir::Type after = step->states[i].getType();
    Dims before = n.dims(init), now = n.dims(step->states[i]);
    bool same = n.elem(init) == mlir::getElementTypeOrSelf(after) && before.size() == now.size();
    for (size_t d = 0; same && d < now.size(); ++d)
      same = before[d] == now[d];
    if (same)
      continue;
    if (mayUnroll && *constant <= kMaxUnrolled)
      if (auto results = unroll(n, spec, *constant, body))
        return *results;
    reportState(n, spec, i, init.getType(), after);
    return {};
  }

  Value tripCount = spec.tripCount;
  if (!spec.trips.isUnknown())
    tripCount = sizeConstant(n, spec.trips);
  SymExpr length = stops ? SymExpr::unknown() : spec.trips;
  if (std::optional<int64_t> least = length.isUnknown() ? 0 : length.lowerBound(); !least || *least < 0)
    length = SymExpr::max(length, 0);
  llvm::SmallVector<mlir::Type> types(mlir::ValueRange(spec.inits).getTypes());
  if (counts) {
    spec.inits.push_back(n.scalar(n.b.getI64Type(), 0));
    types.push_back(i64);
  }
  if (n.failed())
    return {};
  for (auto [j, row] : llvm::enumerate(step->rows)) {
    Dims dims = n.dims(row);
    for (const SymExpr &dim : dims)
      if (n.importer.mentionsCountsSince(dim, firstCount)) {
        n.error("expected rows of one shape in scan output " + llvm::Twine(j) + ", but '" + dim.str() +
                "' is counted in every iteration anew");
        return {};
      }
    dims.insert(dims.begin(), length);
    types.push_back(getTensorType(dims, n.elem(row)));
  }
  Value condition = start == true ? Value() : spec.condition;
  state.addTypes(types);
  if (tripCount)
    state.addOperands(tripCount);
  if (condition)
    state.addOperands(condition);
  state.addOperands(spec.inits);
  auto &properties = state.getOrAddProperties<LoopOp::Properties>();
  properties.operandSegmentSizes = {tripCount ? 1 : 0, condition ? 1 : 0, static_cast<int32_t>(spec.inits.size())};
  properties.reverse_rows = n.b.getDenseBoolArrayAttr(spec.reverseRows);
  auto results = n.createRegionOp(state, {{"lm.body_constraints", asked}});
  if (!counts || results.empty())
    return results;
  size_t states = spec.inits.size() - 1;
  SymExpr rounds = n.defineSymbol(results[states], spec.trips);
  results.erase(results.begin() + states);
  for (Value &rows : llvm::MutableArrayRef(results).drop_front(states)) {
    Dims dims = n.dims(rows);
    dims[0] = rounds;
    rows = n.withDims(rows, dims);
  }
  return results;
}
