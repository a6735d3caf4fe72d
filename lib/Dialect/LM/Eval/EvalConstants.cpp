// Constants, symbolic ones under bindings, and weights.
#include "EvalOps.h"

#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

static Result evaluateConstant(ConstantOp op, const SymbolBindings &bindings) {
  if (auto elements = dyn_cast<ElementsAttr>(op.getValue()))
    return Tensor::fromAttr(elements);
  auto symbolic = dyn_cast<SymValuesAttr>(op.getValue());
  if (!symbolic)
    return fail("expected a constant of elements or #lm.sym, but got {0}", op.getValue());
  auto type = cast<RankedTensorType>(symbolic.getType());
  auto values = requireValues(symbolic, bindings);
  if (!values)
    return values.takeError();
  return Tensor::fromInts(type.getElementType(), type.getShape(), *values);
}

static Result evaluateWeight(WeightOp op) {
  if (auto elements = dyn_cast<ElementsAttr>(op.getSource()))
    return Tensor::fromAttr(elements);
  auto type = cast<RankedTensorType>(op.getType());
  llvm::Expected<ArrayRef<char>> bytes = WeightStore::get(op.getContext()).getBytes(op);
  if (!bytes)
    return bytes.takeError();
  Result tensor = Tensor::fromBytes(type.getElementType(), type.getShape(), *bytes);
  WeightStore::get(op.getContext()).release(op);
  return tensor;
}

std::optional<Result> eval::evaluateConstants(Operation *op, ArrayRef<Tensor>, const SymbolBindings &bindings) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<ConstantOp>([&](ConstantOp constant) { return evaluateConstant(constant, bindings); })
      .Case<WeightOp>([&](WeightOp weight) { return evaluateWeight(weight); })
      .Default([](Operation *) { return std::nullopt; });
}
