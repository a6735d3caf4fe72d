// Filling ModelTables: buffers, steps, weights, size expressions.
#include "llmopt/CodeGen/Plan/Tables.h"

#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/CodeGen/Plan/Liveness.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace llmopt;
using lm::getDims;
using lm::SymExpr;

StepEmitter::~StepEmitter() = default;

static_assert(int(SymExpr::Op::Max) == LLMOPT_EXPR_MAX && int(SymExpr::Op::FloorDiv) == LLMOPT_EXPR_FLOORDIV);

namespace {

/// Weights of a model, which all its entries share.
struct WeightTable {
  std::vector<ModelTables::Weight> weights;
  std::vector<Recipe> recipes;
  uint64_t size = 0;
  llvm::StringMap<uint32_t> byRecipe;
  llvm::StringMap<unsigned> names;
};

class TableBuilder {
public:
  TableBuilder(func::FuncOp function, StepEmitter &emitter, WeightTable &shared)
      : function(function), emitter(emitter), shared(shared) {}
  FailureOr<PlannedModel> build();
  /// The expression that an argument's `attribute` holds; LLMOPT_NONE without one.
  FailureOr<uint32_t> getArgumentExpr(unsigned argument, StringRef attribute);
  /// After build: moves tables that have grown by expressions.
  void moveExprsTo(ModelTables &tables) {
    tables.exprs = t.exprs;
    tables.exprCode = t.exprCode;
  }

private:
  LogicalResult addSymbols();
  LogicalResult addCaches();
  LogicalResult addIndexChecks();
  LogicalResult addInterface();
  LogicalResult addSteps();
  LogicalResult addConstraints();
  LogicalResult addDataSymbols();
  /// A size with every count of data as large as it can be.
  SymExpr bounded(const SymExpr &size);
  FailureOr<uint32_t> getExpr(const SymExpr &expr, Location loc);
  FailureOr<uint32_t> getBuffer(Value value);
  LogicalResult addKernel(Operation *op, ModelTables::Step &step);
  LogicalResult addStepMemory(const StepKernel &kernel, Location loc, ModelTables::Step &step);
  LogicalResult addLibraryProduct(const StepKernel &kernel, Location loc);
  LogicalResult addControl(const PlanStep &planned, ModelTables::Step &step);
  FailureOr<uint32_t> addConstraint(const ShapeConstraint &constraint, uint32_t flags, Location loc);
  FailureOr<uint32_t> addWeight(Value value);
  FailureOr<uint32_t> addSharedWeight(Value value);
  FailureOr<uint32_t> addTensor(std::vector<ModelTables::Tensor> &list, StringRef name, Value value);
  std::string getName(StringRef kind, size_t index);

  func::FuncOp function;
  StepEmitter &emitter;
  WeightTable &shared;
  PlannedModel model;
  ModelTables &t = model.tables;
  Liveness liveness;
  llvm::StringMap<uint32_t> symbolIndex, exprIndex;
  llvm::StringMap<SymExpr> countBounds;
  DenseMap<uint32_t, uint32_t> bufferOfWeight;
  DenseMap<Value, uint32_t> bufferOf;
  DenseMap<unsigned, uint32_t> inputOf, cacheOf; // by argument
  SymExpr scratch = 0;
};

} // namespace

SymExpr TableBuilder::bounded(const SymExpr &size) {
  if (countBounds.empty())
    return size;
  return size.upperBound([&](StringRef name) -> std::optional<SymExpr> {
    auto it = countBounds.find(name);
    return it == countBounds.end() ? std::nullopt : std::optional(it->second);
  });
}

FailureOr<uint32_t> TableBuilder::getExpr(const SymExpr &expr, Location loc) {
  if (expr.isUnknown())
    return emitError(loc) << "expected a size that follows from the shapes of inputs, but got an unknown one";
  auto [it, isNew] = exprIndex.try_emplace(expr.str(), t.exprs.size());
  if (!isNew)
    return it->second;
  std::vector<SymExpr::Insn> code;
  expr.toPostfix(code);
  uint32_t first = t.exprCode.size();
  for (const SymExpr::Insn &insn : code) {
    int64_t value = insn.value;
    if (insn.op == SymExpr::Op::Symbol) {
      auto symbol = symbolIndex.find(insn.symbol);
      if (symbol == symbolIndex.end())
        return emitError(loc) << "expected sizes over dimensions of inputs, but got '" << insn.symbol << "' in "
                              << expr.str();
      value = symbol->second;
    }
    t.exprCode.push_back({int64_t(insn.op), value});
  }
  t.exprs.push_back({first, uint32_t(t.exprCode.size()) - first});
  return it->second;
}

LogicalResult TableBuilder::addSymbols() {
  for (Value input : function.getArguments())
    for (const SymExpr &dim : getDims(input))
      if (std::optional<std::string> symbol = dim.getSymbol())
        if (symbolIndex.try_emplace(*symbol, t.symbols.size()).second)
          t.symbols.push_back(*symbol);
  auto addOwn = [&](StringRef attribute, uint32_t &index) {
    auto symbol = function->getAttrOfType<StringAttr>(attribute);
    if (!symbol)
      return;
    auto [it, isNew] = symbolIndex.try_emplace(symbol.getValue(), t.symbols.size());
    if (isNew)
      t.symbols.push_back(symbol.str());
    index = it->second;
  };
  addOwn("lm.past", t.pastSymbol);
  addOwn("lm.capacity", t.capacitySymbol);
  for (Operation *symbol : liveness.symbols) {
    auto op = cast<kernel::DefineSymbolOp>(symbol);
    SymExpr bound = bounded(lm::getExprs(op.getBound())[0]);
    if (!symbolIndex.try_emplace(op.getSymbol(), t.symbols.size()).second)
      return op.emitError() << "expected a new symbol, but got '" << op.getSymbol() << "' again";
    t.symbols.push_back(op.getSymbol().str());
    FailureOr<uint32_t> expr = getExpr(bound, op.getLoc());
    if (failed(expr))
      return failure();
    countBounds[op.getSymbol()] = bound;
    t.dataSymbols.push_back({uint32_t(t.symbols.size() - 1), LLMOPT_NONE, *expr, 0});
  }
  return success();
}

LogicalResult TableBuilder::addDataSymbols() {
  if (t.dataSymbols.empty())
    return success();
  uint32_t next = 0;
  for (Operation *symbol : liveness.symbols) {
    auto define = cast<kernel::DefineSymbolOp>(symbol);
    FailureOr<uint32_t> buffer = getBuffer(define.getValue());
    if (failed(buffer))
      return failure();
    t.dataSymbols[next].buffer = *buffer;
    t.dataSymbols[next++].firstStep = liveness.symbolSteps.lookup(define);
  }
  t.outputBounds = t.outputs;
  Operation *end = function.getBody().front().getTerminator();
  for (auto [tensor, value] : llvm::zip(t.outputBounds, end->getOperands())) {
    FailureOr<SmallVector<SymExpr>> largest = getLargestDims(value);
    if (failed(largest))
      return failure();
    for (auto [dim, size] : llvm::zip(tensor.dims, *largest)) {
      FailureOr<uint32_t> expr = getExpr(bounded(size), value.getLoc());
      if (failed(expr))
        return failure();
      dim = *expr;
    }
  }
  return success();
}

std::string TableBuilder::getName(StringRef kind, size_t index) {
  auto attr = kind == "input" ? function.getArgAttrOfType<StringAttr>(index, "lm.name")
                              : function.getResultAttrOfType<StringAttr>(index, "lm.name");
  return attr ? attr.str() : (kind + std::to_string(index)).str();
}

FailureOr<uint32_t> TableBuilder::addTensor(std::vector<ModelTables::Tensor> &list, StringRef name, Value value) {
  ModelTables::Tensor tensor;
  tensor.name = name.str();
  tensor.dtype = getDType(getElementTypeOrSelf(value));
  if (!tensor.dtype)
    return emitError(value.getLoc()) << "expected an element type of whole bytes for '" << name << "', but got "
                                     << value.getType();
  if (getDims(value).size() > LLMOPT_MAX_RANK)
    return emitError(value.getLoc()) << "expected at most " << LLMOPT_MAX_RANK << " dimensions for '" << name
                                     << "', but got " << value.getType();
  FailureOr<SmallVector<SymExpr>> dims = getLargestDims(value);
  if (failed(dims))
    return failure();
  // What only a run decides a step states; no count of another way may decide it.
  for (auto [dim, declared] : llvm::zip(*dims, getDims(value))) {
    FailureOr<uint32_t> expr = getExpr(declared.isUnknown() ? bounded(dim) : dim, value.getLoc());
    if (failed(expr))
      return failure();
    tensor.dims.push_back(*expr);
  }
  list.push_back(std::move(tensor));
  return uint32_t(list.size() - 1);
}

FailureOr<uint32_t> TableBuilder::addSharedWeight(Value value) {
  FailureOr<Recipe> recipe = buildRecipe(value);
  if (failed(recipe))
    return failure();
  std::string text = recipe->toJSON();
  auto [it, isNew] = shared.byRecipe.try_emplace(text, shared.weights.size());
  if (!isNew)
    return it->second;

  ModelTables::Weight weight;
  std::string name;
  for (const Recipe::Node &node : recipe->nodes)
    if (node.op == Recipe::Op::Weight)
      name += (name.empty() ? "" : "+") + node.name;
  if (name.empty())
    name = "constant";
  weight.hasRecipe = !recipe->isCanonical();
  if (weight.hasRecipe) {
    name += recipe->result().op == Recipe::Op::Panels ? ":packed" : ":derived";
    weight.recipe = text;
  }
  if (unsigned earlier = shared.names[name]++)
    name += "#" + std::to_string(earlier);
  weight.name = name;
  weight.dtype = recipe->result().dtype;
  weight.dims = recipe->result().dims;
  if (weight.dims.size() > LLMOPT_MAX_RANK)
    return emitError(value.getLoc()) << "expected at most " << LLMOPT_MAX_RANK << " dimensions of a weight, but got "
                                     << value.getType();
  weight.size = getDTypeBytes(weight.dtype);
  for (int64_t dim : weight.dims)
    if (__builtin_mul_overflow(weight.size, uint64_t(dim), &weight.size))
      return emitError(value.getLoc()) << "expected a weight of less than 2^64 bytes";
  weight.offset = llvm::alignTo(shared.size, 256);
  shared.size = weight.offset + weight.size;
  shared.weights.push_back(std::move(weight));
  shared.recipes.push_back(std::move(*recipe));
  return it->second;
}

FailureOr<uint32_t> TableBuilder::addWeight(Value value) {
  FailureOr<uint32_t> index = addSharedWeight(value);
  if (failed(index))
    return failure();
  auto [it, isNew] = bufferOfWeight.try_emplace(*index, t.buffers.size());
  if (!isNew)
    return it->second;
  const ModelTables::Weight &weight = shared.weights[*index];
  ModelTables::Buffer buffer;
  buffer.kind = LLMOPT_BUFFER_WEIGHT;
  FailureOr<uint32_t> size = getExpr(int64_t(weight.size), value.getLoc());
  FailureOr<uint32_t> offset = getExpr(int64_t(weight.offset), value.getLoc());
  if (failed(size) || failed(offset))
    return failure();
  buffer.size = *size;
  buffer.offset = *offset;
  t.buffers.push_back(std::move(buffer));
  return uint32_t(t.buffers.size() - 1);
}

FailureOr<uint32_t> TableBuilder::getBuffer(Value value) {
  if (auto it = bufferOf.find(value); it != bufferOf.end())
    return it->second;
  if (auto argument = liveness.arguments.find(value); argument != liveness.arguments.end()) {
    FailureOr<uint32_t> index = getBuffer(argument->second);
    if (succeeded(index))
      bufferOf[value] = *index;
    return index;
  }
  if (isRecipe(value)) {
    FailureOr<uint32_t> index = addWeight(value);
    if (succeeded(index))
      bufferOf[value] = *index;
    return index;
  }
  ModelTables::Buffer buffer;
  uint32_t dtype = getDType(getElementTypeOrSelf(value));
  if (!dtype)
    return emitError(value.getLoc()) << "expected an element type of whole bytes, but got " << value.getType();
  FailureOr<SmallVector<SymExpr>> dims = getLargestDims(value);
  if (failed(dims))
    return failure();
  SymExpr bytes = int64_t(getDTypeBytes(dtype));
  for (const SymExpr &dim : *dims)
    bytes *= bounded(dim);
  FailureOr<uint32_t> size = getExpr(bytes, value.getLoc());
  if (failed(size))
    return failure();
  buffer.size = *size;
  if (auto view = value.getDefiningOp<kernel::ViewOp>()) {
    FailureOr<uint32_t> base = getBuffer(view.getInput());
    SymExpr bytes = lm::getExprs(view.getOffset())[0] * SymExpr(int64_t(getDTypeBytes(dtype)));
    if (failed(base))
      return failure();
    if (bytes.isConstant(0))
      return bufferOf[value] = *base;
    FailureOr<uint32_t> offset = getExpr(bytes, value.getLoc());
    if (failed(offset))
      return failure();
    buffer.kind = LLMOPT_BUFFER_VIEW;
    buffer.index = *base;
    buffer.offset = *offset;
  } else if (auto argument = dyn_cast<BlockArgument>(value); argument && !liveness.ranges.count(value)) {
    bool isCache = cacheOf.count(argument.getArgNumber());
    buffer.kind = isCache ? LLMOPT_BUFFER_CACHE : LLMOPT_BUFFER_INPUT;
    buffer.index = isCache ? cacheOf[argument.getArgNumber()] : inputOf[argument.getArgNumber()];
  } else if (auto constant = value.getDefiningOp<lm::ConstantOp>()) {
    auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
    if (!dense)
      return constant.emitError() << "expected a constant of known elements, but got " << constant.getValue();
    std::vector<char> bytes = getBytes(dense);
    buffer.kind = LLMOPT_BUFFER_CONSTANT;
    buffer.data.assign(bytes.begin(), bytes.end());
  } else {
    Value storage = liveness.getStorage(value);
    if (storage != value) {
      FailureOr<uint32_t> index = getBuffer(storage);
      if (succeeded(index))
        bufferOf[value] = *index;
      return index;
    }
    if (auto output = liveness.outputs.find(value); output != liveness.outputs.end()) {
      buffer.kind = LLMOPT_BUFFER_OUTPUT;
      buffer.index = output->second;
    } else {
      auto range = liveness.ranges.find(value);
      if (range == liveness.ranges.end())
        return emitError(value.getLoc()) << "expected a result of a kernel, but got a value of type "
                                         << value.getType();
      buffer.kind = LLMOPT_BUFFER_ARENA;
      buffer.firstStep = range->second.first;
      buffer.lastStep = range->second.last;
    }
  }
  t.buffers.push_back(std::move(buffer));
  return bufferOf[value] = t.buffers.size() - 1;
}

LogicalResult TableBuilder::addKernel(Operation *op, ModelTables::Step &step) {
  FailureOr<StepKernel> kernel = emitter.emit(op);
  if (failed(kernel))
    return failure();
  step.kernel = kernel->kernel;
  for (ValueRange values : {ValueRange(op->getOperands()), ValueRange(op->getResults())})
    for (Value value : values) {
      FailureOr<uint32_t> buffer = getBuffer(value);
      if (failed(buffer))
        return failure();
      step.args.push_back(*buffer);
    }
  if (failed(addStepMemory(*kernel, op->getLoc(), step)) || failed(addLibraryProduct(*kernel, op->getLoc())))
    return failure();
  for (const SymExpr &dim : kernel->dims) {
    FailureOr<uint32_t> expr = getExpr(dim, op->getLoc());
    if (failed(expr))
      return failure();
    step.dims.push_back(*expr);
  }
  FailureOr<uint32_t> tiles = getExpr(kernel->tiles, op->getLoc());
  if (failed(tiles))
    return failure();
  step.tiles = *tiles;
  scratch = SymExpr::max(scratch, kernel->scratchBytes);
  return success();
}

LogicalResult TableBuilder::addStepMemory(const StepKernel &kernel, Location loc, ModelTables::Step &step) {
  auto add = [&](const SymExpr &bytes, uint32_t kind) -> LogicalResult {
    FailureOr<uint32_t> size = getExpr(bounded(bytes), loc);
    if (failed(size))
      return failure();
    ModelTables::Buffer buffer;
    buffer.kind = kind;
    buffer.size = *size;
    buffer.firstStep = buffer.lastStep = t.steps.size();
    step.args.push_back(t.buffers.size());
    t.buffers.push_back(std::move(buffer));
    return success();
  };
  for (const SymExpr &bytes : kernel.temporaries)
    if (failed(add(bytes, LLMOPT_BUFFER_ARENA)))
      return failure();
  return kernel.zeros.isConstant(0) ? success() : add(kernel.zeros, LLMOPT_BUFFER_ZERO);
}

LogicalResult TableBuilder::addLibraryProduct(const StepKernel &kernel, Location loc) {
  if (!kernel.library)
    return success();
  ModelTables::LibraryProduct product = *kernel.library;
  product.step = t.steps.size();
  for (auto [size, index] : {std::pair(&kernel.libraryRows, &product.rows),
                             std::pair(&kernel.libraryStride, &product.rowStride),
                             std::pair(&kernel.libraryOffset, &product.rowOffset)}) {
    FailureOr<uint32_t> expr = getExpr(*size, loc);
    if (failed(expr))
      return failure();
    *index = *expr;
  }
  t.products.push_back(std::move(product));
  return success();
}

LogicalResult TableBuilder::addControl(const PlanStep &planned, ModelTables::Step &step) {
  Location loc = planned.op->getLoc();
  step.control = planned.control;
  step.tiles = planned.target;
  for (Value value : planned.args) {
    FailureOr<uint32_t> buffer = value ? getBuffer(value) : FailureOr<uint32_t>(LLMOPT_NONE);
    if (failed(buffer))
      return failure();
    step.args.push_back(*buffer);
  }
  for (const SymExpr &dim : planned.dims) {
    FailureOr<uint32_t> expr = getExpr(dim, loc);
    if (failed(expr))
      return failure();
    step.dims.push_back(*expr);
  }
  if (planned.control == LLMOPT_CONTROL_CHECK) {
    FailureOr<uint32_t> constraint = addConstraint(planned.constraint, LLMOPT_CHECKED_BY_STEP, loc);
    if (failed(constraint))
      return failure();
    step.tiles = *constraint;
  }
  return success();
}

LogicalResult TableBuilder::addSteps() {
  for (const PlanStep &planned : liveness.program) {
    ModelTables::Step step;
    step.name = getNodeNames(planned.op->getLoc());
    if (step.name.empty())
      step.name = planned.op->getName().getStringRef().str();
    if (failed(planned.control == LLMOPT_CONTROL_NONE ? addKernel(planned.op, step) : addControl(planned, step)))
      return failure();
    t.steps.push_back(std::move(step));
  }
  return success();
}

/// Symbols of the session, which no dimension of an input defines.
LogicalResult TableBuilder::addCaches() {
  for (BlockArgument argument : function.getArguments()) {
    unsigned i = argument.getArgNumber();
    if (!function.getArgAttr(i, "lm.cache")) {
      inputOf[i] = inputOf.size();
      continue;
    }
    cacheOf[i] = t.caches.size();
    ModelTables::Cache cache;
    cache.name = getName("input", i);
    cache.dtype = getDType(getElementTypeOrSelf(argument));
    FailureOr<uint32_t> size = getExpr(
        lm::getNumElements(argument.getType()) * SymExpr(int64_t(getDTypeBytes(cache.dtype))), argument.getLoc());
    auto append = argument.hasOneUse() ? dyn_cast<kernel::KVAppendOp>(*argument.user_begin()) : kernel::KVAppendOp();
    if (failed(size) || !append)
      return emitError(argument.getLoc()) << "expected kernel.kv_append to use the cache '" << cache.name << "'";
    cache.size = *size;
    FailureOr<uint32_t> tokens = getExpr(getDims(append.getInput())[1], append.getLoc());
    if (failed(tokens) || (t.newTokens != LLMOPT_NONE && t.newTokens != *tokens))
      return append.emitError() << "expected as many new tokens in every cache";
    t.newTokens = *tokens;
    t.caches.push_back(std::move(cache));
  }
  if (auto tokens = function->getAttrOfType<IntegerAttr>("lm.max_tokens"))
    t.maxTokens = tokens.getInt();
  return success();
}

/// Lookups by ids that come straight from an input. Kernels stay inside of the
/// table whatever the id, but an id outside is a mistake of the caller.
LogicalResult TableBuilder::addIndexChecks() {
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (auto embed : function.getOps<kernel::EmbedOp>())
    for (auto [table, ids] : llvm::zip(embed.getTables(), embed.getIds())) {
      Value source = ids;
      while (auto view = source.getDefiningOp<kernel::ViewOp>())
        source = view.getInput();
      auto argument = dyn_cast<BlockArgument>(source);
      if (!argument || !inputOf.count(argument.getArgNumber()))
        continue;
      FailureOr<uint32_t> rows = getExpr(getDims(table)[0], embed.getLoc());
      if (failed(rows))
        return failure();
      if (seen.insert({inputOf[argument.getArgNumber()], *rows}).second)
        t.indexChecks.push_back({inputOf[argument.getArgNumber()], *rows, getNodeNames(embed.getLoc())});
    }
  return success();
}

LogicalResult TableBuilder::addInterface() {
  for (auto [i, argument] : llvm::enumerate(function.getArguments())) {
    if (cacheOf.count(i))
      continue;
    FailureOr<uint32_t> tensor = addTensor(t.inputs, getName("input", i), argument);
    FailureOr<uint32_t> buffer = getBuffer(argument);
    if (failed(tensor) || failed(buffer))
      return failure();
    t.inputs[*tensor].buffer = *buffer;
  }
  return success();
}

LogicalResult TableBuilder::addConstraints() {
  FailureOr<std::vector<ShapeConstraint>> constraints = collectConstraints(function);
  if (failed(constraints))
    return failure();
  llvm::append_range(*constraints, liveness.countConstraints);
  for (const ShapeConstraint &constraint : *constraints)
    if (failed(addConstraint(constraint, 0, function.getLoc())))
      return failure();
  return success();
}

FailureOr<uint32_t> TableBuilder::addConstraint(const ShapeConstraint &constraint, uint32_t flags, Location loc) {
  FailureOr<uint32_t> lhs = getExpr(constraint.lhs, loc), rhs = getExpr(constraint.rhs, loc);
  if (failed(lhs) || failed(rhs))
    return failure();
  t.constraints.push_back({*lhs, uint32_t(constraint.relation), *rhs, constraint.reason, flags});
  return uint32_t(t.constraints.size() - 1);
}

/// Where the canonical weights of all recipes come from.
static LogicalResult findSources(ModuleOp module, PlannedModel &model) {
  model.sources.clear();
  llvm::StringMap<bool> used;
  for (const Recipe &recipe : model.recipes)
    for (const Recipe::Node &node : recipe.nodes)
      if (node.op == Recipe::Op::Weight)
        used[node.name] = true;
  llvm::StringMap<lm::WeightOp> seen;
  // Those of branches and loops, too: they are functions of their own.
  WalkResult walked = module.walk([&](lm::WeightOp weight) {
    if (!used.count(weight.getName()))
      return WalkResult::advance();
    auto [it, isNew] = seen.try_emplace(weight.getName(), weight);
    if (!isNew && it->second.getSource() != weight.getSource()) {
      weight.emitError() << "expected one weight of the name '" << weight.getName() << "', but got two";
      return WalkResult::interrupt();
    }
    if (isNew)
      model.sources.emplace_back(weight.getName().str(), weight);
    return WalkResult::advance();
  });
  if (walked.wasInterrupted())
    return failure();
  return success();
}

FailureOr<PlannedModel> TableBuilder::build() {
  FailureOr<Liveness> computed = computeLiveness(function);
  if (failed(computed))
    return failure();
  liveness = std::move(*computed);
  if (failed(addSymbols()) || failed(addCaches()) || failed(addInterface()) || failed(addSteps()) ||
      failed(addIndexChecks()))
    return failure();
  Operation *end = function.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(end->getOperands())) {
    FailureOr<uint32_t> tensor = addTensor(t.outputs, getName("output", i), value);
    FailureOr<uint32_t> buffer = getBuffer(value);
    if (failed(tensor) || failed(buffer))
      return failure();
    t.outputs[*tensor].buffer = *buffer;
  }
  if (failed(addConstraints()) || failed(addDataSymbols()))
    return failure();
  FailureOr<uint32_t> scratchBytes = getExpr(bounded(scratch), function.getLoc());
  if (failed(scratchBytes))
    return failure();
  t.scratchBytes = *scratchBytes;
  auto modelName = function->getParentOfType<ModuleOp>()->getAttrOfType<StringAttr>("lm.model_name");
  t.name = modelName ? modelName.str() : function.getName().str();
  model.recipes = shared.recipes;
  t.weights = shared.weights;
  t.weightsSize = shared.size;
  if (failed(findSources(function->getParentOfType<ModuleOp>(), model)))
    return failure();
  SmallVector<Operation *> kernels;
  for (const PlanStep &step : liveness.program)
    kernels.push_back(step.control == LLMOPT_CONTROL_NONE ? step.op : nullptr);
  t.metadata = writeMetadata(function, model, kernels);
  PlannedModel built = std::move(model);
  t.exprs = built.tables.exprs; // getArgumentExpr goes on from here
  t.exprCode = built.tables.exprCode;
  return std::move(built);
}

FailureOr<uint32_t> TableBuilder::getArgumentExpr(unsigned argument, StringRef attribute) {
  auto values = function.getArgAttrOfType<lm::SymValuesAttr>(argument, attribute);
  return values ? getExpr(lm::getExprs(values)[0], function.getLoc()) : FailureOr<uint32_t>(LLMOPT_NONE);
}

namespace {

/// An entry of a model beside @main.
struct Entry {
  func::FuncOp function;
  TableBuilder builder;
  ModelTables &tables;

  uint32_t findInput(StringRef name) const {
    for (auto [i, input] : llvm::enumerate(tables.inputs))
      if (input.name == name)
        return uint32_t(i);
    return LLMOPT_NONE;
  }
  LogicalResult build() {
    FailureOr<PlannedModel> planned = builder.build();
    if (succeeded(planned))
      tables = std::move(planned->tables);
    return planned;
  }
  /// How many classes the labels of this name have.
  FailureOr<uint32_t> getClasses(StringRef name) {
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      if (function.getArgAttrOfType<StringAttr>(i, "lm.name") == name) {
        FailureOr<uint32_t> expr = builder.getArgumentExpr(i, "lm.classes");
        builder.moveExprsTo(tables);
        return expr;
      }
    return LLMOPT_NONE;
  }
};

} // namespace

/// Which inputs and outputs of the entries are parameters, labels and hyper-parameters.
static LogicalResult describeTraining(Entry &gradients, Entry &evaluate, TrainingTables &training) {
  func::FuncOp function = gradients.function;
  if (auto loss = function->getAttrOfType<StringAttr>("lm.loss"))
    training.loss = loss.str();
  uint32_t output = 2; // behind loss and loss_weight
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    auto role = function.getArgAttrOfType<StringAttr>(i, "lm.role");
    auto name = function.getArgAttrOfType<StringAttr>(i, "lm.name");
    if (!role || !name)
      continue;
    uint32_t first = gradients.findInput(name), second = evaluate.findInput(name);
    if (role == "parameter") {
      bool decays = cast<RankedTensorType>(function.getArgument(i).getType()).getRank() > 1;
      training.parameters.push_back({name.str(), first, output++, second, decays ? LLMOPT_PARAMETER_DECAYS : 0});
    } else if (role == "hyper") {
      auto byDefault = function.getArgAttrOfType<FloatAttr>(i, "lm.default");
      training.hypers.push_back({name.str(), first, second, byDefault ? byDefault.getValueAsDouble() : 0});
    } else {
      FailureOr<uint32_t> a = gradients.getClasses(name), b = evaluate.getClasses(name);
      if (failed(a) || failed(b))
        return failure();
      training.labels.push_back({name.str(), first, second, *a, *b});
    }
  }
  return success();
}

FailureOr<PlannedModel> llmopt::buildTables(func::FuncOp function, StepEmitter &emitter) {
  WeightTable weights;
  FailureOr<PlannedModel> model = TableBuilder(function, emitter, weights).build();
  auto module = function->getParentOfType<ModuleOp>();
  auto forGradients = module.lookupSymbol<func::FuncOp>("gradients");
  auto forEvaluation = module.lookupSymbol<func::FuncOp>("evaluate");
  if (failed(model) || function.getName() != "main" || !forGradients || !forEvaluation)
    return model;
  auto training = std::make_shared<TrainingTables>();
  Entry gradients{forGradients, {forGradients, emitter, weights}, training->gradients};
  Entry evaluate{forEvaluation, {forEvaluation, emitter, weights}, training->evaluate};
  if (failed(gradients.build()) || failed(evaluate.build()) || failed(describeTraining(gradients, evaluate, *training)))
    return failure();
  for (ModelTables *tables : {&model->tables, &training->gradients, &training->evaluate}) {
    tables->weights = weights.weights;
    tables->weightsSize = weights.size;
  }
  model->recipes = std::move(weights.recipes);
  if (failed(findSources(module, *model)))
    return failure();
  model->tables.training = std::move(training);
  return model;
}
