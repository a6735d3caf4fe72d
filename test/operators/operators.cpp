// llmopt-operators: what works for which operation, as tables of docs.
//
//   llmopt-operators --source=DIR [--update] [-v]
//
// Every operation that the dialect registers must have a sample in
// test/operators/samples.mlir; every cell of docs/operators.md that has no mark, a
// reason in reasons.txt; and the docs must be what this program writes. Wrong
// results, or gradients, have no reason: they always fail.
#include "Probe.h"
#include "Table.h"

#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Parser/Parser.h"
#include "llvm/ADT/STLExtras.h"

#include <cstdio>
#include <fstream>
#include <sstream>

using namespace llmopt;
using namespace llmopt::operators;

namespace {

struct Column {
  const char *name;
  Answer (Sample::*ask)() const;
};
const Column kAsked[] = {{"verifier", &Sample::tryVerifier}, {"evaluator", &Sample::tryEvaluator},
                         {"CPU", &Sample::tryCPU},           {"gradient", &Sample::tryGradient},
                         {"CUDA", &Sample::tryCuda},         {"int8", &Sample::tryInt8}};

std::string readText(const std::string &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Writes the file, or demands that it is as it would be written.
void settle(const std::string &path, const std::string &text, bool update, std::vector<std::string> &problems) {
  if (readText(path) == text)
    return;
  if (!update) {
    problems.push_back(path + " is not what the tests find; run llmopt-operators --update");
    return;
  }
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file.good())
    problems.push_back(path + ": cannot be written");
}

std::vector<Sample> makeSamples(mlir::ModuleOp module, const cpu::TargetInfo &target,
                                std::vector<std::string> &problems) {
  std::vector<Sample> samples;
  for (auto function : module.getOps<mlir::func::FuncOp>()) {
    samples.emplace_back(function, target);
    if (!samples.back().findOp()) {
      problems.push_back("expected @" + function.getName().str() + " to hold lm." + samples.back().getName());
      samples.pop_back();
    }
  }
  for (mlir::RegisteredOperationName op : module.getContext()->getRegisteredOperations())
    if (op.getDialectNamespace() == "lm" &&
        llvm::none_of(samples, [&](const Sample &s) { return "lm." + s.getName() == op.getStringRef(); }))
      problems.push_back(op.getStringRef().str() + " has no sample");
  return samples;
}

Marks ask(llvm::ArrayRef<Sample> samples, bool verbose, std::vector<std::string> &problems) {
  Marks marks;
  std::vector<Sample> onCuda;
  for (const Sample &sample : samples) {
    bool isInt8 = sample.getVariant() == "int8";
    for (const Column &column : kAsked) {
      if (isInt8 && column.name != llvm::StringRef("int8"))
        continue; // the plain sample's
      Answer answer = (sample.*column.ask)();
      if (answer.kind == Answer::Yes)
        marks[sample.getName()].insert(column.name);
      else
        marks[sample.getName()];
      if (answer.kind == Answer::Wrong)
        problems.push_back("lm." + sample.getName() + " is wrong for " + column.name + ": " + answer.text);
      if (verbose && answer.kind == Answer::No)
        std::printf("lm.%s not for %s: %s\n", sample.getName().c_str(), column.name, answer.text.c_str());
      if (answer.kind == Answer::Yes && column.name == llvm::StringRef("CUDA"))
        onCuda.push_back(sample);
    }
  }
  if (Answer answer = tryEmulation(onCuda); answer.kind != Answer::Yes)
    problems.push_back("emulated CUDA: " + answer.text);
  return marks;
}

} // namespace

int main(int argc, char **argv) {
  std::string source;
  bool update = false, verbose = false, usage = false;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef arg = argv[i];
    if (arg.consume_front("--source="))
      source = arg.str();
    else if (arg == "--update")
      update = true;
    else if (arg == "-v")
      verbose = true;
    else
      usage = true;
  }
  if (usage || source.empty()) {
    std::fprintf(stderr, "usage: llmopt-operators --source=DIR [--update] [-v]\n");
    return 2;
  }
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", "native", error);
  if (!target) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<lm::LMDialect, kernel::KernelDialect, mlir::func::FuncDialect>();
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(source + "/test/operators/samples.mlir", &context);
  if (!module)
    return 1;
  std::vector<std::string> problems;
  std::vector<Sample> samples = makeSamples(*module, *target, problems);
  Reasons reasons;
  if (!reasons.read(source + "/test/operators/reasons.txt", problems))
    problems.push_back("expected test/operators/reasons.txt");
  Marks marks = ask(samples, verbose, problems);
  std::string operators = renderOperators(marks, reasons, problems);
  llvm::append_range(problems, reasons.getUnused());
  settle(source + "/docs/operators.md", operators, update, problems);
  settle(source + "/docs/onnx-operators.md", renderONNX(), update, problems);
  for (const std::string &problem : problems)
    std::printf("%s\n", problem.c_str());
  std::printf("operators: %zu operations, %zu problems\n", marks.size(), problems.size());
  return problems.empty() ? 0 : 1;
}
