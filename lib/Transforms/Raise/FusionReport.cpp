// Collecting the fusion report: one visitor per kind of site.
#include "llmopt/Transforms/FusionReport.h"

#include "AttentionMatch.h"
#include "RaiseMatchers.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"
#include "llmopt/Transforms/FusionSites.h"

#include "mlir/IR/Remarks.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static constexpr StringRef kNames[kNumFusionKinds] = {"attention", "norm",      "gelu",      "linear",
                                                      "qkv",       "embedding", "skip-norm", "embed-norm"};

StringRef llmopt::getFusionKindName(FusionKind kind) { return kNames[static_cast<unsigned>(kind)]; }

std::optional<FusionKind> llmopt::parseFusionKind(StringRef name) {
  for (unsigned i = 0; i < kNumFusionKinds; ++i)
    if (kNames[i] == name)
      return static_cast<FusionKind>(i);
  return std::nullopt;
}

unsigned FusionReport::countPassed(FusionKind kind) const {
  return llvm::count_if(sites, [&](const FusionSite &site) { return site.kind == kind && site.passed; });
}

unsigned FusionReport::countMissed(FusionKind kind) const {
  return llvm::count_if(sites, [&](const FusionSite &site) { return site.kind == kind && !site.passed; });
}

std::string llmopt::getNodeName(Location loc) {
  for (const NodeInfo &info : getNodes(loc))
    if (!info.node.empty())
      return info.node;
  if (auto name = dyn_cast<NameLoc>(loc))
    return name.getName().str();
  if (auto fused = dyn_cast<FusedLoc>(loc); fused && !fused.getLocations().empty())
    return getNodeName(fused.getLocations().front());
  if (auto file = dyn_cast<FileLineColLoc>(loc))
    return llvm::formatv("{0}:{1}", file.getFilename().getValue(), file.getLine());
  return "?";
}

namespace {

class Collector {
public:
  void visit(Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](AttentionOp attention) { visitAttention(attention); })
        .Case([&](SoftmaxOp softmax) { missed(FusionKind::Attention, softmax, matchAttention(softmax)); })
        .Case([&](NormOp norm) { visitNorm(norm); })
        .Case([&](ReduceOp reduce) { missed(FusionKind::Norm, reduce, matchNorm(reduce)); })
        .Case([&](GeluOp gelu) { passed(FusionKind::Gelu, gelu, stringifyGeluKind(gelu.getKind())); })
        .Case<ErfOp, TanhOp, SigmoidOp>([&](Operation *act) { missed(FusionKind::Gelu, act, matchGelu(act)); })
        .Case([&](LinearOp linear) { passed(FusionKind::Linear, linear, linear.getBias() ? "with bias" : "no bias"); })
        .Case([&](MatMulOp matmul) { missed(FusionKind::Linear, matmul, matchLinear(matmul)); })
        .Case([&](EmbeddingOp embedding) { passed(FusionKind::Embedding, embedding, "rows of a table"); })
        .Case([&](GatherOp gather) { missed(FusionKind::Embedding, gather, matchEmbedding(gather)); });
  }

  FusionReport report;

private:
  void passed(FusionKind kind, Operation *op, const Twine &detail) {
    report.sites.push_back({kind, true, op->getLoc(), getNodeName(op->getLoc()), detail.str(), ""});
  }

  void missed(FusionKind kind, Operation *op, const Miss &miss) {
    report.sites.push_back({kind, false, op->getLoc(), getNodeName(op->getLoc()), miss.reason, miss.suggestion});
  }

  /// What a matcher says about an operation that is still there.
  template <typename T> void missed(FusionKind kind, Operation *op, Candidate<T> candidate) {
    if (!candidate)
      return;
    missed(kind, op, *candidate ? Miss{"it matches, but has not been raised", "run lm-raise"} : candidate->getMiss());
  }

  void visitAttention(AttentionOp attention) {
    std::string detail =
        llvm::formatv("{0} heads, mask {1}{2}", attention.getNumHeads(), stringifyMaskKind(attention.getMaskKind()),
                      attention.getCausal() ? ", causal" : "");
    passed(FusionKind::Attention, attention, detail);
    if (isPackedQKV(attention))
      passed(FusionKind::QKV, attention, "one linear");
    else
      missed(FusionKind::QKV, attention, matchQKV(attention));
  }

  void visitNorm(NormOp norm) {
    std::string detail = stringifyNormKind(norm.getKind()).str();
    detail += norm.getScale() ? ", scale" : "";
    detail += norm.getBias() ? ", bias" : "";
    passed(FusionKind::Norm, norm, detail);
    if (std::optional<EmbedNormSite> site = findEmbedNorm(norm)) {
      passed(FusionKind::EmbedNorm, norm, Twine(site->embeddings.size()) + " lookups");
    } else if (std::optional<SkipNormSite> site = findSkipNorm(norm)) {
      passed(FusionKind::SkipNorm, norm,
             site->sumIsUsedElsewhere ? "the sum is used elsewhere too" : "the sum is used once");
    } else if (auto add = norm.getInput().getDefiningOp<AddOp>()) {
      missed(FusionKind::SkipNorm, norm,
             Miss{haveSameDims(add.getLhs(), add.getRhs()) ? "one term of the sum is a weight"
                                                           : "the terms of the sum differ in shape",
                  ""});
    }
  }
};

} // namespace

FusionReport llmopt::collectFusionReport(Operation *root) {
  Collector collector;
  root->walk([&](Operation *op) { collector.visit(op); });
  return std::move(collector.report);
}

void llmopt::emitFusionRemarks(Operation *root, FusionKind kind, StringRef passName) {
  if (!root->getContext()->getRemarkEngine())
    return;
  for (const FusionSite &site : collectFusionReport(root).sites) {
    if (site.kind != kind)
      continue;
    auto options = remark::RemarkOpts::name(getFusionKindName(kind)).category(passName);
    if (site.passed) {
      remark::passed(site.loc, options) << site.detail;
      continue;
    }
    auto remark = remark::missed(site.loc, options);
    remark << remark::reason("{0}", site.detail);
    if (!site.suggestion.empty())
      remark << remark::suggest("{0}", site.suggestion);
  }
}
