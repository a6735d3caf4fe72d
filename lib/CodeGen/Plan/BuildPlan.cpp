// The partition as a whole, and what its steps share.
#include "Partition.h"

#include "llmopt/CodeGen/Plan/Passes.h"
#include "llmopt/CodeGen/Plan/Tables.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

namespace llmopt {
#define GEN_PASS_DEF_PLANPASS
#include "llmopt/CodeGen/Plan/Passes.h.inc"
} // namespace llmopt

PlanTarget::~PlanTarget() = default;

bool PlanTarget::hasAttention(lm::AttentionOp op) const { return getElementTypeOrSelf(op.getQuery()).isF32(); }

bool llmopt::isConstant(Value value) { return value.getDefiningOp<lm::ConstantOp>() != nullptr; }

bool llmopt::isRecipe(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  if (isa<lm::WeightOp>(op))
    return true;
  auto type = dyn_cast<RankedTensorType>(value.getType());
  // Folding may leave a weight as a constant.
  if (auto constant = dyn_cast<lm::ConstantOp>(op))
    return type && isa<FloatType>(type.getElementType()) && type.getRank() > 0 && type.getNumElements() > 1 &&
           isa<DenseElementsAttr>(constant.getValue());
  if (!type || !type.hasStaticShape())
    return false;
  if (isa<kernel::PackOp, kernel::PackGroupsOp, kernel::ColumnSumsOp>(op))
    return true;
  if (!isa<lm::ReshapeOp, lm::TransposeOp, lm::SliceOp, lm::ConcatOp, lm::CastOp, lm::AddOp, lm::SubOp, lm::MulOp,
           lm::DivOp, lm::AbsMaxScaleOp, lm::QuantizeOp, lm::DequantizeOp>(op))
    return false;
  if (isa<lm::CastOp, lm::AddOp, lm::SubOp, lm::MulOp, lm::DivOp>(op) &&
      !isa<FloatType>(getElementTypeOrSelf(op->getOperand(0))))
    return false;
  if (!getDType(type.getElementType()))
    return false;
  // The executor reads elements narrower than a byte and small floats, but makes no
  // other than quantized integers.
  if (isa<lm::CastOp, lm::QuantizeOp>(op)) {
    unsigned bits = type.getElementTypeBitWidth();
    bool isFloat = isa<FloatType>(type.getElementType());
    if ((bits < 8 && (isFloat || isa<lm::CastOp>(op))) || (bits == 8 && isFloat))
      return false;
  }
  if (auto slice = dyn_cast<lm::SliceOp>(op))
    for (const SymExpr &start : lm::getExprs(slice.getStarts()))
      if (!start.getConstant())
        return false;
  bool weights = false;
  for (Value operand : op->getOperands()) {
    if (isRecipe(operand))
      weights = true;
    else if (!isConstant(operand) || !isa<DenseElementsAttr>(operand.getDefiningOp<lm::ConstantOp>().getValue()))
      return false;
  }
  return weights;
}

bool llmopt::isParameter(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  auto function = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
  auto role = function ? function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "lm.role") : StringAttr();
  return role && role == "parameter";
}

bool llmopt::isElementwise(Operation *op) {
  return isa<lm::NegOp, lm::AbsOp, lm::ExpOp, lm::LogOp, lm::SqrtOp, lm::ReciprocalOp, lm::SinOp, lm::CosOp, lm::ErfOp,
             lm::TanhOp, lm::SigmoidOp, lm::SoftplusOp, lm::ReluOp, lm::SignOp, lm::FloorOp, lm::CeilOp, lm::RoundOp,
             lm::NotOp, lm::LeakyReluOp, lm::EluOp, lm::IsNaNOp, lm::IsInfOp, lm::CastOp, lm::AddOp, lm::SubOp,
             lm::MulOp, lm::DivOp, lm::PowOp, lm::ModOp, lm::MinOp, lm::MaxOp, lm::AndOp, lm::OrOp, lm::XorOp,
             lm::CompareOp, lm::WhereOp, lm::ClipOp, lm::GeluOp, lm::QuantizeOp, lm::DequantizeOp, lm::FakeQuantizeOp,
             lm::AcosOp, lm::AsinOp, lm::AtanOp, lm::AcoshOp, lm::AsinhOp, lm::AtanhOp, lm::BitwiseAndOp,
             lm::BitwiseOrOp, lm::BitwiseXorOp, lm::BitwiseNotOp, lm::ShiftLeftOp, lm::ShiftRightOp>(op);
}

static void collectNames(Location location, llvm::SetVector<StringAttr> &names) {
  if (auto name = dyn_cast<NameLoc>(location)) {
    names.insert(name.getName());
  } else if (auto fused = dyn_cast<FusedLoc>(location)) {
    for (Location part : fused.getLocations())
      collectNames(part, names);
  } else if (auto call = dyn_cast<CallSiteLoc>(location)) {
    collectNames(call.getCallee(), names);
  }
}

std::string llmopt::getNodeNames(Location location) {
  llvm::SetVector<StringAttr> names;
  collectNames(location, names);
  std::string text;
  for (StringAttr name : names)
    text += (text.empty() ? "" : " + ") + name.getValue().str();
  return text;
}

void plan::eraseDead(func::FuncOp function) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front())))
    if (op.use_empty() && isMemoryEffectFree(&op) && !op.hasTrait<OpTrait::IsTerminator>())
      op.erase();
}

bool plan::haveEqualDims(Type a, Type b) {
  SmallVector<SymExpr> x = getDims(a), y = getDims(b);
  return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin());
}

bool plan::isContiguousSlice(lm::SliceOp slice, SymExpr &offset) {
  SmallVector<SymExpr> in = getDims(slice.getInput()), out = getDims(slice.getResult());
  SmallVector<SymExpr> starts = lm::getExprs(slice.getStarts());
  for (auto [step, size] : llvm::zip(slice.getSteps(), out))
    if (step != 1 && !size.isConstant(1))
      return false;
  // Dimensions of size 1, then one that may be cut, then whole ones.
  size_t i = 0;
  while (i < out.size() && out[i].isConstant(1))
    ++i;
  for (size_t j = i + 1; j < out.size(); ++j)
    if (in[j] != out[j])
      return false;
  offset = 0;
  for (auto [start, size] : llvm::zip(starts, in)) {
    if (size.isUnknown() || start.isUnknown())
      return false;
    offset = offset * size + start;
  }
  // Views have their place in memory before a run knows what it counts.
  return !dependsOnData(offset);
}

/// What no kernel took: one line per operation.
static LogicalResult checkComplete(func::FuncOp function, const PlanTarget &target) {
  LogicalResult result = success();
  function.walk([&](kernel::LoopsOp loops) {
    for (Operation &op : loops.getBody().front().without_terminator())
      if (std::string reason; !target.hasLoops(&op, reason)) {
        op.emitError() << "expected an operation that this target can run, but got " << op.getName() << ": " << reason;
        result = failure();
      }
  });
  for (Operation &op : function.getBody().front().without_terminator()) {
    if (isa<kernel::KernelDialect>(op.getDialect()) || isa<lm::ConstantOp>(op) ||
        (op.getNumResults() == 1 && isRecipe(op.getResult(0))))
      continue;
    op.emitError() << "expected an operation that has a kernel, but got " << op.getName();
    result = failure();
  }
  return result;
}

LogicalResult llmopt::buildPlan(ModuleOp module, const PlanTarget &target) {
  if (failed(outlineRegions(module)))
    return failure();
  LogicalResult result = success();
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal())
      continue;
    if (!function.getBody().hasOneBlock()) {
      result = function.emitError() << "expected a function without control flow";
      continue;
    }
    eraseDead(function);
    lowerDefineSymbol(function);
    lowerPatchConv(function);
    lowerAttentionGrad(function);
    lowerEmbeddingGrad(function, target);
    lowerFakeQuantize(function);
    lowerInt8Embedding(function);
    formInt8Products(function, target);
    formQuantizedProducts(function, target);
    narrowInt8Products(function, target);
    formProducts(function, target);
    fuseEpilogues(function);
    formAttention(function, target);
    formRows(function, target);
    formQuantizedNorms(function, target);
    eraseDead(function);
    if (failed(formLoops(function))) {
      result = failure();
      continue;
    }
    eraseDead(function);
    orderSymbols(function);
    if (failed(checkComplete(function, target)))
      result = failure();
  }
  if (succeeded(result))
    storeReturned(module);
  return result;
}

namespace {
struct PlanPass : llmopt::impl::PlanPassBase<PlanPass> {
  using PlanPassBase::PlanPassBase;
  void runOnOperation() override {
    if (panelWidth < 1) {
      getOperation().emitError() << "expected a positive panel-width, but got " << panelWidth;
      return signalPassFailure();
    }
    std::optional<kernel::Layout> layout = kernel::symbolizeLayout(int8);
    if (!layout && int8 != "none") {
      getOperation().emitError() << "expected int8 to be panels, pairs, quads, rows or none, but got " << int8;
      return signalPassFailure();
    }
    if (failed(buildPlan(getOperation(), PanelTarget(panelWidth, layout, quantizedWeights))))
      signalPassFailure();
  }
};
} // namespace
