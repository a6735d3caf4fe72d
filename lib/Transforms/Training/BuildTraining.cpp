// An inference function, and beside it what gives its loss and its gradients.
//
// Weights that are trained become arguments, so that the same compiled code runs any
// number of times; frozen ones stay constants, packed like those of inference.
#include "Losses.h"

#include "llmopt/Transforms/Training/Passes.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/GlobPattern.h"

namespace llmopt {
#define GEN_PASS_DEF_BUILDTRAININGPASS
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

using StringNames = llvm::StringSet<llvm::MallocAllocator>;

/// Names that share the most letters with what nobody has, the closest first.
SmallVector<StringRef> nearest(StringRef wanted, ArrayRef<StringRef> names) {
  std::vector<std::pair<unsigned, StringRef>> byDistance;
  std::string plain;
  llvm::copy_if(wanted, std::back_inserter(plain), [](char c) { return c != '*' && c != '?'; });
  for (StringRef name : names)
    byDistance.push_back({name.contains(plain) ? 0 : StringRef(plain).edit_distance(name), name});
  std::sort(byDistance.begin(), byDistance.end());
  SmallVector<StringRef> best;
  for (auto &[distance, name] : ArrayRef(byDistance).take_front(3))
    best.push_back(name);
  return best;
}

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

  /// Weights of these names become arguments, in the order of their definitions.
  SmallVector<Value> promote(const StringNames &trained, SmallVectorImpl<StringRef> &names) {
    SmallVector<Value> parameters;
    for (WeightOp weight : llvm::make_early_inc_range(function.getOps<WeightOp>())) {
      if (!trained.contains(weight.getName()))
        continue;
      names.push_back(weight.getNameAttr().getValue());
      parameters.push_back(addArgument(names.back(), "parameter", weight.getType()));
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
    SmallVector<StringRef> names;
    for (WeightOp weight : main.getOps<WeightOp>())
      if (getElementTypeOrSelf(weight.getType()).isF32())
        names.push_back(weight.getName());
    if (names.empty())
      return main.emitError("expected f32 weights to train, but the model has none");
    if (trainable.empty()) {
      trained.insert(names.begin(), names.end());
      return success();
    }
    for (const std::string &glob : trainable) {
      llvm::Expected<llvm::GlobPattern> pattern = llvm::GlobPattern::create(glob);
      if (!pattern)
        return main.emitError() << "-trainable: " << glob << ": " << llvm::toString(pattern.takeError());
      bool any = false;
      for (StringRef name : names)
        if (pattern->match(name)) {
          trained.insert(name);
          any = true;
        }
      if (!any)
        return main.emitError() << "-trainable: no weight matches '" << glob << "'; near names are "
                                << llvm::join(nearest(glob, names), ", ");
    }
    return success();
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
    FailureOr<Loss> built = buildLoss(loss, predictions, {label, hyper}, context, error);
    if (failed(built))
      return main.emitError() << error;
    SmallVector<StringRef> names;
    SmallVector<Value> parameters = entry.promote(trained, names);
    SmallVector<Value> results{built->sum, built->weight};
    SmallVector<StringRef> resultNames{"loss", "loss_weight"};
    if (withGradients) {
      FailureOr<SmallVector<Value>> gradients = buildGradients(builder, built->sum, parameters);
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
