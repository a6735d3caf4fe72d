// Live ranges, views and in-place results.
#include "llmopt/CodeGen/Plan/Liveness.h"

#include "Program.h"

#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

bool llmopt::isStep(Operation *op) {
  return isa<kernel::KernelDialect>(op->getDialect()) &&
         !isa<kernel::ViewOp, kernel::PackOp, kernel::PackGroupsOp, kernel::ColumnSumsOp, kernel::YieldOp,
              kernel::DefineSymbolOp>(op);
}

Value Liveness::getStorage(Value value) const {
  for (auto it = storage.find(value); it != storage.end() && it->second != value; it = storage.find(value))
    value = it->second;
  return value;
}

static bool haveEqualBytes(Value a, Value b) {
  return getElementTypeOrSelf(a).getIntOrFloatBitWidth() == getElementTypeOrSelf(b).getIntOrFloatBitWidth() &&
         lm::getNumElements(a.getType()) == lm::getNumElements(b.getType());
}

/// Every use of the argument inside of the region is at the index of the result.
static bool isReadAtOwnIndex(BlockArgument argument, ArrayRef<SymExpr> dims) {
  SmallVector<SymExpr> own = getDims(argument);
  if (own.size() != dims.size() || !std::equal(own.begin(), own.end(), dims.begin()))
    return false;
  // Elementwise operations of the result's shape all the way down.
  for (Operation &op : argument.getOwner()->without_terminator()) {
    if (isa<lm::ConstantOp>(op))
      continue;
    SmallVector<SymExpr> result = getDims(op.getResult(0));
    if (!isElementwise(&op) || result.size() != dims.size() || !std::equal(result.begin(), result.end(), dims.begin()))
      return false;
  }
  return true;
}

bool llmopt::mayWriteInPlace(OpOperand &operand) {
  Operation *op = operand.getOwner();
  Value value = operand.get();
  if (auto gemm = dyn_cast<kernel::GemmOp>(op))
    return value == gemm.getResidual() && value != gemm.getInput();
  if (auto gemm = dyn_cast<kernel::GemmS8Op>(op))
    return value == gemm.getResidual() && value != gemm.getInputScale();
  if (auto gemm = dyn_cast<kernel::GemmF8Op>(op))
    return value == gemm.getResidual() && value != gemm.getInputScale();
  if (auto gemm = dyn_cast<kernel::GemmW4A8Op>(op))
    return value == gemm.getResidual() && value != gemm.getInputScale();
  if (auto gemm = dyn_cast<kernel::GemmWQOp>(op))
    return value == gemm.getResidual() && value != gemm.getInput();
  if (auto norm = dyn_cast<kernel::NormOp>(op))
    return !norm.getSum() && (value == norm.getInput() || value == norm.getResidual());
  if (auto norm = dyn_cast<kernel::NormQuantizedOp>(op))
    return !norm.getSum() && (value == norm.getInput() || value == norm.getResidual());
  if (auto norm = dyn_cast<kernel::NormQuantizedTensorOp>(op))
    return !norm.getSum() && (value == norm.getInput() || value == norm.getResidual());
  if (isa<kernel::SoftmaxOp>(op))
    return true;
  if (auto loops = dyn_cast<kernel::LoopsOp>(op))
    return isReadAtOwnIndex(loops.getBody().getArgument(operand.getOperandNumber()), getDims(loops->getResult(0)));
  return false;
}

/// Results of one function: their ranges, and which operand's memory they take.
static void addFunction(func::FuncOp function, const Program &program, Liveness &result, bool isMain) {
  Block &block = function.getBody().front();
  Operation *end = block.getTerminator();
  uint32_t numSteps = result.program.size(), lastStep = numSteps ? numSteps - 1 : 0;
  // What the body of a repetition returns is copied behind its last step.
  if (auto body = program.bodies.find(function); body != program.bodies.end())
    lastStep = body->second.last;
  else if (!isMain)
    lastStep = 0;
  auto spanOf = [&](Operation *op) {
    auto span = program.spans.find(op);
    return span == program.spans.end() ? nullptr : &span->second;
  };
  // A symbol's number is read when the steps before it are done.
  uint32_t done = program.starts.lookup(function);
  for (Operation &op : block) {
    if (const Span *span = spanOf(&op))
      done = span->last + 1;
    if (isa<kernel::DefineSymbolOp>(op)) {
      result.symbolSteps[&op] = done;
      result.symbols.push_back(&op);
    }
  }

  // Last uses, those of views included.
  DenseMap<Value, uint32_t> lastUse;
  for (Operation &op : llvm::reverse(block)) {
    for (Value operand : op.getOperands()) {
      const Span *span = spanOf(&op);
      uint32_t use = &op == end                        ? lastStep
                     : span                            ? span->last
                     : isa<kernel::DefineSymbolOp>(op) ? std::max<uint32_t>(result.symbolSteps.lookup(&op), 1) - 1
                     : op.getNumResults() == 1         ? lastUse.lookup(op.getResult(0))
                                                       : 0;
      uint32_t &last = lastUse[operand];
      last = std::max(last, use);
    }
  }

  // Outputs: a returned result of a step, whole, is written to the caller's memory.
  if (isMain)
    for (OpOperand &returned : end->getOpOperands()) {
      Value value = getWhole(returned.get());
      if (Operation *op = value.getDefiningOp(); op && spanOf(op))
        result.outputs.try_emplace(value, returned.getOperandNumber());
    }

  for (Operation &op : block) {
    if (auto view = dyn_cast<kernel::ViewOp>(op)) {
      result.storage[view.getResult()] = result.getStorage(view.getInput());
      continue;
    }
    const Span *span = spanOf(&op);
    if (!span)
      continue;
    if (auto append = dyn_cast<kernel::KVAppendOp>(op)) {
      result.storage[append.getResult()] = append.getCache();
      continue;
    }
    for (Value value : op.getResults()) {
      if (auto held = program.heldBy.find(value); held != program.heldBy.end()) {
        const Span &holder = program.spans.find(held->second)->second;
        result.ranges[value] = {holder.first, holder.last};
      } else if (auto caller = program.returned.find(value); caller != program.returned.end()) {
        result.storage[value] = caller->second;
      } else {
        result.ranges[value] = {span->first, std::max(span->last, lastUse.lookup(value))};
      }
    }
    Value written = op.getNumResults() ? op.getResult(0) : Value();
    bool isOwn = written && result.ranges.count(written) && !program.heldBy.count(written);
    if (!isOwn || result.outputs.count(written) || isa<kernel::BranchOp, kernel::RepeatOp>(op))
      continue;
    for (OpOperand &operand : op.getOpOperands()) {
      Value storage = result.getStorage(operand.get());
      auto range = result.ranges.find(storage);
      if (range == result.ranges.end() || range->second.last != span->last || result.outputs.count(storage) ||
          storage.getParentBlock() != &block || program.heldBy.count(storage) ||
          !haveEqualBytes(operand.get(), storage) || !haveEqualBytes(storage, written))
        continue;
      // Whoever else reads this memory in the step must do so at the same index, too.
      bool allowed = llvm::all_of(op.getOpOperands(), [&](OpOperand &other) {
        return result.getStorage(other.get()) != storage || mayWriteInPlace(other);
      });
      if (!allowed)
        continue;
      result.storage[written] = storage;
      range->second.last = result.ranges[written].last;
      result.ranges.erase(written);
      break;
    }
  }
}

FailureOr<Liveness> llmopt::computeLiveness(func::FuncOp function) {
  Liveness result;
  Program program(result);
  if (failed(program.build(function)))
    return failure();
  for (auto [value, op] : program.heldBy)
    if (isa<BlockArgument>(value)) // a counter, which outlives the repetition by what states its count
      result.ranges[value] = {program.spans[op].first, program.spans[op].last};
  for (func::FuncOp called : program.functions)
    addFunction(called, program, result, called == function);
  llvm::stable_sort(result.symbols, [&](Operation *a, Operation *b) {
    return result.symbolSteps.lookup(a) < result.symbolSteps.lookup(b);
  });
  return std::move(result);
}
