// If, Loop and Scan. Their subgraphs become regions; what is known when compiling
// becomes the branch that is taken, or iterations written out.
#include "../OpTable.h"
#include "LoopBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;
using onnx::AttributeProto;
using onnx::GraphProto;

/// Loops of at most so many nodes in all are written out.
static constexpr int64_t kMaxUnrolledNodes = 128;

static Value sizeConstant(Node &n, const SymExpr &value) {
  return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {value}));
}

static const GraphProto *graphAttr(Node &n, llvm::StringRef name) {
  const AttributeProto *a = n.attr(name);
  if (a && a->has_g())
    return &a->g();
  n.error("expected a graph as attribute '" + name + "'");
  return nullptr;
}

//===- If --------------------------------------------------------------------------===//

static bool isPartlyUnknown(llvm::ArrayRef<SymExpr> dims) {
  return llvm::any_of(dims, [](const SymExpr &dim) { return dim.isUnknown(); });
}

/// A type for what either branch gives: dimensions that differ are unknown, and so
/// are those that only the branch can count (the counts from `firstCount` on).
static mlir::Type mergeTypes(Node &n, Value a, Value b, unsigned output, size_t firstCount) {
  Dims x = n.dims(a), y = n.dims(b);
  if (n.elem(a) != n.elem(b) || x.size() != y.size()) {
    std::string text;
    llvm::raw_string_ostream(text) << "expected branches that give output " << output << " one rank and type, but got "
                                   << a.getType() << " and " << b.getType()
                                   << "; fix the shapes that the condition looks at with -shape";
    n.error(text);
    return {};
  }
  for (size_t d = 0; d < x.size(); ++d)
    if (x[d] != y[d] || n.importer.mentionsCountsSince(x[d], firstCount))
      x[d] = SymExpr::unknown();
  return getTensorType(x, n.elem(a));
}

namespace {
/// A dimension of a result that the branch decides, and that somebody reads.
struct DataDim {
  unsigned output, axis;
  SymExpr sizes[2]; // in either branch
};
} // namespace

/// Dimensions that become numbers beside the results, and symbols behind the
/// branch. A result that is nothing but an output of the model needs none.
static std::vector<DataDim> findDataDims(Node &n, mlir::TypeRange types, const llvm::SmallVector<Value> (&values)[2]) {
  std::vector<DataDim> found;
  for (auto [i, type] : llvm::enumerate(types)) {
    Dims x = n.dims(values[0][i]), y = n.dims(values[1][i]);
    if (!n.isRead(i) || isPartlyUnknown(x) || isPartlyUnknown(y))
      continue;
    for (auto [d, dim] : llvm::enumerate(getDims(type)))
      if (dim.isUnknown())
        found.push_back({static_cast<unsigned>(i), static_cast<unsigned>(d), {x[d], y[d]}});
  }
  return found;
}

static void takeBranch(Node &n, const GraphProto &graph) {
  auto results = n.importer.importSubgraph(graph, n.getScope());
  if (!results)
    return n.poison();
  if (results->size() != n.numOutputs())
    return n.error("expected a branch with " + llvm::Twine(n.numOutputs()) + " outputs, but got " +
                   llvm::Twine(results->size()));
  for (auto [i, value] : llvm::enumerate(*results))
    n.out(i, value);
}

static void conditional(Node &n) {
  Value condition = n.in(0);
  const GraphProto *graphs[] = {graphAttr(n, "then_branch"), graphAttr(n, "else_branch")};
  if (n.failed())
    return;
  std::optional<Dims> known = getSymbolicValue(condition);
  if (known && known->size() == 1 && known->front().getConstant())
    return takeBranch(n, *graphs[*known->front().getConstant() ? 0 : 1]);
  if (!n.elem(condition).isInteger(1))
    return n.error("expected a condition of bool");

  mlir::OperationState state(n.loc, IfOp::getOperationName());
  llvm::SmallVector<Value> values[2];
  std::set<std::string> asked[2];
  size_t before = n.importer.getNumCounts();
  for (int i = 0; i < 2; ++i) {
    mlir::Block &block = state.addRegion()->emplaceBlock();
    bool ok = true;
    n.importer.inRegion(block, asked[i], [&] {
      auto results = n.importer.importSubgraph(*graphs[i], n.getScope());
      ok = results.has_value();
      if (!ok)
        return;
      values[i] = *results;
      YieldOp::create(n.b, n.loc, values[i]);
    });
    if (!ok)
      n.poison();
  }
  if (n.failed())
    return;
  if (values[0].size() != n.numOutputs() || values[1].size() != n.numOutputs())
    return n.error("expected branches with " + llvm::Twine(n.numOutputs()) + " outputs, but got " +
                   llvm::Twine(values[0].size()) + " and " + llvm::Twine(values[1].size()));
  for (auto [i, a, b] : llvm::enumerate(values[0], values[1]))
    state.addTypes(mergeTypes(n, a, b, i, before));
  if (n.failed())
    return;
  std::vector<DataDim> sizes = findDataDims(n, state.types, values);
  for (int i = 0; i < 2; ++i) {
    if (sizes.empty())
      break;
    mlir::OpBuilder::InsertionGuard guard(n.b);
    state.regions[i]->front().getTerminator()->erase();
    n.b.setInsertionPointToEnd(&state.regions[i]->front());
    for (const DataDim &size : sizes)
      values[i].push_back(sizeConstant(n, size.sizes[i]));
    if (n.failed())
      return;
    YieldOp::create(n.b, n.loc, values[i]);
  }
  for (size_t i = 0; i < sizes.size(); ++i)
    state.addTypes(mlir::RankedTensorType::get({}, n.b.getI64Type()));
  state.addOperands(condition);
  auto results = n.createRegionOp(state, {{"lm.then_constraints", asked[0]}, {"lm.else_constraints", asked[1]}});
  if (n.failed())
    return;
  llvm::SmallVector<Dims> dims;
  for (Value result : results)
    dims.push_back(n.dims(result));
  for (auto [i, size] : llvm::enumerate(sizes))
    dims[size.output][size.axis] =
        n.defineSymbol(results[n.numOutputs() + i],
                       SymExpr::max(n.importer.boundCounts(size.sizes[0]), n.importer.boundCounts(size.sizes[1])));
  for (unsigned i = 0; i < n.numOutputs(); ++i)
    n.out(i, dims[i] == n.dims(results[i]) || isPartlyUnknown(dims[i]) ? results[i] : n.withDims(results[i], dims[i]));
}

//===- Loop ------------------------------------------------------------------------===//

/// The declared rank of a subgraph's input; some exporters write scalars as [1].
static Value asDeclared(Node &n, Value scalar, const onnx::ValueInfoProto &input) {
  const auto &type = input.type().tensor_type();
  return type.has_shape() && type.shape().dim_size() == 1 ? n.reshape(scalar, {1}) : scalar;
}

static void loop(Node &n) {
  const GraphProto *graph = graphAttr(n, "body");
  if (n.failed())
    return;
  LoopSpec spec;
  spec.tripCount = n.opt(0);
  spec.condition = n.opt(1);
  if (spec.tripCount) {
    std::optional<Dims> known = getSymbolicValue(spec.tripCount);
    if (known && known->size() == 1)
      spec.trips = known->front();
  }
  for (unsigned i = 2; i < n.numInputs(); ++i)
    spec.inits.push_back(n.in(i));
  size_t states = spec.inits.size();
  spec.readsRows = false;
  for (unsigned i = states; i < n.numOutputs(); ++i)
    spec.readsRows |= n.isRead(i);
  if (graph->input_size() != static_cast<int>(states) + 2 || graph->output_size() < static_cast<int>(states) + 1)
    return n.error("expected a body over the iteration, the condition and " + llvm::Twine(states) +
                   " states, but got one of " + llvm::Twine(graph->input_size()) + " inputs and " +
                   llvm::Twine(graph->output_size()) + " outputs");
  for (size_t i = 0; i < states; ++i)
    spec.stateNames.push_back(graph->input(i + 2).name());
  spec.reverseRows.assign(graph->output_size() - 1 - states, false);
  spec.nodes = graph->node_size();
  spec.unrollNodes = kMaxUnrolledNodes;
  auto results = buildLoop(n, spec, [&](Value iteration, llvm::ArrayRef<Value> now) -> std::optional<LoopStep> {
    llvm::SmallVector<Value> inputs{asDeclared(n, iteration, graph->input(0)),
                                    asDeclared(n, n.scalar(n.b.getI1Type(), 1), graph->input(1))};
    inputs.append(now.begin(), now.end());
    auto outputs = n.importer.importSubgraph(*graph, n.getScope(), inputs);
    if (!outputs) {
      n.poison();
      return std::nullopt;
    }
    LoopStep step;
    step.condition = outputs->front();
    step.states.assign(outputs->begin() + 1, outputs->begin() + 1 + states);
    step.rows.assign(outputs->begin() + 1 + states, outputs->end());
    return step;
  });
  for (auto [i, value] : llvm::enumerate(results))
    n.out(i, value);
}

//===- Scan ------------------------------------------------------------------------===//

namespace {
/// A Scan without a batch: states and scanned inputs as its body sees them.
struct ScanSpec {
  const GraphProto *body;
  llvm::SmallVector<Value> states, inputs;
  Ints inputAxes, outputAxes;
  llvm::SmallVector<bool> inputReverse, outputReverse;
  Value length; // of this sequence; null: all of it
};
} // namespace

static llvm::SmallVector<Value> buildScan(Node &n, const ScanSpec &scan) {
  LoopSpec spec;
  spec.inits = scan.states;
  size_t states = scan.states.size(), rows = scan.outputAxes.size();
  for (size_t i = 0; i < states; ++i)
    spec.stateNames.push_back(scan.body->input(i).name());
  spec.trips = n.dims(scan.inputs[0])[scan.inputAxes[0]];
  spec.reverseRows = scan.outputReverse;
  spec.nodes = scan.body->node_size();
  SymExpr trips = spec.trips;
  auto results = buildLoop(n, spec, [&](Value iteration, llvm::ArrayRef<Value> now) -> std::optional<LoopStep> {
    Value last = n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {trips - SymExpr(1)}));
    llvm::SmallVector<Value> inputs(now);
    for (auto [i, x] : llvm::enumerate(scan.inputs))
      inputs.push_back(
          n.create<GatherOp>(x, scan.inputReverse[i] ? n.sub(last, iteration) : iteration, scan.inputAxes[i]));
    if (n.failed())
      return std::nullopt;
    auto outputs = n.importer.importSubgraph(*scan.body, n.getScope(), inputs);
    if (!outputs) {
      n.poison();
      return std::nullopt;
    }
    LoopStep step;
    step.states.assign(outputs->begin(), outputs->begin() + states);
    step.rows.assign(outputs->begin() + states, outputs->end());
    if (scan.length) { // what is beyond the end of a sequence keeps states, and gives zeros
      Value inside = n.compare(Predicate::LT, iteration, scan.length);
      for (auto [next, before] : llvm::zip(step.states, now))
        next = n.select(inside, next, before);
      for (Value &row : step.rows)
        row = n.select(inside, row, n.scalar(n.elem(row), 0));
    }
    return step;
  });
  if (results.size() != states + rows)
    return {};
  for (size_t j = 0; j < rows; ++j) { // rows go to another axis than the first
    Value &value = results[states + j];
    int64_t axis = n.axis(scan.outputAxes[j], n.rank(value));
    Ints perm;
    for (int64_t d = 1; d < n.rank(value); ++d)
      perm.push_back(d);
    perm.insert(perm.begin() + axis, 0);
    value = n.transpose(value, perm);
  }
  return results;
}

static llvm::SmallVector<bool> directions(Node &n, llvm::StringRef name, size_t count) {
  Ints list = n.intsAttr(name).value_or(Ints(count, 0));
  if (list.size() != count)
    n.error("expected " + llvm::Twine(count) + " entries in '" + name + "', but got " + llvm::Twine(list.size()));
  llvm::SmallVector<bool> result(count);
  for (size_t i = 0; i < count && i < list.size(); ++i)
    result[i] = list[i] != 0;
  return result;
}

/// Fills in the body, and checks that it fits `operands`; false after an error.
static bool beginScan(Node &n, ScanSpec &scan, unsigned operands) {
  scan.body = graphAttr(n, "body");
  int64_t scanned = n.intAttr("num_scan_inputs", 0);
  if (n.failed())
    return false;
  if (scanned < 1 || scanned > operands) {
    n.error("expected num_scan_inputs in [1, " + llvm::Twine(operands) + "], but got " + llvm::Twine(scanned));
    return false;
  }
  int states = static_cast<int>(operands - scanned);
  if (scan.body->input_size() != static_cast<int>(operands) || scan.body->output_size() < states) {
    n.error("expected a body of " + llvm::Twine(operands) + " inputs and at least " + llvm::Twine(states) +
            " outputs, but got " + llvm::Twine(scan.body->input_size()) + " and " +
            llvm::Twine(scan.body->output_size()));
    return false;
  }
  unsigned rows = scan.body->output_size() - states;
  scan.inputAxes = n.intsAttr("scan_input_axes").value_or(Ints(scanned, 0));
  scan.outputAxes = n.intsAttr("scan_output_axes").value_or(Ints(rows, 0));
  if (scan.inputAxes.size() != static_cast<size_t>(scanned) || scan.outputAxes.size() != rows)
    n.error("expected an axis for each scanned input and output");
  scan.inputReverse = directions(n, n.opset() < 9 ? "directions" : "scan_input_directions", scanned);
  scan.outputReverse = directions(n, "scan_output_directions", rows);
  return !n.failed();
}

static void scan(Node &n) {
  ScanSpec scan;
  if (!beginScan(n, scan, n.numInputs()))
    return;
  unsigned states = n.numInputs() - scan.inputAxes.size();
  for (unsigned i = 0; i < n.numInputs(); ++i)
    (i < states ? scan.states : scan.inputs).push_back(n.in(i));
  if (n.failed())
    return;
  for (auto [axis, x] : llvm::zip(scan.inputAxes, scan.inputs))
    axis = n.axis(axis, n.rank(x));
  if (n.failed())
    return;
  for (auto [i, value] : llvm::enumerate(buildScan(n, scan)))
    n.out(i, value);
}

// Opset 8: everything has a batch in front, and sequences may end early. The
// batch is a loop of its own.
static void scanWithBatch(Node &n) {
  ScanSpec scan;
  if (!beginScan(n, scan, n.numInputs() - 1))
    return;
  unsigned states = n.numInputs() - 1 - scan.inputAxes.size();
  Value lengths = n.opt(0);
  llvm::SmallVector<Value> operands;
  for (unsigned i = 1; i < n.numInputs(); ++i) {
    operands.push_back(n.in(i));
    if (!n.failed() && n.rank(operands.back()) < (i > states ? 2 : 1))
      n.error("expected states with a batch, and inputs with a batch and a sequence");
  }
  if (n.failed())
    return;
  if (lengths && llvm::is_contained(scan.inputReverse, true))
    return n.unsupported("with sequence_lens and a reversed input", "export with opset 9 or later");
  LoopSpec batch;
  batch.trips = n.dims(operands.back())[0];
  batch.reverseRows.assign(scan.body->output_size(), false);
  auto results = buildLoop(n, batch, [&](Value index, llvm::ArrayRef<Value>) -> std::optional<LoopStep> {
    ScanSpec own = scan;
    for (auto [i, value] : llvm::enumerate(operands))
      (i < states ? own.states : own.inputs).push_back(n.create<GatherOp>(value, index, 0));
    if (lengths)
      own.length = n.cast(n.create<GatherOp>(lengths, index, 0), n.b.getI64Type());
    if (n.failed())
      return std::nullopt;
    LoopStep step;
    step.rows = buildScan(n, own);
    if (n.failed())
      return std::nullopt;
    return step;
  });
  for (auto [i, value] : llvm::enumerate(results))
    n.out(i, value);
}

void onnx_import::addControlOps(OpTable &t) {
  t.add(kOnnx, "If", conditional);
  t.add(kOnnx, "Loop", loop);
  t.add(kOnnx, "Scan", scanWithBatch, 8, 8);
  t.add(kOnnx, "Scan", scan, 9);
}
