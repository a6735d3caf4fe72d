// What was raised or fused, what was not, and why.
//
// The report is a function of the IR: an L1 operation is a site that passed, an
// L0 operation that begins a known idiom is one that was missed, and its reason
// comes from the same matcher that the Raise pass used. It can therefore be
// collected at any point and never goes stale.
#ifndef LLMOPT_TRANSFORMS_FUSIONREPORT_H
#define LLMOPT_TRANSFORMS_FUSIONREPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <optional>
#include <string>
#include <vector>

namespace llmopt {

enum class FusionKind { Attention, Norm, Gelu, Linear, QKV, Embedding, SkipNorm, EmbedNorm };
inline constexpr unsigned kNumFusionKinds = 8;

/// "attention", "norm", "gelu", "linear", "qkv", "embedding", "skip-norm", "embed-norm".
llvm::StringRef getFusionKindName(FusionKind kind);
std::optional<FusionKind> parseFusionKind(llvm::StringRef name);

struct FusionSite {
  FusionKind kind;
  bool passed;
  mlir::Location loc;
  /// The ONNX node that the site is named after, or its line where it has none.
  std::string node;
  /// What the site became ("erf", "layer, scale and bias"), or why it was missed.
  std::string detail;
  /// What the owner of the model could do about a miss; may be empty.
  std::string suggestion;
};

struct FusionReport {
  std::vector<FusionSite> sites; // in the order of the IR

  unsigned countPassed(FusionKind kind) const;
  unsigned countMissed(FusionKind kind) const;
};

/// Every site below `root`.
FusionReport collectFusionReport(mlir::Operation *root);

/// A table of counts, and every missed site with reason and suggestion.
void printFusionTable(const FusionReport &report, llvm::raw_ostream &os);
/// {"fusions": {KIND: {"passed": n, "missed": n}}, "sites": [{"kind", "passed",
/// "node", "detail", "suggestion"}]}
void printFusionJSON(const FusionReport &report, llvm::raw_ostream &os);

/// Checks `attention:12,norm:25`: each kind named must have passed exactly that
/// often. The error says what was malformed, or lists every difference with the
/// reasons of missed sites; `isUsage` tells the two apart.
struct FusionRequirement {
  FusionKind kind;
  unsigned count;
};
llvm::Expected<std::vector<FusionRequirement>> parseFusionRequirements(llvm::StringRef text);
/// Empty if all are met, else one line per kind that is not.
std::vector<std::string> checkFusionRequirements(const FusionReport &report,
                                                 llvm::ArrayRef<FusionRequirement> requirements);

/// Sends the sites of one kind to MLIR's remark engine, if the context has one.
void emitFusionRemarks(mlir::Operation *root, FusionKind kind, llvm::StringRef passName);

/// The ONNX node name a location carries (the outermost name), else file:line.
std::string getNodeName(mlir::Location loc);

} // namespace llmopt

#endif
