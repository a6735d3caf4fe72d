// An inference function becomes one training step of plain SGD.
//
// Weights become arguments, so that the same compiled step runs any number of
// times; nothing is folded into them.
#include "llmopt/Transforms/Training/Autodiff.h"
#include "llmopt/Transforms/Training/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_BUILDTRAININGSTEPPASS
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// mean_b -log softmax(logits[b])[labels[b]].
Value buildCrossEntropy(const VJPContext &c, Value logits, Value labels) {
  SmallVector<SymExpr> dims = getDims(logits);
  Type element = getElementTypeOrSelf(logits);
  Value logProbability = c.create<SoftmaxOp>(logits, c.builder.getI64IntegerAttr(1), c.builder.getBoolAttr(true));
  Value classes = c.create<IotaOp>(getTensorType({1, dims[1]}, c.builder.getI64Type()), 1);
  Value hit = c.create<CompareOp>(Predicate::EQ, c.reshape(labels, {dims[0], 1}), classes);
  Value picked = c.create<WhereOp>(hit, logProbability, c.scalar(0.0, element));
  Value perRow = c.sum(picked, {1}, /*keepdims=*/false);
  return c.neg(c.mean(perRow, {0}, /*keepdims=*/false));
}

struct BuildTrainingStepPass : llmopt::impl::BuildTrainingStepPassBase<BuildTrainingStepPass> {
  using llmopt::impl::BuildTrainingStepPassBase<BuildTrainingStepPass>::BuildTrainingStepPassBase;

  void runOnOperation() override {
    auto function = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!function || !llvm::hasSingleElement(function.getBody())) {
      getOperation().emitError("expected a function @main to train");
      return signalPassFailure();
    }
    Block &block = function.getBody().front();
    auto ret = cast<func::ReturnOp>(block.getTerminator());
    Value logits = ret.getNumOperands() ? ret.getOperand(0) : Value();
    SmallVector<SymExpr> dims = logits ? getDims(logits) : SmallVector<SymExpr>();
    if (dims.size() != 2 || !isa<FloatType>(getElementTypeOrSelf(logits))) {
      function.emitError() << "expected logits [batch, classes] as the first output, but got "
                           << (logits ? logits.getType() : Type());
      return signalPassFailure();
    }

    OpBuilder builder(ret);
    Value labels = addArgument(function, getTensorType({dims[0]}, builder.getI64Type()), "labels");
    SmallVector<Value> weights;
    SmallVector<StringRef> names;
    promoteWeights(function, weights, names);

    VJPContext context(builder, ret.getLoc(), [](Value, Value) {}, [](Value) { return false; });
    Value loss = buildCrossEntropy(context, logits, labels);
    FailureOr<SmallVector<Value>> gradients = buildGradients(builder, loss, weights);
    if (failed(gradients))
      return signalPassFailure();

    SmallVector<Value> results = {loss};
    for (auto [weight, gradient] : llvm::zip(weights, *gradients))
      results.push_back(context.sub(weight, context.mul(gradient, learningRate)));
    ret.getOperandsMutable().assign(results);
    setResults(function, results, names);
  }

  static Value addArgument(func::FuncOp function, Type type, StringRef name) {
    unsigned index = function.getNumArguments();
    auto attributes = DictionaryAttr::get(
        function.getContext(),
        NamedAttribute(StringAttr::get(function.getContext(), "lm.name"), StringAttr::get(function.getContext(), name)));
    (void)function.insertArgument(index, type, attributes, function.getLoc());
    return function.getArgument(index);
  }

  /// Every floating-point weight becomes an argument of the same name.
  static void promoteWeights(func::FuncOp function, SmallVectorImpl<Value> &weights, SmallVectorImpl<StringRef> &names) {
    for (WeightOp weight : llvm::make_early_inc_range(function.getOps<WeightOp>())) {
      if (!isa<FloatType>(getElementTypeOrSelf(weight.getType())))
        continue;
      Value argument = addArgument(function, weight.getType(), weight.getName());
      names.push_back(weight.getNameAttr().getValue());
      weights.push_back(argument);
      weight.replaceAllUsesWith(argument);
      weight.erase();
    }
  }

  static void setResults(func::FuncOp function, ArrayRef<Value> results, ArrayRef<StringRef> names) {
    Builder builder(function.getContext());
    SmallVector<Type> types;
    SmallVector<Attribute> attributes;
    for (auto [i, result] : llvm::enumerate(results)) {
      types.push_back(result.getType());
      StringRef name = i == 0 ? "loss" : names[i - 1];
      attributes.push_back(
          builder.getDictionaryAttr(builder.getNamedAttr("lm.name", builder.getStringAttr(name))));
    }
    function.setType(builder.getFunctionType(function.getArgumentTypes(), types));
    function.setAllResultAttrs(attributes);
  }
};

} // namespace
