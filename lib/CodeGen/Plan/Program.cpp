// The order of steps. A branch becomes jumps around the steps of two functions, a
// repetition a jump back; what the runtime does between kernels is a step, too.
#include "Program.h"

#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

static bool isKnown(Value value) {
  return llvm::none_of(getDims(value), [](const SymExpr &dim) { return dim.isUnknown(); });
}

Value plan::getWhole(Value value) {
  while (auto view = value.getDefiningOp<kernel::ViewOp>()) {
    if (!lm::getExprs(view.getOffset())[0].isConstant(0) ||
        lm::getNumElements(view.getInput().getType()) != lm::getNumElements(value.getType()))
      break;
    value = view.getInput();
  }
  return value;
}

static SymExpr countBytes(Value value) {
  return lm::getNumElements(value.getType()) * SymExpr(int64_t(getDTypeBytes(getDType(getElementTypeOrSelf(value)))));
}

FailureOr<SmallVector<SymExpr>> llmopt::getLargestDims(Value value) {
  SmallVector<SymExpr> dims = getDims(value);
  if (isKnown(value))
    return dims;
  auto result = dyn_cast<OpResult>(value);
  Operation *op = result ? result.getOwner() : nullptr;
  auto returnedBy = [&](StringRef name) {
    auto function = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, StringAttr::get(op->getContext(), name));
    return function.getBody().front().getTerminator()->getOperand(result.getResultNumber());
  };
  if (auto branch = dyn_cast_or_null<kernel::BranchOp>(op)) {
    FailureOr<SmallVector<SymExpr>> a = getLargestDims(returnedBy(branch.getThenFunction()));
    FailureOr<SmallVector<SymExpr>> b = getLargestDims(returnedBy(branch.getElseFunction()));
    if (failed(a) || failed(b))
      return failure();
    for (auto [dim, x, y] : llvm::zip(dims, *a, *b))
      if (dim.isUnknown())
        dim = SymExpr::max(x, y);
    return dims;
  }
  if (auto repeat = dyn_cast_or_null<kernel::RepeatOp>(op))
    if (auto bound = repeat->getAttrOfType<lm::SymValuesAttr>("kernel.largest_trips")) {
      dims[0] = lm::getExprs(bound)[0];
      if (llvm::none_of(dims, [](const SymExpr &dim) { return dim.isUnknown(); }))
        return dims;
    }
  return emitError(value.getLoc()) << "expected a value whose size has a limit that shapes give, but got "
                                   << value.getType()
                                   << "; scan outputs of a loop need a trip count that does not depend on data";
}

uint32_t Program::add(PlanStep step) {
  liveness.program.push_back(std::move(step));
  return next() - 1;
}

FailureOr<func::FuncOp> Program::find(Operation *op, StringRef name, bool again) {
  auto function = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, StringAttr::get(op->getContext(), name));
  if (!function || function.isExternal())
    return op->emitError() << "expected a function @" << name;
  if (!again && llvm::is_contained(functions, function))
    return op->emitError() << "expected @" << name << " to be called from one place";
  return function;
}

LogicalResult Program::addChecks(func::FuncOp function) {
  FailureOr<std::vector<ShapeConstraint>> constraints = collectConstraints(function);
  if (failed(constraints))
    return failure();
  std::set<std::string> counted;
  for (auto symbol : function.getOps<kernel::DefineSymbolOp>())
    counted.insert(symbol.getSymbol().str());
  for (const ShapeConstraint &constraint : *constraints) {
    std::set<std::string> symbols;
    constraint.lhs.collectSymbols(symbols);
    constraint.rhs.collectSymbols(symbols);
    if (llvm::any_of(symbols, [&](const std::string &name) { return counted.count(name); })) {
      liveness.countConstraints.push_back(constraint);
      continue;
    }
    bool isKnown = llvm::any_of(known, [&](const ShapeConstraint &other) {
      return other.lhs == constraint.lhs && other.rhs == constraint.rhs && other.relation == constraint.relation;
    });
    if (isKnown)
      continue;
    PlanStep step{function, LLMOPT_CONTROL_CHECK};
    step.constraint = constraint;
    add(std::move(step));
  }
  return success();
}

/// The shape of an output that depends on which way a run goes.
void Program::stateShape(Value result, Value value) {
  auto output = outputOf.find(result);
  if (output == outputOf.end())
    return;
  if (!isKnown(value))
    return;
  PlanStep step{result.getDefiningOp(), LLMOPT_CONTROL_SHAPE};
  step.dims = getDims(value);
  step.target = output->second;
  add(std::move(step));
}

LogicalResult Program::addBranch(kernel::BranchOp op) {
  PlanStep enter{op, LLMOPT_CONTROL_BRANCH};
  enter.args = {op.getCondition()};
  uint32_t branch = add(std::move(enter)), jump = 0;
  StringRef names[] = {op.getThenFunction(), op.getElseFunction()};
  for (int i = 0; i < 2; ++i) {
    FailureOr<func::FuncOp> function = find(op, names[i]);
    if (failed(function))
      return failure();
    Block &block = function->getBody().front();
    for (auto [argument, operand] : llvm::zip(block.getArguments(), op.getCaptures()))
      liveness.arguments[argument] = operand;
    for (auto [result, value] : llvm::zip(op.getResults(), block.getTerminator()->getOperands())) {
      returned[getWhole(value)] = result;
      if (auto output = outputOf.find(result); output != outputOf.end() && !isKnown(value))
        outputOf[getWhole(value)] = output->second; // a branch or repetition in turn
    }
    if (failed(addFunction(*function)))
      return failure();
    for (auto [result, value] : llvm::zip(op.getResults(), block.getTerminator()->getOperands()))
      stateShape(result, value);
    if (i == 0) {
      jump = add({op, LLMOPT_CONTROL_JUMP});
      liveness.program[branch].target = next();
    }
  }
  // A number that is read behind the last step is not read where the other way ends.
  auto last = *find(op, op.getElseFunction(), /*again=*/true);
  if (!last.getOps<kernel::DefineSymbolOp>().empty()) {
    uint32_t end = add({op, LLMOPT_CONTROL_JUMP});
    liveness.program[end].target = next();
  }
  liveness.program[jump].target = next();
  return success();
}

LogicalResult Program::addRepeat(kernel::RepeatOp op) {
  FailureOr<func::FuncOp> function = find(op, op.getBody());
  if (failed(function))
    return failure();
  Block &block = function->getBody().front();
  size_t states = op.getInits().size();
  ValueRange yielded = block.getTerminator()->getOperands();
  Value counter = block.getArgument(0), condition = op.getConditional() ? yielded.front() : Value();
  ValueRange values = yielded.drop_front(op.getConditional() ? 1 : 0);
  heldBy[counter] = op;
  auto copy = [&](Value to, Value from) {
    PlanStep step{op, LLMOPT_CONTROL_COPY};
    step.args = {to, from};
    step.dims = {countBytes(from)};
    add(std::move(step));
  };

  PlanStep reset{op, LLMOPT_CONTROL_RESET};
  reset.args = {counter};
  add(std::move(reset));
  for (auto [i, init] : llvm::enumerate(op.getInits())) {
    liveness.arguments[block.getArgument(1 + i)] = op.getResult(i);
    copy(op.getResult(i), init);
  }
  for (auto [argument, operand] : llvm::zip(block.getArguments().drop_front(1 + states), op.getCaptures()))
    liveness.arguments[argument] = operand;
  // The condition is kept where the body computes it.
  if (condition) {
    heldBy[getWhole(condition)] = op;
    copy(condition, op.getCondition());
  }
  PlanStep head{op, LLMOPT_CONTROL_LOOP};
  head.args = {counter, op.getTripCount(), condition ? condition : op.getCondition()};
  uint32_t start = add(std::move(head));
  if (failed(addFunction(*function)))
    return failure();
  // Rows first: they may be states as they were.
  for (auto [j, row] : llvm::enumerate(values.drop_front(states))) {
    PlanStep step{op, LLMOPT_CONTROL_COPY};
    step.args = {op.getResult(states + j), row, counter};
    step.dims = {countBytes(row), 0, 1};
    if (op.getReverseRows()[j])
      step.dims = {countBytes(row), getDims(op.getResult(states + j))[0] - SymExpr(1), -1};
    add(std::move(step));
  }
  for (size_t i = 0; i < states; ++i)
    if (getWhole(values[i]) != block.getArgument(1 + i))
      copy(op.getResult(i), values[i]);
  PlanStep again{op, LLMOPT_CONTROL_NEXT};
  again.args = {counter};
  again.target = start;
  bodies[*function] = {start, add(std::move(again))};
  liveness.program[start].target = next();
  for (Value result : op.getResults().drop_front(states)) {
    auto output = outputOf.find(result);
    if (output == outputOf.end())
      continue;
    PlanStep shape{op, LLMOPT_CONTROL_SHAPE};
    shape.args = {counter};
    shape.dims = getDims(result);
    shape.dims[0] = 0;
    shape.target = output->second;
    add(std::move(shape));
  }
  return success();
}

LogicalResult Program::addFunction(func::FuncOp function) {
  functions.push_back(function);
  starts[function] = next();
  if (functions.size() > 1 && failed(addChecks(function)))
    return failure();
  for (Operation &op : function.getBody().front()) {
    if (!isStep(&op))
      continue;
    Span span;
    span.first = next();
    if (auto branch = dyn_cast<kernel::BranchOp>(op)) {
      if (failed(addBranch(branch)))
        return failure();
    } else if (auto repeat = dyn_cast<kernel::RepeatOp>(op)) {
      if (failed(addRepeat(repeat)))
        return failure();
    } else {
      add({&op});
    }
    span.last = next() - 1;
    spans[&op] = span;
  }
  return success();
}

LogicalResult Program::build(func::FuncOp main) {
  for (OpOperand &operand : main.getBody().front().getTerminator()->getOpOperands())
    if (!isKnown(operand.get()))
      outputOf[operand.get()] = operand.getOperandNumber();
  FailureOr<std::vector<ShapeConstraint>> constraints = collectConstraints(main);
  if (failed(constraints))
    return failure();
  known = std::move(*constraints);
  return addFunction(main);
}
