// Prints the fusion report to standard output, for tests and people who write passes.
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

namespace llmopt {
#define GEN_PASS_DEF_REPORTFUSIONPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;

namespace {
struct ReportFusionPass : llmopt::impl::ReportFusionPassBase<ReportFusionPass> {
  using ReportFusionPassBase::ReportFusionPassBase;

  void runOnOperation() override {
    FusionReport report = collectFusionReport(getOperation());
    if (json)
      printFusionJSON(report, llvm::outs());
    else
      printFusionTable(report, llvm::outs());
    markAllAnalysesPreserved();
  }
};
} // namespace
