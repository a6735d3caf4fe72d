// Live ranges, views and in-place results.
#include "llmopt/CodeGen/Plan/Liveness.h"

#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using lm::getDims;
using lm::SymExpr;

bool llmopt::isStep(Operation *op) {
  return isa<kernel::KernelDialect>(op->getDialect()) && !isa<kernel::ViewOp, kernel::PackOp, kernel::YieldOp>(op);
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
    if (!isElementwise(&op) || result.size() != dims.size() ||
        !std::equal(result.begin(), result.end(), dims.begin()))
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
  if (auto norm = dyn_cast<kernel::NormOp>(op))
    return !norm.getSum() && (value == norm.getInput() || value == norm.getResidual());
  if (isa<kernel::SoftmaxOp>(op))
    return true;
  if (auto loops = dyn_cast<kernel::LoopsOp>(op))
    return isReadAtOwnIndex(loops.getBody().getArgument(operand.getOperandNumber()), getDims(loops->getResult(0)));
  return false;
}

Liveness llmopt::computeLiveness(func::FuncOp function) {
  Liveness result;
  Block &block = function.getBody().front();
  Operation *end = block.getTerminator();
  for (Operation &op : block)
    if (isStep(&op))
      result.steps.push_back(&op);
  uint32_t numSteps = result.steps.size(), lastStep = numSteps ? numSteps - 1 : 0;
  DenseMap<Operation *, uint32_t> indexOf;
  for (auto [i, op] : llvm::enumerate(result.steps))
    indexOf[op] = i;

  // Last uses, those of views included.
  DenseMap<Value, uint32_t> lastUse;
  for (Operation &op : llvm::reverse(block)) {
    for (Value operand : op.getOperands()) {
      uint32_t use = &op == end                ? lastStep
                     : indexOf.count(&op)      ? indexOf[&op]
                     : op.getNumResults() == 1 ? lastUse.lookup(op.getResult(0))
                                               : 0;
      uint32_t &last = lastUse[operand];
      last = std::max(last, use);
    }
  }

  // Outputs: a returned result of a step, whole, is written to the caller's memory.
  for (OpOperand &returned : end->getOpOperands()) {
    Value value = returned.get();
    while (auto view = value.getDefiningOp<kernel::ViewOp>()) {
      if (!lm::getExprs(view.getOffset())[0].isConstant(0) || !haveEqualBytes(view.getInput(), value))
        break;
      value = view.getInput();
    }
    if (Operation *op = value.getDefiningOp(); op && indexOf.count(op))
      result.outputs.try_emplace(value, returned.getOperandNumber());
  }

  for (Operation &op : block) {
    if (auto view = dyn_cast<kernel::ViewOp>(op)) {
      result.storage[view.getResult()] = result.getStorage(view.getInput());
      continue;
    }
    auto step = indexOf.find(&op);
    if (step == indexOf.end())
      continue;
    if (auto append = dyn_cast<kernel::KVAppendOp>(op)) {
      result.storage[append.getResult()] = append.getCache();
      continue;
    }
    uint32_t now = step->second;
    for (Value value : op.getResults())
      result.ranges[value] = {now, std::max(now, lastUse.lookup(value))};
    Value written = op.getResult(0);
    if (result.outputs.count(written))
      continue;
    for (OpOperand &operand : op.getOpOperands()) {
      Value storage = result.getStorage(operand.get());
      auto range = result.ranges.find(storage);
      if (range == result.ranges.end() || range->second.last != now || result.outputs.count(storage) ||
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
  return result;
}
