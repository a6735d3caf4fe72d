// Raises whole models and demands two things: that what they compute stays the
// same, and that exactly the fusions of raise-models.txt happen.
//
// Models outside the tree are skipped where they are not there. With
// LLMOPT_PRINT_RAISE_TABLE=1 the found counts are printed as table lines.
#include "PromotedModel.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Import/ONNX/Import.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/MemoryBuffer.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::test;

namespace {

struct Row {
  std::string model;    // path below a folder of models
  std::string expected; // "norm:5,gelu:2", or "-" for no fusion at all
  std::map<std::string, int64_t> sizes;
  bool evaluate = true;
};

void PrintTo(const Row &row, std::ostream *os) { *os << row.model; }

std::vector<Row> readTable() {
  std::vector<Row> rows;
  auto buffer = llvm::MemoryBuffer::getFile(LLMOPT_RAISE_TABLE);
  if (!buffer)
    return rows;
  for (llvm::line_iterator line(**buffer, /*SkipBlanks=*/true, '#'); !line.is_at_end(); ++line) {
    auto [model, rest] = line->split(' ');
    auto [expected, sizes] = rest.trim().split(' ');
    Row row{model.str(), expected.str(), {}, sizes.trim() != "unevaluated"};
    llvm::SmallVector<StringRef> parts;
    sizes.trim().split(parts, ',', -1, /*KeepEmpty=*/false);
    for (StringRef part : parts)
      if (auto [symbol, value] = part.split('='); row.evaluate)
        value.getAsInteger(10, row.sizes[symbol.str()]);
    rows.push_back(row);
  }
  return rows;
}

std::string findModel(const std::string &name) {
  for (const char *folder : {LLMOPT_TEST_MODELS, LLMOPT_SHARED_MODELS})
    if (std::string path = std::string(folder) + "/" + name; llvm::sys::fs::exists(path))
      return path;
  return "";
}

/// Every kind that passed, in the table's form.
std::string summarise(const FusionReport &report) {
  std::string text;
  for (unsigned i = 0; i < kNumFusionKinds; ++i)
    if (unsigned count = report.countPassed(static_cast<FusionKind>(i)))
      text +=
          (text.empty() ? "" : ",") + getFusionKindName(static_cast<FusionKind>(i)).str() + ":" + std::to_string(count);
  return text.empty() ? "-" : text;
}

std::vector<std::vector<lm::Tensor>> evaluateAll(ModuleOp module, const Row &row) {
  OwningOpRef<ModuleOp> promoted = module.clone();
  promoteToF64(*promoted);
  std::vector<std::vector<lm::Tensor>> outputs;
  for (unsigned variant = 0; variant < 3 && row.evaluate; ++variant) {
    auto values = lm::evaluate(*promoted->getOps<func::FuncOp>().begin(), makeInputs(*promoted, variant, row.sizes));
    outputs.emplace_back();
    if (succeeded(values))
      outputs.back().assign(values->begin(), values->end());
  }
  return outputs;
}

class RaiseModels : public testing::TestWithParam<Row> {};

TEST_P(RaiseModels, KeepsMeaningAndFusesAsExpected) {
  std::string path = findModel(GetParam().model);
  if (path.empty())
    GTEST_SKIP() << GetParam().model << " is not there";
  MLIRContext context;
  context.loadDialect<lm::LMDialect, func::FuncDialect>();
  std::string messages;
  auto module = importONNX(&context, path, {}, [&](const ImportMessage &message) { messages += message.text + "\n"; });
  ASSERT_TRUE(succeeded(module)) << messages;
  auto before = evaluateAll(**module, GetParam());

  PassManager pm(&context);
  buildRaisePipeline(pm);
  ASSERT_TRUE(succeeded(pm.run(**module)));
  ASSERT_TRUE(succeeded(verify(**module)));
  FusionReport report = collectFusionReport(**module);
  std::string found = summarise(report);
  if (std::getenv("LLMOPT_PRINT_RAISE_TABLE")) {
    llvm::outs() << GetParam().model << ' ' << found << '\n';
    printFusionTable(report, llvm::outs());
  }
  EXPECT_EQ(found, GetParam().expected);

  auto after = evaluateAll(**module, GetParam());
  for (size_t variant = 0; variant < before.size(); ++variant) {
    ASSERT_EQ(before[variant].size(), after[variant].size());
    EXPECT_FALSE(before[variant].empty()) << "variant " << variant << " could not be evaluated";
    for (size_t i = 0; i < before[variant].size(); ++i)
      EXPECT_EQ(compare(after[variant][i], before[variant][i], 1e-6), "") << "variant " << variant << ", output " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, RaiseModels, testing::ValuesIn(readTable()), [](const auto &info) {
  std::string name = info.param.model;
  for (char &c : name)
    c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

TEST(RaiseModelsTable, IsThere) { EXPECT_GT(readTable().size(), 20u); }

} // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
