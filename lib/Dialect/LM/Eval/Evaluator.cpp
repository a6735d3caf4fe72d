// Evaluation of operations and functions; the operations themselves are in the
// Eval* files, one per family.
#include "llmopt/Dialect/LM/Eval/Evaluator.h"

#include "EvalOps.h"

#include "llmopt/Dialect/LM/IR/Relation.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

static llvm::Error checkResult(Operation *op, const Tensor &tensor, const SymbolBindings &bindings) {
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type || type.getElementType() != tensor.getElementType() || type.getRank() != tensor.getRank())
    return fail("expected a result of type {0}, but got {1}", op->getResult(0).getType(), tensor.getType());
  for (auto [i, value] : llvm::enumerate(resolveDims(type, bindings)))
    if (value && *value != tensor.getDim(i))
      return fail("expected dimension {0} of {1} to be {2}, but got {3}", i, type, *value, tensor.getDim(i));
  return llvm::Error::success();
}

llvm::Expected<SmallVector<Tensor>> llmopt::lm::tryEvaluateOp(Operation *op, ArrayRef<Tensor> operands,
                                                              const SymbolBindings &bindings) {
  if (operands.size() != op->getNumOperands())
    return fail("expected {0} operands, but got {1}", op->getNumOperands(), operands.size());
  for (auto [value, tensor] : llvm::zip(op->getOperandTypes(), operands)) {
    auto type = dyn_cast<RankedTensorType>(value);
    if (!type || !tensor || type.getElementType() != tensor.getElementType() || type.getRank() != tensor.getRank())
      return fail("expected an operand of type {0}", value);
  }
  for (auto family : {evaluateConstants, evaluateUnary, evaluateBinary, evaluateShapes, evaluateGathers,
                      evaluateReductions, evaluateMatmuls, evaluateTransformer, evaluateAttentions, evaluateQuantization,
                      evaluateBits, evaluateScans, evaluateScatters, evaluateSorting, evaluateTraining}) {
    std::optional<Result> result = family(op, operands, bindings);
    if (!result)
      continue;
    if (!*result)
      return result->takeError();
    if (llvm::Error error = checkResult(op, **result, bindings))
      return std::move(error);
    return SmallVector<Tensor>{std::move(**result)};
  }
  return fail("expected an operation of the lm dialect that has a definition, but got {0}",
              op->getName().getStringRef());
}

FailureOr<SmallVector<Tensor>> llmopt::lm::evaluateOp(Operation *op, ArrayRef<Tensor> operands,
                                                      const SymbolBindings &bindings) {
  llvm::Expected<SmallVector<Tensor>> results = tryEvaluateOp(op, operands, bindings);
  if (results)
    return std::move(*results);
  return op->emitError() << llvm::toString(results.takeError());
}

llvm::Expected<SymbolBindings> llmopt::lm::bindSymbols(TypeRange types, ArrayRef<Tensor> values,
                                                       ArrayRef<std::string> names) {
  if (types.size() != values.size())
    return fail("expected {0} inputs, but got {1}", types.size(), values.size());
  auto nameOf = [&](size_t i) { return i < names.size() ? "\"" + names[i] + "\"" : llvm::formatv("{0}", i).str(); };
  SymbolBindings bindings;
  // Plain symbols first: they bind; every other expression is then checked.
  for (auto [i, type, value] : llvm::enumerate(types, values)) {
    auto ranked = dyn_cast<RankedTensorType>(type);
    if (!ranked || !value || ranked.getElementType() != value.getElementType() || ranked.getRank() != value.getRank())
      return fail("expected input {0} to be {1}, but got {2}", nameOf(i), type, value ? Type(value.getType()) : Type());
    for (auto [dim, size] : llvm::zip(getDims(ranked), value.getDims()))
      if (std::optional<std::string> symbol = dim.getSymbol())
        bindings.try_emplace(*symbol, size);
  }
  for (auto [i, type, value] : llvm::enumerate(types, values))
    for (auto [d, expected] : llvm::enumerate(resolveDims(type, bindings))) {
      SymExpr dim = getDims(type)[d];
      if (!expected && !dim.isUnknown())
        return fail("expected dimension {0} of input {1}, {2}, to follow from the inputs", d, nameOf(i), dim.str());
      if (expected && *expected != value.getDim(d))
        return fail("expected dimension {0} of input {1} to be {2} = {3}, but got {4}", d, nameOf(i), dim.str(),
                    *expected, value.getDim(d));
    }
  return bindings;
}

/// What the function asks of its sizes, in the words of the runtime.
static llvm::Error checkConstraints(func::FuncOp function, const SymbolBindings &bindings) {
  auto constraints = function->getAttrOfType<ArrayAttr>("lm.constraints");
  if (!constraints)
    return llvm::Error::success();
  for (auto text : constraints.getAsRange<StringAttr>()) {
    std::optional<Relation> relation = Relation::parse(text.getValue());
    if (!relation)
      continue;
    auto bound = [&](const SymExpr &expr) {
      return expr.evaluate([&](StringRef name) -> std::optional<int64_t> {
        auto it = bindings.find(name);
        return it == bindings.end() ? std::nullopt : std::optional<int64_t>(it->second);
      });
    };
    std::optional<int64_t> a = bound(relation->lhs), b = bound(relation->rhs);
    if (a && b && (relation->isEqual ? *a != *b : *a > *b))
      return fail("expected {0}, but got {1} and {2}", text.getValue(), *a, *b);
  }
  return llvm::Error::success();
}

FailureOr<SmallVector<Tensor>> llmopt::lm::evaluate(func::FuncOp function, ArrayRef<Tensor> inputs) {
  if (!function.getBody().hasOneBlock())
    return function.emitError() << "expected a function of one block";
  llvm::Expected<SymbolBindings> bindings = bindSymbols(function.getArgumentTypes(), inputs);
  if (!bindings)
    return function.emitError() << llvm::toString(bindings.takeError());
  if (llvm::Error error = checkConstraints(function, *bindings))
    return function.emitError() << llvm::toString(std::move(error));
  return evaluateBlock(function.getBody().front(), inputs, *bindings);
}
