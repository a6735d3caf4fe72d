// What a pretrained encoder lacks for a task: pooling and a layer of new weights.
#include "llmopt/Transforms/Training/Autodiff.h"
#include "llmopt/Transforms/Training/Passes.h"
#include "llmopt/Transforms/Training/TrainedWeights.h"

#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_ATTACHHEADPASS
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// As transformers draws a new layer (initializer_range of its encoders).
constexpr double kDeviation = 0.02;

class HeadBuilder {
public:
  HeadBuilder(func::FuncOp main, uint64_t seed)
      : main(main), ret(cast<func::ReturnOp>(main.front().getTerminator())), builder(ret),
        c(builder, ret.getLoc(), [](Value, Value) {}, [](Value) { return false; }), seed(seed) {}

  LogicalResult build(StringRef kind, int64_t count, StringRef pool) {
    bool perToken = kind == "token" || kind == "span";
    Value hidden = findResult(3), input = hidden;
    if (!perToken) {
      FailureOr<Value> pooled = poolTokens(hidden, pool);
      if (failed(pooled))
        return failure();
      input = *pooled;
    } else if (!hidden) {
      return wrong("hidden states [batch, sequence, width]");
    }
    Value result = input;
    StringRef name = "embeddings";
    if (kind != "embedding") {
      FailureOr<Value> logits = addLinear(input, kind == "span" ? "qa_outputs" : "classifier", count);
      if (failed(logits))
        return failure();
      result = *logits;
      name = "logits";
    }
    ret.getOperandsMutable().assign(result);
    main.setType(builder.getFunctionType(main.getArgumentTypes(), result.getType()));
    Attribute named = builder.getDictionaryAttr(builder.getNamedAttr("lm.name", builder.getStringAttr(name)));
    main.setAllResultAttrs(ArrayRef<Attribute>(named));
    return success();
  }

private:
  LogicalResult wrong(const char *wanted) {
    auto diagnostic = main.emitError() << "expected " << wanted << " in f32 as an output to put a head on, but got ";
    llvm::interleaveComma(ret.getOperandTypes(), diagnostic);
    return diagnostic;
  }

  /// The first f32 result of this rank, of constant width.
  Value findResult(size_t rank) {
    for (Value value : ret.getOperands())
      if (getElementTypeOrSelf(value).isF32() && getDims(value).size() == rank && getDims(value).back().getConstant())
        return value;
    return {};
  }

  /// The input that says which tokens count; null without one.
  Value findMask(ArrayRef<SymExpr> tokens) {
    for (BlockArgument argument : main.getArguments()) {
      auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "lm.name");
      if (name && name.getValue().contains("attention_mask") && isa<IntegerType>(getElementTypeOrSelf(argument)) &&
          ArrayRef<SymExpr>(getDims(argument)) == tokens)
        return argument;
    }
    return {};
  }

  /// [B, S, H] -> [B, H].
  FailureOr<Value> poolTokens(Value hidden, StringRef pool) {
    Value pooled = findResult(2);
    if (pool == "cls" && pooled)
      return pooled;
    if (!hidden)
      return wrong("hidden states [batch, sequence, width]");
    SmallVector<SymExpr> dims = getDims(hidden);
    if (pool != "mean") {
      Value first = c.create<SliceOp>(hidden, ArrayRef<SymExpr>{0, 0, 0}, ArrayRef<SymExpr>{dims[0], 1, dims[2]});
      return c.reshape(first, {dims[0], dims[2]});
    }
    Value mask = findMask(ArrayRef(dims).take_front(2));
    if (!mask)
      return c.mean(hidden, {1}, /*keepdims=*/false);
    Value counts = c.reshape(c.create<CastOp>(mask, builder.getF32Type()), {dims[0], dims[1], 1});
    Value sum = c.sum(c.mul(hidden, counts), {1}, /*keepdims=*/false);
    // A row without any token gives zeros, not NaN.
    Value number = c.create<MaxOp>(c.sum(counts, {1}, /*keepdims=*/false), c.scalar(1e-9, builder.getF32Type()));
    return c.div(sum, number);
  }

  FailureOr<Value> addLinear(Value input, StringRef module, int64_t count) {
    std::string weightName = (module + ".weight").str(), biasName = (module + ".bias").str();
    for (WeightOp weight : main.getOps<WeightOp>())
      if (weight.getName() == weightName || weight.getName() == biasName)
        return main.emitError() << "expected a model without a head, but it has a weight '" << weight.getName() << "'";
    int64_t width = *getDims(input).back().getConstant();
    Value weight = addDrawnWeight(builder, ret.getLoc(), weightName, {count, width}, DrawKind::Normal, kDeviation, seed,
                                  TrainedWeight::Head);
    Value bias =
        addDrawnWeight(builder, ret.getLoc(), biasName, {count}, DrawKind::Zeros, 0, seed, TrainedWeight::Head);
    return c.create<LinearOp>(input, weight, bias, builder.getBoolAttr(true));
  }

  func::FuncOp main;
  func::ReturnOp ret;
  OpBuilder builder;
  VJPContext c;
  uint64_t seed;
};

struct AttachHeadPass : llmopt::impl::AttachHeadPassBase<AttachHeadPass> {
  using llmopt::impl::AttachHeadPassBase<AttachHeadPass>::AttachHeadPassBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || !llvm::hasSingleElement(main.getBody())) {
      getOperation().emitError("expected a function @main to put a head on");
      return signalPassFailure();
    }
    if (!llvm::is_contained({"sequence", "token", "span", "multilabel", "regression", "embedding"}, kind) ||
        !llvm::is_contained({"cls", "mean", "first"}, pool) || count < 1) {
      main.emitError() << "expected a head sequence, token, span, multilabel, regression or embedding of 1 output or "
                          "more, pooled by cls, mean or first, but got "
                       << kind << " of " << count.getValue() << ", pooled by " << pool;
      return signalPassFailure();
    }
    if (failed(HeadBuilder(main, seed).build(kind, kind == "span" ? 2 : count.getValue(), pool)))
      signalPassFailure();
  }
};

} // namespace
