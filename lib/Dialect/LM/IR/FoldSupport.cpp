// Folding by the evaluator, and over symbolic integers.
#include "FoldSupport.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"

#include "llvm/ADT/APFloat.h"

using namespace mlir;
using namespace llmopt::lm;

static constexpr uint64_t kMaxResultBytes = 64 << 10;
static constexpr int64_t kMaxOperandElements = 1 << 20;
static constexpr int64_t kMaxSymbolicElements = 4096;

/// The first result's type, if static and of at most `limit` elements.
static RankedTensorType getSmallResult(Operation *op, int64_t limit) {
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type || !type.hasStaticShape())
    return {};
  std::optional<int64_t> count = countElements(type.getShape());
  return count && *count <= limit ? type : RankedTensorType();
}

static std::optional<Tensor> toTensor(Attribute attr) {
  auto elements = dyn_cast_or_null<ElementsAttr>(attr);
  if (!elements || !elements.getShapedType().hasStaticShape())
    return std::nullopt;
  std::optional<int64_t> count = countElements(elements.getShapedType().getShape());
  if (!count || *count > kMaxOperandElements)
    return std::nullopt;
  llvm::Expected<Tensor> tensor = Tensor::fromAttr(elements);
  if (tensor)
    return std::move(*tensor);
  llvm::consumeError(tensor.takeError());
  return std::nullopt;
}

/// Sizes that a shape computation may be carried out in.
static bool holdsSizes(Type elementType) { return elementType.isInteger(64) || elementType.isInteger(32); }

Attribute llmopt::lm::foldConstant(Operation *op, ArrayRef<Attribute> operands) {
  if (!llvm::all_of(operands, llvm::IsaAndPresentPred<ElementsAttr>))
    return {};
  RankedTensorType type = getSmallResult(op, kMaxResultBytes);
  std::optional<uint64_t> bytes = type ? getStorageBytes(type.getElementType(), type.getNumElements()) : std::nullopt;
  if (!bytes || *bytes > kMaxResultBytes)
    return {};
  SmallVector<Tensor> tensors;
  for (Attribute operand : operands) {
    std::optional<Tensor> tensor = toTensor(operand);
    if (!tensor)
      return {};
    tensors.push_back(std::move(*tensor));
  }
  llvm::Expected<SmallVector<Tensor>> results = tryEvaluateOp(op, tensors);
  if (results)
    return results->front().toAttr();
  llvm::consumeError(results.takeError());
  return {};
}

Attribute llmopt::lm::foldSymbolic(Operation *op, ArrayRef<Attribute> operands,
                                   llvm::function_ref<std::optional<SymExpr>(ArrayRef<SymExpr>)> element) {
  RankedTensorType type = getSmallResult(op, kMaxSymbolicElements);
  if (!type || !type.getElementType().isInteger())
    return {};
  // Without a symbol this is a matter of foldConstant, which knows widths.
  if (llvm::none_of(operands, llvm::IsaAndPresentPred<SymValuesAttr>))
    return {};
  SmallVector<SmallVector<SymExpr>> values;
  SmallVector<ArrayRef<int64_t>> shapes;
  for (Attribute operand : operands) {
    std::optional<SmallVector<SymExpr>> value = getSymbolicValue(operand);
    if (!value)
      return {};
    auto shaped = cast<ShapedType>(cast<TypedAttr>(operand).getType());
    if (!holdsSizes(shaped.getElementType()) && !shaped.getElementType().isInteger(1))
      return {};
    values.push_back(std::move(*value));
    shapes.push_back(shaped.getShape());
  }
  SmallVector<SymExpr> results, arguments(operands.size());
  for (int64_t i = 0, count = type.getNumElements(); i < count; ++i) {
    for (auto [argument, value, shape] : llvm::zip(arguments, values, shapes)) {
      int64_t rest = i, at = 0, stride = 1;
      for (int64_t d = type.getRank() - 1, own = static_cast<int64_t>(shape.size()) - 1; d >= 0; --d, --own) {
        int64_t position = rest % type.getDimSize(d);
        rest /= type.getDimSize(d);
        if (own < 0)
          continue;
        at += shape[own] == 1 ? 0 : position * stride;
        stride *= shape[own];
      }
      argument = value[at];
    }
    std::optional<SymExpr> result = element(arguments);
    if (!result || result->isUnknown())
      return {};
    results.push_back(std::move(*result));
  }
  if (!holdsSizes(type.getElementType()) &&
      !llvm::all_of(results, [](const SymExpr &result) { return result.getConstant().has_value(); }))
    return {};
  return getSymbolicAttr(type, results);
}

Attribute llmopt::lm::foldSymbolicMovement(Operation *op, ArrayRef<Attribute> operands, unsigned numData) {
  RankedTensorType type = getSmallResult(op, kMaxSymbolicElements);
  if (!type || !holdsSizes(type.getElementType()))
    return {};
  // Moving numbers that name the elements shows where each one goes.
  SmallVector<SymExpr> pool;
  SmallVector<Tensor> tensors;
  for (auto [i, operand] : llvm::enumerate(operands)) {
    if (i >= numData) {
      std::optional<Tensor> tensor = toTensor(operand);
      if (!tensor)
        return {};
      tensors.push_back(std::move(*tensor));
      continue;
    }
    std::optional<SmallVector<SymExpr>> values = getSymbolicValue(operand);
    if (!values)
      return {};
    SmallVector<int64_t> names;
    for (SymExpr &value : *values) {
      names.push_back(pool.size());
      pool.push_back(std::move(value));
    }
    auto shaped = cast<ShapedType>(cast<TypedAttr>(operand).getType());
    llvm::Expected<Tensor> tensor = Tensor::fromInts(shaped.getElementType(), shaped.getShape(), names);
    if (!tensor)
      return llvm::consumeError(tensor.takeError()), Attribute();
    tensors.push_back(std::move(*tensor));
  }
  llvm::Expected<SmallVector<Tensor>> moved = tryEvaluateOp(op, tensors);
  if (!moved)
    return llvm::consumeError(moved.takeError()), Attribute();
  SmallVector<SymExpr> results;
  for (int64_t name : moved->front().ints()) {
    if (pool[name].isUnknown())
      return {};
    results.push_back(pool[name]);
  }
  return getSymbolicAttr(type, results);
}

bool llmopt::lm::isSplatOf(Attribute attr, double value) {
  auto dense = dyn_cast_or_null<DenseElementsAttr>(attr);
  if (!dense || dense.getNumElements() == 0 || (!dense.isSplat() && dense.getNumElements() > 64))
    return false;
  if (isa<FloatType>(dense.getElementType()))
    return llvm::all_of(dense.getValues<APFloat>(),
                        [&](const APFloat &element) { return element.isExactlyValue(value); });
  return isa<IntegerType>(dense.getElementType()) && llvm::all_of(dense.getValues<APInt>(), [&](const APInt &element) {
           return element == APInt(element.getBitWidth(), static_cast<uint64_t>(static_cast<int64_t>(value)),
                                   /*isSigned=*/true, /*implicitTrunc=*/true);
         });
}
