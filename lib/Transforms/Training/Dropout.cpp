#include "Dropout.h"

#include "llmopt/Transforms/Training/TrainedWeights.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// x A^T B^T of an adapter, part of its layer.
bool isAdapter(Value value) {
  auto linear = value.getDefiningOp<LinearOp>();
  auto weight = linear ? linear.getWeight().getDefiningOp<WeightOp>() : WeightOp();
  return weight && getTrainedWeight(weight) == TrainedWeight::Adapter;
}

/// A linear layer with its adapter, if any, or a sum of such.
bool isBranch(Value value) {
  if (auto add = value.getDefiningOp<AddOp>())
    return isBranch(add.getLhs()) && isBranch(add.getRhs());
  return isa_and_nonnull<LinearOp>(value.getDefiningOp());
}

/// The sum of embeddings that `value` is a term of, normalised if it is only used so.
Value followEmbedding(Value value) {
  while (value.hasOneUse()) {
    Operation *user = *value.user_begin();
    if (isa<AddOp>(user) && !llvm::any_of(user->getOperands(), isBranch))
      value = user->getResult(0);
    else if (auto norm = dyn_cast<NormOp>(user); norm && norm.getInput() == value)
      return norm.getResult();
    else
      break;
  }
  return value;
}

/// The input of the layer that gives the logits, unless that is a language model's: those
/// have more classes than inputs.
Value findClassifierInput(func::FuncOp function) {
  Value logits = function.front().getTerminator()->getOperand(0);
  while (logits.getDefiningOp<AddOp>() && isBranch(logits))
    logits = logits.getDefiningOp<AddOp>().getLhs();
  auto linear = logits.getDefiningOp<LinearOp>();
  if (!linear || isAdapter(linear))
    return {};
  std::optional<int64_t> inputs = getDims(linear.getInput()).back().getConstant(),
                         classes = getDims(linear).back().getConstant();
  return inputs && classes && *classes < *inputs ? linear.getInput() : Value();
}

llvm::SetVector<Value> findSites(func::FuncOp function) {
  llvm::SetVector<Value> sites;
  for (Operation &op : function.front()) {
    if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
      Value sum = followEmbedding(embedding);
      if (getDims(sum).size() == 3)
        sites.insert(sum);
    }
    auto add = dyn_cast<AddOp>(op);
    if (!add || getDims(add).size() < 2)
      continue;
    for (auto [branch, around] : {std::pair(add.getLhs(), add.getRhs()), std::pair(add.getRhs(), add.getLhs())})
      if (branch.hasOneUse() && isBranch(branch) && !isBranch(around) && !around.getDefiningOp<WeightOp>() &&
          branch.getType() == around.getType())
        sites.insert(branch);
  }
  if (Value input = findClassifierInput(function))
    sites.insert(input);
  return sites;
}

} // namespace

LogicalResult llmopt::insertDropout(func::FuncOp function,
                                    llvm::function_ref<Value(StringRef name, double byDefault)> hyper,
                                    double probability) {
  llvm::SetVector<Value> sites = findSites(function);
  sites.remove_if([](Value site) { return !isa<FloatType>(getElementTypeOrSelf(site)); });
  if (sites.empty())
    return function.emitError("-dropout: expected embeddings, layers whose results are added to what went around "
                              "them, or a classifier, but the model has none that was raised");
  OpBuilder builder(&function.front(), function.front().begin());
  Location loc = function.getLoc();
  Value p = hyper("dropout", probability);
  auto number = [&](StringRef name) -> Value {
    return CastOp::create(builder, loc, hyper(name, 0), builder.getI64Type());
  };
  Value seed = number("seed"), step = number("step");
  for (auto [id, site] : llvm::enumerate(sites)) {
    if (Operation *op = site.getDefiningOp())
      builder.setInsertionPointAfter(op);
    auto dropout = DropoutOp::create(builder, site.getLoc(), site, p, seed, step, builder.getI64IntegerAttr(id));
    Value(site).replaceAllUsesExcept(dropout.getResult(), dropout);
  }
  return success();
}
