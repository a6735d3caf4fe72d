#include "Derived.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_export;

/// The evaluator takes eight bytes for an element; beyond this, memory would grow by
/// more than a few times the weight.
static constexpr int64_t kMaxElements = int64_t(1) << 25;

/// Layers stay, even over weights: their users want to see them.
static bool isLayer(Operation *op) {
  return isa<lm::NormOp, lm::GeluOp, lm::LinearOp, lm::AttentionOp, lm::MatMulOp, lm::ConvOp, lm::EmbeddingOp,
             lm::FakeQuantizeOp>(op);
}

static bool isSmallEnough(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && lm::countElements(type.getShape()).value_or(INT64_MAX) <= kMaxElements;
}

const DerivedValues::Sources &DerivedValues::find(Operation *op) {
  auto known = sources.find(op);
  if (known != sources.end())
    return known->second;
  Sources found;
  bool derived = op->getNumResults() == 1 && op->getNumRegions() == 0 && op->getNumOperands() > 0 && isPure(op) &&
                 !isLayer(op) && isSmallEnough(op->getResult(0));
  for (Value operand : op->getOperands()) {
    Operation *def = operand.getDefiningOp();
    if (!derived || !def || !isSmallEnough(operand)) {
      derived = false;
    } else if (isa<lm::WeightOp>(def)) {
      found.insert(def);
    } else if (auto constant = dyn_cast<lm::ConstantOp>(def)) {
      derived = !isa<lm::SymValuesAttr>(constant.getValue());
    } else {
      const Sources &others = find(def);
      derived = !others.empty();
      found.insert_range(others);
    }
  }
  return sources[op] = derived ? found : none;
}

static uint64_t getBytes(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return lm::getStorageBytes(tensor.getElementType(), tensor.getNumElements()).value_or(UINT64_MAX);
}

bool DerivedValues::isSmaller(Operation *op) {
  uint64_t bytes = 0;
  for (Operation *weight : find(op))
    bytes += getBytes(weight->getResult(0).getType());
  return getBytes(op->getResult(0).getType()) < bytes;
}

std::string DerivedValues::getName(Operation *op) {
  auto weight = cast<lm::WeightOp>(find(op).front());
  std::string name = weight.getName().str();
  if (isa<lm::QuantizeOp>(op))
    return name + "_quantized";
  if (isa<lm::AbsMaxScaleOp>(op))
    return name + "_scale";
  bool isRead = llvm::any_of(weight->getUsers(), [&](Operation *user) { return !contains(user); });
  return isRead ? name + "_" + op->getName().stripDialect().str() : name;
}

llvm::Expected<lm::Tensor> DerivedValues::evaluate(Operation *op) {
  SmallVector<lm::Tensor> operands;
  for (Value operand : op->getOperands()) {
    llvm::Expected<lm::Tensor> tensor = evaluate(operand.getDefiningOp());
    if (!tensor)
      return tensor;
    operands.push_back(std::move(*tensor));
  }
  llvm::Expected<SmallVector<lm::Tensor>> results = lm::tryEvaluateOp(op, operands);
  if (!results)
    return results.takeError();
  return results->front();
}
