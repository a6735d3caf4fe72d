// Blocks of operations, branches and loops.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

/// A loop of more iterations is taken for one without end.
static constexpr int64_t kMaxIterations = int64_t(1) << 24;

namespace {

using Values = SmallVector<Tensor>;

/// The operands of an operation, and what its regions see of the values around.
SmallVector<Value> getReads(Operation *op) {
  SmallVector<Value> reads(op->getOperands());
  llvm::SetVector<Value> captured;
  for (Region &region : op->getRegions())
    getUsedValuesDefinedAbove(region, captured);
  reads.append(captured.begin(), captured.end());
  return reads;
}

/// Binds the symbol to the number; one beyond its bound is an error.
LogicalResult defineSymbol(DefineSymbolOp op, const Tensor &value, SymbolBindings &bindings) {
  llvm::Expected<Dims> bound = requireValues(op.getBound(), bindings);
  if (!bound)
    return op.emitError() << llvm::toString(bound.takeError());
  int64_t number = value.getNumElements() == 1 ? value.ints()[0] : -1;
  if (number < 0 || number > bound->front())
    return op.emitError() << "expected '" << op.getSymbol() << "' in [0, " << bound->front() << "], but got " << number;
  bindings[op.getSymbol()] = number;
  return success();
}

/// Folding puts constants in front, where what symbols count may not be known yet:
/// these are evaluated where they are used.
bool isSymbolic(Operation *op) {
  auto constant = dyn_cast_or_null<ConstantOp>(op);
  return constant && isa<SymValuesAttr>(constant.getValue());
}

/// The values of one run of a block. A value is dropped after its last use, so
/// that peak memory follows liveness.
class Frame {
public:
  Frame(Block &block, const Frame *parent, const SymbolBindings &bindings)
      : block(block), parent(parent), bindings(bindings) {
    for (Operation &op : block)
      for (Value value : getReads(&op))
        ++usesLeft[value];
  }

  FailureOr<Values> run(ArrayRef<Tensor> arguments);

private:
  Tensor lookup(Value value) const {
    for (const Frame *frame = this; frame; frame = frame->parent)
      if (auto it = frame->values.find(value); it != frame->values.end())
        return it->second;
    if (isSymbolic(value.getDefiningOp()))
      if (FailureOr<Values> constant = evaluateOp(value.getDefiningOp(), {}, bindings); succeeded(constant))
        return constant->front();
    return {};
  }
  void define(Value value, const Tensor &tensor) {
    if (usesLeft.lookup(value))
      values[value] = tensor;
  }
  FailureOr<Values> runOp(Operation *op, ArrayRef<Tensor> operands);
  FailureOr<Values> runLoop(LoopOp loop);

  Block &block;
  const Frame *parent;
  SymbolBindings bindings; // and what the block defines
  llvm::DenseMap<Value, Tensor> values;
  llvm::DenseMap<Value, size_t> usesLeft;
};

/// Rows one behind the other along a new first dimension; `type` says what a
/// row is where there is none.
Result stack(ArrayRef<Tensor> rows, RankedTensorType type, const SymbolBindings &bindings) {
  Dims dims{static_cast<int64_t>(rows.size())};
  if (rows.empty()) {
    for (std::optional<int64_t> dim : llvm::drop_begin(resolveDims(type, bindings)))
      dims.push_back(dim.value_or(0));
    return Tensor::create(type.getElementType(), dims);
  }
  dims.append(rows[0].getDims().begin(), rows[0].getDims().end());
  Result result = Tensor::create(type.getElementType(), dims);
  if (!result)
    return result;
  int64_t count = rows[0].getNumElements();
  for (auto [i, row] : llvm::enumerate(rows)) {
    if (row.getDims() != rows[0].getDims())
      return fail("expected rows of one shape, but got [{0}] and [{1}]", text(rows[0].getDims()), text(row.getDims()));
    ElementCopier(*result, row).copy(i * count, 0, count);
  }
  return result;
}

} // namespace

FailureOr<Values> Frame::runLoop(LoopOp loop) {
  Type i64 = IntegerType::get(loop.getContext(), 64);
  int64_t limit = loop.getTripCount() ? lookup(loop.getTripCount()).ints()[0] : INT64_MAX;
  bool goOn = !loop.getCondition() || lookup(loop.getCondition()).ints()[0];
  Values states;
  for (Value init : loop.getInits())
    states.push_back(lookup(init));
  std::vector<Values> rows(loop.getNumScans());
  Block &body = loop.getBody().front();
  for (int64_t i = 0; i < limit && goOn; ++i) {
    if (i == kMaxIterations)
      return loop.emitError() << "the loop does not end within " << kMaxIterations << " iterations";
    llvm::Expected<Tensor> number = Tensor::fromInts(i64, {}, {i});
    if (!number)
      return loop.emitError() << llvm::toString(number.takeError());
    Values arguments{*number};
    arguments.append(states);
    FailureOr<Values> results = Frame(body, this, bindings).run(arguments);
    if (failed(results))
      return failure();
    goOn = (*results)[0].ints()[0];
    std::copy_n(results->begin() + 1, states.size(), states.begin());
    for (size_t j = 0; j < rows.size(); ++j)
      rows[j].push_back((*results)[1 + states.size() + j]);
  }
  for (size_t j = 0; j < rows.size(); ++j) {
    if (loop.getReverseRows()[j])
      std::reverse(rows[j].begin(), rows[j].end());
    Result stacked =
        stack(rows[j], cast<RankedTensorType>(loop.getResult(loop.getNumStates() + j).getType()), bindings);
    if (!stacked)
      return loop.emitError() << llvm::toString(stacked.takeError());
    states.push_back(*stacked);
  }
  return states;
}

FailureOr<Values> Frame::runOp(Operation *op, ArrayRef<Tensor> operands) {
  if (auto branch = dyn_cast<IfOp>(op)) {
    Region &taken = operands[0].ints()[0] ? branch.getThenRegion() : branch.getElseRegion();
    return Frame(taken.front(), this, bindings).run({});
  }
  if (auto loop = dyn_cast<LoopOp>(op))
    return runLoop(loop);
  return evaluateOp(op, operands, bindings);
}

FailureOr<Values> Frame::run(ArrayRef<Tensor> arguments) {
  for (auto [argument, tensor] : llvm::zip(block.getArguments(), arguments))
    define(argument, tensor);
  for (Operation &op : block) {
    if (isSymbolic(&op))
      continue;
    Values operands;
    for (Value operand : op.getOperands())
      operands.push_back(lookup(operand));
    if (op.hasTrait<OpTrait::IsTerminator>())
      return operands;
    if (auto symbol = dyn_cast<DefineSymbolOp>(op)) {
      if (failed(defineSymbol(symbol, operands[0], bindings)))
        return failure();
      continue;
    }
    FailureOr<Values> results = runOp(&op, operands);
    if (failed(results))
      return failure();
    operands.clear();
    for (Value value : getReads(&op))
      if (--usesLeft[value] == 0)
        values.erase(value);
    for (auto [value, tensor] : llvm::zip(op.getResults(), *results))
      define(value, tensor);
  }
  return block.getParentOp()->emitError() << "expected a block that ends in a terminator";
}

FailureOr<Values> eval::evaluateBlock(Block &block, ArrayRef<Tensor> arguments, const SymbolBindings &bindings) {
  return Frame(block, nullptr, bindings).run(arguments);
}
