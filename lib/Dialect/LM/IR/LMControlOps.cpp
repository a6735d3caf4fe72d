// Constraints of branches and loops, and branches whose condition is known.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

static bool isScalar(Value value) {
  for (const SymExpr &dim : getDims(value))
    if (!dim.isConstant(1))
      return false;
  return true;
}

/// The values that a region yields; failure after a report.
static FailureOr<ValueRange> getYielded(Operation *op, Region &region) {
  if (!region.empty() && !region.front().empty())
    if (auto yield = dyn_cast<YieldOp>(region.front().back()))
      return ValueRange(yield.getValues());
  return op->emitOpError() << "expected regions that end in lm.yield";
}

/// The one element of a constant of booleans.
static std::optional<bool> getKnownBool(Value value) {
  std::optional<SmallVector<SymExpr>> known = getSymbolicValue(value);
  if (!known || known->size() != 1 || !known->front().getConstant())
    return std::nullopt;
  return *known->front().getConstant() != 0;
}

//===- Branches --------------------------------------------------------------===//

LogicalResult IfOp::verify() {
  if (!isScalar(getCondition())) // (C1)
    return emitOpError() << "expected a condition of one element, but got " << getCondition().getType();
  for (Region *region : {&getThenRegion(), &getElseRegion()}) { // (C2)
    FailureOr<ValueRange> values = getYielded(*this, *region);
    if (failed(values))
      return failure();
    if (!region->front().getArguments().empty() || !areCompatibleTypes(values->getTypes(), getResultTypes()))
      return emitOpError() << "expected branches that give " << getResultTypes() << ", but got " << values->getTypes();
  }
  return success();
}

LogicalResult IfOp::canonicalize(IfOp op, PatternRewriter &rewriter) {
  std::optional<bool> condition = getKnownBool(op.getCondition());
  // What only this branch asks for of shapes has no place outside of it.
  if (!condition || op->hasAttr(*condition ? "lm.then_constraints" : "lm.else_constraints"))
    return failure();
  Block &block = (*condition ? op.getThenRegion() : op.getElseRegion()).front();
  auto yield = cast<YieldOp>(block.getTerminator());
  for (auto [value, result] : llvm::zip(yield.getValues(), op.getResults()))
    if (value.getType() != result.getType())
      return failure();
  SmallVector<Value> values(yield.getValues());
  rewriter.eraseOp(yield);
  rewriter.inlineBlockBefore(&block, op);
  rewriter.replaceOp(op, values);
  return success();
}

//===- Loops -----------------------------------------------------------------===//

SymExpr LoopOp::getKnownTrips() {
  std::optional<SmallVector<SymExpr>> known = getTripCount() ? getSymbolicValue(getTripCount()) : std::nullopt;
  if (!known || known->size() != 1)
    return SymExpr::unknown();
  std::optional<int64_t> least = known->front().lowerBound();
  return least && *least >= 0 ? known->front() : SymExpr::max(known->front(), 0);
}

bool LoopOp::mayStopEarly() {
  if (getCondition() && getKnownBool(getCondition()) != true)
    return true;
  return getKnownBool(cast<YieldOp>(getBody().front().getTerminator()).getValues().front()) != true;
}

LogicalResult LoopOp::verify() {
  for (Value control : {Value(getTripCount()), Value(getCondition())}) // (C1)
    if (control && !isScalar(control))
      return emitOpError() << "expected a trip count and a condition of one element, but got " << control.getType();
  if (getTripCount() && !getElementTypeOrSelf(getTripCount()).isSignlessInteger(64))
    return emitOpError() << "expected a trip count of i64, but got " << getTripCount().getType();
  Block &block = getBody().front();
  SmallVector<Type> inits(getInits().getTypes()), arguments(block.getArgumentTypes()), results(getResultTypes());
  if (block.getNumArguments() != inits.size() + 1 || getNumResults() < inits.size() || // (C2)
      block.getArgument(0).getType() != RankedTensorType::get({}, IntegerType::get(getContext(), 64)) ||
      !areCompatibleTypes(TypeRange(arguments).drop_front(), inits))
    return emitOpError() << "expected a region over the iteration and the states, but got one over " << arguments;
  FailureOr<ValueRange> values = getYielded(*this, getBody());
  if (failed(values))
    return failure();
  if (values->size() != getNumResults() + 1 || !getElementTypeOrSelf(values->front()).isInteger(1) || // (C3)
      !isScalar(values->front()) ||
      !areCompatibleTypes(values->drop_front().take_front(inits.size()).getTypes(), inits) ||
      !areCompatibleTypes(TypeRange(results).take_front(inits.size()), inits))
    return emitOpError() << "expected the condition, the states and " << getNumScans() << " rows, but got "
                         << values->getTypes();
  for (auto [row, result] : llvm::zip(values->drop_front(1 + inits.size()), getResults().drop_front(inits.size()))) {
    SmallVector<SymExpr> dims = getDims(row), whole = getDims(result);
    if (whole.size() != dims.size() + 1 || getElementTypeOrSelf(row) != getElementTypeOrSelf(result))
      return emitOpError() << "expected rows of " << result.getType() << ", but got " << row.getType();
  }
  if (getReverseRows().size() != getNumScans()) // (C4)
    return emitOpError() << "expected " << getNumScans() << " entries in reverse_rows, but got "
                         << getReverseRows().size();
  if (llvm::is_contained(getReverseRows(), true) && (getKnownTrips().isUnknown() || mayStopEarly()))
    return emitOpError() << "expected reversed rows only where shapes give the trip count";
  return success();
}
