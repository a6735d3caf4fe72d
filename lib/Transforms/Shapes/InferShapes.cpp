// Shape inference over a function whose operations have types already.
#include "llmopt/Transforms/Shapes/Passes.h"

#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "llvm/ADT/TypeSwitch.h"

namespace llmopt {
#define GEN_PASS_DEF_INFERSHAPESPASS
#include "llmopt/Transforms/Shapes/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// Result dimensions of operations whose result type is part of what they say:
/// what the operands determine, unknown where they do not.
SmallVector<SymExpr> inferDeclared(Operation *op) {
  SmallVector<SymExpr> result = getDims(op->getResult(0));
  if (op->getNumOperands() == 0)
    return result;
  SmallVector<SymExpr> input = getDims(op->getOperand(0));
  if (isa<CastOp, QuantizeOp>(op))
    return input;
  if (auto pad = dyn_cast<PadOp>(op)) {
    for (auto [dim, low, high] : llvm::zip(input, getExprs(pad.getLow()), getExprs(pad.getHigh())))
      dim = dim + low + high;
    return input;
  }
  if (isa<ReshapeOp>(op)) {
    // One unknown dimension follows from the number of elements.
    SymExpr rest(1);
    SymExpr *open = nullptr;
    for (SymExpr &dim : result) {
      if (!dim.isUnknown())
        rest *= dim;
      else if (open)
        return result;
      else
        open = &dim;
    }
    if (std::optional<SymExpr> size = open ? SymExpr::divideExactly(product(input), rest) : std::nullopt)
      *open = *size;
  }
  return result;
}

FailureOr<SmallVector<SymExpr>> inferDims(Operation *op) {
  auto interface = dyn_cast<InferTypeOpInterface>(op);
  if (!interface)
    return inferDeclared(op);
  SmallVector<Type> types;
  if (failed(interface.inferReturnTypes(op->getContext(), op->getLoc(), op->getOperands(), op->getRawDictionaryAttrs(),
                                        op->getPropertiesStorage(), op->getRegions(), types)))
    return failure();
  return getDims(types.front());
}

LogicalResult refine(Operation *op) {
  if (op->getNumResults() != 1 || !isa_and_present<LMDialect>(op->getDialect()))
    return success();
  FailureOr<SmallVector<SymExpr>> inferred = inferDims(op);
  if (failed(inferred))
    return failure();
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  SmallVector<SymExpr> dims = getDims(type);
  if (inferred->size() != dims.size())
    return op->emitError() << "expected a result of rank " << inferred->size() << ", but got " << type;
  for (auto [i, dim, found] : llvm::enumerate(dims, *inferred)) {
    std::optional<int64_t> declared = dim.getConstant(), size = found.getConstant();
    if (declared && size && *declared != *size)
      return op->emitError() << "expected dimension " << i << " of the result to be " << *size << ", but got "
                             << *declared;
    if (!declared && !found.isUnknown())
      dim = found;
  }
  op->getResult(0).setType(getTensorType(dims, type.getElementType()));
  return success();
}

/// "ids:1x128" -> "ids" and {1, 128}; names may contain colons themselves.
LogicalResult pinText(func::FuncOp function, StringRef text) {
  auto [name, shape] = text.rsplit(':');
  SmallVector<int64_t> dims;
  SmallVector<StringRef> parts;
  if (!shape.empty())
    shape.split(parts, 'x');
  for (StringRef part : parts)
    if (part.getAsInteger(10, dims.emplace_back()))
      return function.emitError() << "expected a shape such as name:1x128, but got \"" << text << "\"";
  return pinInputShape(function, name, dims);
}

struct InferShapes : llmopt::impl::InferShapesPassBase<InferShapes> {
  using InferShapesPassBase::InferShapesPassBase;
  void runOnOperation() override {
    for (const std::string &text : pin)
      if (failed(pinText(getOperation(), text)))
        return signalPassFailure();
    if (failed(refineShapes(getOperation())))
      signalPassFailure();
  }
};

} // namespace

LogicalResult llmopt::refineShapes(func::FuncOp function) {
  WalkResult walked = function.walk<WalkOrder::PreOrder>(
      [](Operation *op) { return failed(refine(op)) ? WalkResult::interrupt() : WalkResult::advance(); });
  if (walked.wasInterrupted())
    return failure();
  SmallVector<Type> results(function.getResultTypes());
  function.walk([&](func::ReturnOp op) { results.assign(op.getOperandTypes().begin(), op.getOperandTypes().end()); });
  function.setType(FunctionType::get(function.getContext(), function.getArgumentTypes(), results));
  return success();
}
