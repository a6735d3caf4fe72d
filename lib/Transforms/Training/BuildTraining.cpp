// An inference function, and beside it what gives its loss and its gradients.
//
// Weights that are trained become arguments, so that the same compiled code runs any
// number of times; frozen ones stay constants, packed like those of inference.
#include "Dropout.h"
#include "Losses.h"
#include "NameGlobs.h"

#include "llmopt/Transforms/Training/Passes.h"
#include "llmopt/Transforms/Training/TrainedWeights.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringSet.h"

namespace llmopt {
#define GEN_PASS_DEF_BUILDTRAININGPASS
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

using StringNames = llvm::StringSet<llvm::MallocAllocator>;

class Entry {
public:
  Entry(func::FuncOp main, StringRef name) : context(main.getContext()) {
    function = cast<func::FuncOp>(main->clone());
    function.setName(name);
    main->getParentRegion()->front().push_back(function);
  }

  Block &body() { return function.getBody().front(); }
  func::ReturnOp ret() { return cast<func::ReturnOp>(body().getTerminator()); }

  Value addArgument(StringRef name, StringRef role, Type type, std::optional<double> byDefault = std::nullopt) {
    unsigned index = function.getNumArguments();
    Builder builder(context);
    SmallVector<NamedAttribute> attributes{builder.getNamedAttr("lm.name", builder.getStringAttr(name)),
                                           builder.getNamedAttr("lm.role", builder.getStringAttr(role))};
    if (byDefault)
      attributes.push_back(builder.getNamedAttr("lm.default", builder.getF64FloatAttr(*byDefault)));
    (void)function.insertArgument(index, type, builder.getDictionaryAttr(attributes), function.getLoc());
    return function.getArgument(index);
  }

  /// Weights of these names become arguments, in the order of their definitions; so do
  /// values among `known` that are such weights.
  SmallVector<Value> promote(const StringNames &trained, SmallVectorImpl<StringRef> &names,
                             MutableArrayRef<std::pair<Value, Value>> known) {
    SmallVector<Value> parameters;
    for (WeightOp weight : llvm::make_early_inc_range(function.getOps<WeightOp>())) {
      if (!trained.contains(weight.getName()))
        continue;
      names.push_back(weight.getNameAttr().getValue());
      parameters.push_back(addArgument(names.back(), "parameter", weight.getType()));
      for (auto &[value, gradient] : known)
        if (value == weight.getResult())
          value = parameters.back();
      weight.replaceAllUsesWith(parameters.back());
      weight.erase();
    }
    return parameters;
  }

  void setResults(ArrayRef<Value> results, ArrayRef<StringRef> names) {
    Builder builder(context);
    SmallVector<Attribute> attributes;
    for (StringRef name : names)
      attributes.push_back(builder.getDictionaryAttr(builder.getNamedAttr("lm.name", builder.getStringAttr(name))));
    ret().getOperandsMutable().assign(results);
    function.setType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
    function.setAllResultAttrs(attributes);
  }

  func::FuncOp function;

private:
  MLIRContext *context;
};

struct BuildTrainingPass : llmopt::impl::BuildTrainingPassBase<BuildTrainingPass> {
  using llmopt::impl::BuildTrainingPassBase<BuildTrainingPass>::BuildTrainingPassBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || !llvm::hasSingleElement(main.getBody())) {
      getOperation().emitError("expected a function @main to train");
      return signalPassFailure();
    }
    if (main.getNumResults() == 0) {
      main.emitError("expected an output to train");
      return signalPassFailure();
    }
    StringNames trained;
    if (failed(selectWeights(main, trained)) || failed(build(main, trained, "evaluate", false)) ||
        failed(build(main, trained, "gradients", true)))
      return signalPassFailure();
  }

private:
  LogicalResult selectWeights(func::FuncOp main, StringNames &trained) {
    std::vector<std::vector<std::string>> names;
    bool hasAdapters = false;
    for (WeightOp weight : main.getOps<WeightOp>()) {
      if (!getElementTypeOrSelf(weight.getType()).isF32())
        continue;
      names.push_back({weight.getName().str()});
      std::optional<TrainedWeight> added = getTrainedWeight(weight);
      hasAdapters |= added == TrainedWeight::Adapter;
      if (added)
        trained.insert(weight.getName());
    }
    if (names.empty())
      return main.emitError("expected f32 weights to train, but the model has none");
    if (trainable.empty() && !hasAdapters) {
      for (const std::vector<std::string> &name : names)
        trained.insert(name.front());
      return success();
    }
    FailureOr<llvm::BitVector> selected =
        matchGlobs(main, "-trainable", "weight", std::vector<std::string>(trainable.begin(), trainable.end()), names);
    if (failed(selected))
      return failure();
    for (unsigned i : selected->set_bits())
      trained.insert(names[i].front());
    return success();
  }

  /// The layer that gives the logits of a causal language model, where its loss is to be
  /// computed in pieces.
  LinearOp getChunkedHead(Value predictions) {
    auto head = predictions.getDefiningOp<LinearOp>();
    bool fits = chunk > 0 && loss == "causal" && head && getDims(head.getInput()).size() == 3 &&
                getElementTypeOrSelf(predictions).isF32();
    return fits ? head : LinearOp();
  }

  /// Whether `value` is computed from a weight that is trained.
  static bool dependsOn(Value value, const StringNames &trained) {
    Operation *op = value.getDefiningOp();
    if (auto weight = dyn_cast_or_null<WeightOp>(op))
      return trained.contains(weight.getName());
    return op && llvm::any_of(op->getOperands(), [&](Value operand) { return dependsOn(operand, trained); });
  }

  LogicalResult build(func::FuncOp main, const StringNames &trained, StringRef name, bool withGradients) {
    Entry entry(main, name);
    OpBuilder builder(entry.ret());
    auto drop = [](Value, Value) {};
    auto inactive = [](Value) { return false; };
    VJPContext context(builder, entry.ret().getLoc(), drop, inactive);
    auto label = [&](StringRef name, Type type, std::optional<SymExpr> classes) {
      Value argument = entry.addArgument(name, "label", type);
      if (classes)
        entry.function.setArgAttr(cast<BlockArgument>(argument).getArgNumber(), "lm.classes",
                                  getSymValues(builder.getContext(), *classes));
      return argument;
    };
    auto hyper = [&](StringRef name, double byDefault) {
      return entry.addArgument(name, "hyper", RankedTensorType::get({}, builder.getF32Type()), byDefault);
    };
    Value predictions = entry.ret().getOperand(0);
    std::string error;
    FailureOr<Loss> built = failure();
    SmallVector<std::pair<Value, Value>> known; // gradients that the loss came with
    if (auto head = getChunkedHead(predictions); head && withGradients) {
      auto isTrained = [&](Value value) { return dependsOn(value, trained); };
      FailureOr<ChunkedLoss> chunked = buildChunkedCausal(head, chunk, {label, hyper}, isTrained, context);
      if (failed(chunked))
        return failure();
      built = chunked->loss;
      known = std::move(chunked->gradients);
    } else {
      built = buildLoss(loss, predictions, {label, hyper}, context, error);
    }
    if (failed(built))
      return main.emitError() << error;
    if (withGradients && dropout >= 0 && failed(insertDropout(entry.function, hyper, dropout)))
      return failure();
    SmallVector<StringRef> names;
    SmallVector<Value> parameters = entry.promote(trained, names, known);
    SmallVector<Value> results{built->sum, built->weight};
    SmallVector<StringRef> resultNames{"loss", "loss_weight"};
    if (withGradients) {
      FailureOr<SmallVector<Value>> gradients =
          known.empty() ? buildGradients(builder, built->sum, parameters) : buildGradients(builder, known, parameters);
      if (failed(gradients))
        return failure();
      results.append(*gradients);
      resultNames.append(names);
    } else {
      results.push_back(predictions);
      auto first = main.getResultAttrOfType<StringAttr>(0, "lm.name");
      resultNames.push_back(first ? first.getValue() : "output");
    }
    entry.setResults(results, resultNames);
    entry.function->setAttr("lm.loss", builder.getStringAttr(loss));
    return success();
  }
};

} // namespace
