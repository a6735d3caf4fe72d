// The regions of lm.if and lm.loop as functions, so that the partition meets
// functions of one block; and what such functions return, made fit for being
// written where the caller wants it.
#include "Partition.h"
#include "Program.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

namespace {

/// Weights, constants and expressions over them are repeated in the function,
/// where they make recipes as everywhere; equal recipes are one tensor.
bool isRepeated(Value value) { return isConstant(value) || isRecipe(value); }

Value repeatExpression(Value value, OpBuilder &builder, IRMapping &map) {
  if (Value done = map.lookupOrNull(value))
    return done;
  for (Value operand : value.getDefiningOp()->getOperands())
    repeatExpression(operand, builder, map);
  builder.clone(*value.getDefiningOp(), map);
  return map.lookup(value);
}

class Outliner {
public:
  explicit Outliner(ModuleOp module) : module(module), symbols(module) {}
  LogicalResult run();

private:
  LogicalResult outline(lm::IfOp op);
  LogicalResult outline(lm::LoopOp op);
  /// What the regions see of the values around, except what they repeat.
  SmallVector<Value> getCaptures(Operation *op);
  /// Moves a region into a function whose arguments are those of the region, then
  /// `captures`; it returns what the region yields from `firstYield` on.
  FlatSymbolRefAttr makeFunction(Operation *op, Region &region, ArrayRef<Value> captures, StringRef suffix,
                                 StringRef constraints, unsigned firstYield);
  LogicalResult checkUnknown(Operation *op);

  ModuleOp module;
  SymbolTable symbols;
  SmallVector<func::FuncOp> worklist;
};

} // namespace

SmallVector<Value> Outliner::getCaptures(Operation *op) {
  llvm::SetVector<Value> all;
  getUsedValuesDefinedAbove(op->getRegions(), all);
  SmallVector<Value> captures;
  for (Value value : all)
    if (!isRepeated(value))
      captures.push_back(value);
  return captures;
}

FlatSymbolRefAttr Outliner::makeFunction(Operation *op, Region &region, ArrayRef<Value> captures, StringRef suffix,
                                         StringRef constraints, unsigned firstYield) {
  auto parent = op->getParentOfType<func::FuncOp>();
  llvm::SetVector<Value> all;
  getUsedValuesDefinedAbove(region, all);
  Block &block = region.front();
  OpBuilder builder(op->getContext());
  builder.setInsertionPointToStart(&block);
  IRMapping map;
  for (Value value : all)
    if (isRepeated(value))
      replaceAllUsesInRegionWith(value, repeatExpression(value, builder, map), region);
  for (Value value : captures)
    replaceAllUsesInRegionWith(value, block.addArgument(value.getType(), value.getLoc()), region);
  Operation *yield = block.getTerminator();
  SmallVector<Value> results(yield->getOperands().drop_front(firstYield));
  builder.setInsertionPoint(yield);
  func::ReturnOp::create(builder, yield->getLoc(), results);
  yield->erase();

  auto type = builder.getFunctionType(block.getArgumentTypes(), ValueRange(results).getTypes());
  auto function = func::FuncOp::create(op->getLoc(), (parent.getName() + "_" + suffix).str(), type);
  function.setPrivate();
  function.getBody().takeBody(region);
  if (auto list = op->getAttr(constraints))
    function->setAttr("lm.constraints", list);
  symbols.insert(function);
  worklist.push_back(function);
  return FlatSymbolRefAttr::get(function);
}

static bool isKnown(Value value) {
  return llvm::none_of(getDims(value), [](const SymExpr &dim) { return dim.isUnknown(); });
}

/// Values whose size only a run tells go to outputs, which have room for the
/// largest, or get sizes that a symbol counts, and go nowhere else.
LogicalResult Outliner::checkUnknown(Operation *op) {
  for (Value result : op->getResults()) {
    if (isKnown(result))
      continue;
    for (Operation *user : result.getUsers())
      if (!user->hasTrait<OpTrait::IsTerminator>() && !(isa<lm::ReshapeOp>(user) && isKnown(user->getResult(0))))
        return op->emitError() << "expected a result whose shape depends on the data to be an output of the model, but "
                               << getNodeNames(user->getLoc()) << " reads it (" << result.getType() << ")";
  }
  return success();
}

LogicalResult Outliner::outline(lm::IfOp op) {
  if (failed(checkUnknown(op)))
    return failure();
  SmallVector<Value> captures = getCaptures(op);
  auto thenFunction = makeFunction(op, op.getThenRegion(), captures, "then", "lm.then_constraints", 0);
  auto elseFunction = makeFunction(op, op.getElseRegion(), captures, "else", "lm.else_constraints", 0);
  OpBuilder builder(op);
  auto branch = kernel::BranchOp::create(builder, op.getLoc(), op.getResultTypes(), op.getCondition(), captures,
                                         thenFunction, elseFunction);
  op.replaceAllUsesWith(branch.getResults());
  op.erase();
  return success();
}

/// The loop without the scan outputs that nobody reads.
static lm::LoopOp dropUnusedRows(lm::LoopOp op) {
  unsigned states = op.getNumStates();
  SmallVector<Value> kept;
  SmallVector<bool> reverse;
  for (auto [j, result] : llvm::enumerate(op.getResults().drop_front(states)))
    if (!result.use_empty()) {
      kept.push_back(result);
      reverse.push_back(op.getReverseRows()[j]);
    }
  if (kept.size() == op.getNumScans())
    return op;
  Operation *yield = op.getBody().front().getTerminator();
  for (unsigned i = op.getNumResults(); i-- > states;)
    if (op.getResult(i).use_empty())
      yield->eraseOperand(1 + i);
  SmallVector<Type> types(op.getResultTypes().begin(), op.getResultTypes().begin() + states);
  llvm::append_range(types, ValueRange(kept).getTypes());
  OpBuilder builder(op);
  auto smaller = lm::LoopOp::create(builder, op.getLoc(), types, op.getTripCount(), op.getCondition(), op.getInits(),
                                    builder.getDenseBoolArrayAttr(reverse));
  smaller->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  smaller.getBody().takeBody(op.getBody());
  for (unsigned i = 0; i < states; ++i)
    op.getResult(i).replaceAllUsesWith(smaller.getResult(i));
  for (auto [j, result] : llvm::enumerate(kept))
    result.replaceAllUsesWith(smaller.getResult(states + j));
  op.erase();
  return smaller;
}

LogicalResult Outliner::outline(lm::LoopOp op) {
  op = dropUnusedRows(op);
  if (failed(checkUnknown(op)))
    return failure();
  SmallVector<Value> captures = getCaptures(op);
  bool conditional = op.mayStopEarly();
  SymExpr trips = op.getKnownTrips();
  OpBuilder builder(op);
  Value condition = conditional ? Value(op.getCondition()) : Value();
  if (conditional && !condition)
    condition = lm::ConstantOp::create(
        builder, op.getLoc(),
        cast<TypedAttr>(DenseElementsAttr::get(RankedTensorType::get({}, builder.getI1Type()), ArrayRef<bool>{true})));
  auto body = makeFunction(op, op.getBody(), captures, "body", "lm.body_constraints", conditional ? 0 : 1);
  auto repeat =
      kernel::RepeatOp::create(builder, op.getLoc(), op.getResultTypes(), op.getTripCount(), condition, op.getInits(),
                               captures, body, builder.getBoolAttr(conditional), op.getReverseRowsAttr());
  if (!trips.isUnknown())
    repeat->setAttr("kernel.largest_trips", lm::getSymValues(op.getContext(), trips));
  op.replaceAllUsesWith(repeat.getResults());
  op.erase();
  return success();
}

LogicalResult Outliner::run() {
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isExternal() && function.getBody().hasOneBlock())
      worklist.push_back(function);
  LogicalResult result = success();
  while (!worklist.empty()) {
    func::FuncOp function = worklist.pop_back_val();
    for (Operation &op : llvm::make_early_inc_range(function.getBody().front())) {
      LogicalResult done = success();
      if (auto branch = dyn_cast<lm::IfOp>(op))
        done = outline(branch);
      else if (auto loop = dyn_cast<lm::LoopOp>(op))
        done = outline(loop);
      if (failed(done))
        result = failure();
    }
  }
  return result;
}

LogicalResult plan::outlineRegions(ModuleOp module) { return Outliner(module).run(); }

/// A step that copies the value.
static Value copyOf(Value value, Operation *before) {
  OpBuilder builder(before);
  OperationState state(before->getLoc(), kernel::LoopsOp::getOperationName());
  state.addOperands(value);
  state.addTypes(value.getType());
  state.addRegion();
  auto loops = cast<kernel::LoopsOp>(builder.create(state));
  Block &block = loops.getBody().emplaceBlock();
  Value inside = block.addArgument(value.getType(), value.getLoc());
  builder.setInsertionPointToStart(&block);
  OperationState same(before->getLoc(), lm::ReshapeOp::getOperationName());
  same.addOperands(inside);
  same.addTypes(value.getType());
  kernel::YieldOp::create(builder, before->getLoc(), builder.create(same)->getResult(0));
  return loops->getResult(0);
}

static bool isOwnStep(Value value, func::FuncOp function) {
  Operation *op = value.getDefiningOp();
  return op && op->getBlock() == &function.getBody().front() && isStep(op);
}

void plan::storeReturned(ModuleOp module) {
  module.walk([&](Operation *op) {
    if (auto branch = dyn_cast<kernel::BranchOp>(op)) {
      // Each result is written by a step of the branch, and by one only.
      for (StringRef name : {branch.getThenFunction(), branch.getElseFunction()}) {
        auto function = module.lookupSymbol<func::FuncOp>(name);
        Operation *end = function.getBody().front().getTerminator();
        llvm::DenseSet<Value> seen;
        for (OpOperand &operand : end->getOpOperands())
          if (Value whole = getWhole(operand.get()); !isOwnStep(whole, function) || !seen.insert(whole).second)
            operand.set(copyOf(operand.get(), end));
      }
    } else if (auto repeat = dyn_cast<kernel::RepeatOp>(op)) {
      // The condition is a step's; next states are no states of this iteration,
      // which the copies would write over.
      auto function = module.lookupSymbol<func::FuncOp>(repeat.getBody());
      Block &block = function.getBody().front();
      Operation *end = block.getTerminator();
      unsigned first = repeat.getConditional() ? 1 : 0, states = repeat.getInits().size();
      if (first && !isOwnStep(getWhole(end->getOperand(0)), function))
        end->setOperand(0, copyOf(end->getOperand(0), end));
      for (unsigned i = 0; i < states; ++i) {
        Value next = end->getOperand(first + i), base = next;
        while (auto view = base.getDefiningOp<kernel::ViewOp>())
          base = view.getInput();
        auto argument = dyn_cast<BlockArgument>(base);
        bool isState = argument && argument.getArgNumber() >= 1 && argument.getArgNumber() <= states;
        if (isState && getWhole(next) != block.getArgument(1 + i))
          end->setOperand(first + i, copyOf(next, end));
      }
    }
  });
}
