// Sites that the kernel plan fuses later.
#include "llmopt/Transforms/FusionSites.h"
#include "llmopt/Transforms/Matching.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

std::optional<SkipNormSite> llmopt::findSkipNorm(NormOp norm) {
  auto add = norm.getInput().getDefiningOp<AddOp>();
  if (!add || !haveSameDims(add.getLhs(), add.getRhs()) || isWeightDerived(add.getLhs()) ||
      isWeightDerived(add.getRhs()) || findEmbedNorm(norm))
    return std::nullopt;
  return SkipNormSite{norm, add, getOnlyUser(add.getResult()) != norm.getOperation()};
}

/// A weight, a lookup by constant ids, or a reshape or slice of one.
static bool isTable(Value value) {
  Operation *op = value.getDefiningOp();
  while (isa_and_nonnull<ReshapeOp, SliceOp, BroadcastOp>(op))
    op = op->getOperand(0).getDefiningOp();
  if (auto embedding = dyn_cast_or_null<EmbeddingOp>(op))
    return embedding.getIds().getDefiningOp<ConstantOp>() != nullptr;
  return op && isWeightDerived(op->getResult(0));
}

std::optional<EmbedNormSite> llmopt::findEmbedNorm(NormOp norm) {
  EmbedNormSite site{norm, {}, {}};
  SmallVector<Value> terms{norm.getInput()};
  while (!terms.empty()) {
    Value term = terms.pop_back_val();
    Operation *op = term.getDefiningOp();
    if (auto add = dyn_cast_or_null<AddOp>(op)) {
      terms.push_back(add.getRhs());
      terms.push_back(add.getLhs());
    } else if (isTable(term)) {
      site.tables.push_back(term);
    } else if (auto embedding = dyn_cast_or_null<EmbeddingOp>(op)) {
      site.embeddings.push_back(embedding);
    } else {
      return std::nullopt;
    }
    if (site.embeddings.size() + site.tables.size() + terms.size() > 8)
      return std::nullopt;
  }
  return site.embeddings.empty() ? std::nullopt : std::optional(site);
}

LinearEpilogue llmopt::findLinearEpilogue(LinearOp linear) {
  LinearEpilogue site;
  site.linear = linear;
  site.result = linear.getResult();
  if (site.result.hasOneUse() && isa<GeluOp, ReluOp, TanhOp, SigmoidOp>(*site.result.user_begin())) {
    site.activation = *site.result.user_begin();
    site.result = site.activation->getResult(0);
  }
  auto add = site.result.hasOneUse() ? dyn_cast<AddOp>(*site.result.user_begin()) : AddOp();
  if (add && haveSameDims(add.getLhs(), add.getRhs()) && haveSameDims(add, site.result)) {
    site.add = add;
    site.residual = add.getLhs() == site.result ? add.getRhs() : add.getLhs();
    site.result = add.getResult();
  }
  return site;
}
