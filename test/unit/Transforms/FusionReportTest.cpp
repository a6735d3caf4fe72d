#include "llmopt/Transforms/FusionReport.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/JSON.h"

#include <gtest/gtest.h>

using namespace llmopt;

namespace {

FusionReport makeReport(mlir::MLIRContext &context) {
  mlir::Location loc = mlir::UnknownLoc::get(&context);
  FusionReport report;
  report.sites.push_back({FusionKind::Gelu, true, loc, "a", "erf", ""});
  report.sites.push_back({FusionKind::Attention, false, loc, "b\"\xff", "the mask", "drop it"});
  return report;
}

std::string parseError(llvm::StringRef text) {
  auto requirements = parseFusionRequirements(text);
  return requirements ? "" : llvm::toString(requirements.takeError());
}

TEST(FusionReport, Requirements) {
  mlir::MLIRContext context;
  FusionReport report = makeReport(context);
  auto met = llvm::cantFail(parseFusionRequirements("gelu:1,attention:0"));
  EXPECT_TRUE(checkFusionRequirements(report, met).empty());
  auto unmet = llvm::cantFail(parseFusionRequirements("attention:1,gelu:2"));
  std::vector<std::string> differences = checkFusionRequirements(report, unmet);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0], "expected 1 attention fusions, but got 0 (first missed: b\"\xff: the mask)");
  EXPECT_EQ(differences[1], "expected 2 gelu fusions, but got 1");
}

TEST(FusionReport, MalformedRequirements) {
  EXPECT_EQ(parseError("gelu"), "expected gelu:COUNT, but got 'gelu'");
  EXPECT_EQ(parseError("gelu:-1"), "expected gelu:COUNT, but got 'gelu:-1'");
  EXPECT_EQ(parseError("gelu:1,gelu:1"), "expected every kind once, but got 'gelu' twice");
  EXPECT_EQ(parseError("glu:1").find("expected one of attention, norm"), 0u);
}

TEST(FusionReport, JSONIsValidWhateverNodesAreCalled) {
  mlir::MLIRContext context;
  std::string text;
  llvm::raw_string_ostream os(text);
  printFusionJSON(makeReport(context), os);
  auto json = llvm::json::parse(text);
  ASSERT_TRUE(static_cast<bool>(json)) << llvm::toString(json.takeError());
  EXPECT_EQ(json->getAsObject()->getObject("fusions")->getObject("attention")->getInteger("missed"), 1);
  EXPECT_EQ(json->getAsObject()->getArray("sites")->size(), 2u);
}

} // namespace
