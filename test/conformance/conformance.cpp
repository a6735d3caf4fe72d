// llmopt-conformance: ONNX's operator tests through the importer and the evaluator.
//
//   llmopt-conformance [--status=DIR [--update]] [--symbolic] [--filter=TEXT]
//                      [--tolerance=1e-4] [-v] SUITE...
//
// A suite is a directory of tests, each with model.onnx and test_data_set_*/.
// A test is first imported with every input unknown. Many operators take shapes,
// axes or repeats as inputs, which must be known when compiling; then the test is
// imported again with its short integer inputs as constants, at last with all
// short inputs. With --status, results must be those of the checked-in lists:
// an unexpected pass is a failure too. With --symbolic, all dimensions of inputs
// are symbols, and only wrong results are failures. --tolerance is for whole models
// (make_ort_cases.py), where roundings add up.
#include "Compare.h"
#include "Status.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Import/ONNX/Import.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cstdio>

using namespace llmopt;
using namespace llmopt::conformance;
using namespace mlir;

namespace {

struct Options {
  std::string status, filter;
  double tolerance = 0;
  bool update = false, symbolic = false, verbose = false;
  std::vector<std::string> suites;
};

/// Which inputs are constants.
enum class Known { Nothing, ShortIntegers, ShortInputs };

struct Outcome {
  enum Kind { Passed, Unsupported, Wrong } kind = Wrong;
  std::string text;
  bool withConstants = false;
};

std::vector<std::string> list(const std::string &directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(directory, error), end; it != end && !error; it.increment(error))
    names.push_back(llvm::sys::path::filename(it->path()).str());
  llvm::sort(names);
  return names;
}

/// A short class for an importer's message.
std::string classify(llvm::StringRef message) {
  size_t at = message.find("unsupported operator ");
  if (at != llvm::StringRef::npos)
    return "operator " + message.substr(at + 21).split(" (opset").first.str();
  at = message.find("unsupported element type ");
  if (at != llvm::StringRef::npos)
    return "type " + message.substr(at + 25).split(" ").first.split(";").first.str();
  if (message.contains("only tensors are supported"))
    return "sequence, map or optional value";
  if (message.contains("depends on their data") || message.contains("to be constant"))
    return "size that depends on data";
  if (message.contains("has no shape"))
    return "input without a shape";
  size_t colon = message.rfind(": ");
  if (message.empty() || message.starts_with("byte ") || message == "the tensor has no data" ||
      message.starts_with("segmented tensors") || message.ends_with("type UNDEFINED"))
    return "sequence, map or optional value"; // as test data
  return message.substr(colon == llvm::StringRef::npos ? 0 : colon + 2).str();
}

class Test {
public:
  Test(std::string directory, double tolerance) : directory(std::move(directory)), tolerance(tolerance) {}

  Outcome run(bool symbolic) {
    Outcome outcome;
    std::vector<std::string> sets;
    for (const std::string &name : list(directory))
      if (llvm::StringRef(name).starts_with("test_data_set_"))
        sets.push_back(directory + "/" + name);
    if (sets.empty())
      return {Outcome::Unsupported, "no test data", false};
    for (Known known : {Known::Nothing, Known::ShortIntegers, Known::ShortInputs}) {
      outcome.withConstants = known != Known::Nothing;
      for (const std::string &set : sets) {
        outcome.kind = Outcome::Passed;
        runSet(set, known, symbolic, outcome);
        if (outcome.kind != Outcome::Passed)
          break;
      }
      if (outcome.kind != Outcome::Unsupported)
        return outcome;
    }
    return outcome;
  }

private:
  void runSet(const std::string &set, Known known, bool symbolic, Outcome &outcome);

  std::string directory;
  double tolerance;
};

// Inputs are numbered in the graph's order, which only the model knows; an import
// without constants gives the names.
void Test::runSet(const std::string &set, Known known, bool symbolic, Outcome &outcome) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  std::string firstError;
  auto handler = [&](const ImportMessage &message) {
    if (message.isError && firstError.empty())
      firstError = message.text;
  };
  auto fail = [&](Outcome::Kind kind, const llvm::Twine &text) {
    outcome.kind = kind;
    outcome.text = text.str();
  };
  std::string model = directory + "/model.onnx", error;
  FailureOr<std::vector<std::string>> names = listONNXInputs(model, error);
  if (failed(names))
    return fail(Outcome::Unsupported, error);

  ONNXImportOptions options;
  options.forgetStaticDims = symbolic;
  SmallVector<lm::Tensor> inputs;
  for (auto [i, name] : llvm::enumerate(*names)) {
    std::string path = set + "/input_" + std::to_string(i) + ".pb";
    if (!llvm::sys::fs::exists(path))
      break; // optional inputs at the end
    DenseElementsAttr value = readONNXTensor(&context, path, error);
    if (!value)
      return fail(Outcome::Unsupported, classify(error));
    bool isShort = value.getType().getRank() <= 1 && value.getNumElements() <= 64;
    bool isConstant = known == Known::ShortIntegers ? isShort && value.getElementType().isInteger()
                                                    : known == Known::ShortInputs && isShort;
    if (isConstant) {
      options.inputValues[name] = value;
      continue;
    }
    llvm::Expected<lm::Tensor> tensor = lm::Tensor::fromAttr(value);
    if (!tensor)
      return fail(Outcome::Wrong, llvm::toString(tensor.takeError()));
    inputs.push_back(std::move(*tensor));
  }
  FailureOr<OwningOpRef<ModuleOp>> module = importONNX(&context, model, options, handler);
  if (failed(module))
    return fail(Outcome::Unsupported, classify(firstError));

  std::string said;
  ScopedDiagnosticHandler diagnostics(&context, [&](Diagnostic &diagnostic) {
    if (said.empty())
      said = diagnostic.str();
    return success();
  });
  auto function = (*module)->lookupSymbol<func::FuncOp>("main");
  FailureOr<SmallVector<lm::Tensor>> outputs = lm::evaluate(function, inputs);
  if (failed(outputs))
    return fail(Outcome::Wrong, "not evaluated: " + said);
  for (auto [i, output] : llvm::enumerate(*outputs)) {
    std::string path = set + "/output_" + std::to_string(i) + ".pb";
    DenseElementsAttr value = readONNXTensor(&context, path, error);
    if (!value)
      return fail(Outcome::Unsupported, classify(error));
    llvm::Expected<lm::Tensor> expected = lm::Tensor::fromAttr(value);
    if (!expected)
      return fail(Outcome::Wrong, llvm::toString(expected.takeError()));
    std::string difference;
    if (!hasRandomOutputs(llvm::sys::path::filename(directory)))
      difference = compare(output, *expected, tolerance);
    else if (output.getType() != expected->getType())
      difference = "expected " + typeText(*expected) + ", but got " + typeText(output);
    if (!difference.empty())
      return fail(Outcome::Wrong, "output " + llvm::Twine(i) + ": " + difference);
  }
}

std::optional<Options> parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef arg = argv[i];
    if (arg.consume_front("--status="))
      options.status = arg.str();
    else if (arg.consume_front("--filter="))
      options.filter = arg.str();
    else if (arg.consume_front("--tolerance=")) {
      if (arg.getAsDouble(options.tolerance))
        return std::nullopt;
    } else if (arg == "--update")
      options.update = true;
    else if (arg == "--symbolic")
      options.symbolic = true;
    else if (arg == "-v")
      options.verbose = true;
    else if (arg.starts_with("-"))
      return std::nullopt;
    else
      options.suites.push_back(arg.rtrim('/').str());
  }
  return options.suites.empty() ? std::nullopt : std::optional<Options>(options);
}

} // namespace

int main(int argc, char **argv) {
  std::optional<Options> options = parse(argc, argv);
  if (!options) {
    std::fprintf(stderr, "usage: llmopt-conformance [--status=DIR [--update]] [--symbolic] "
                         "[--filter=TEXT] [--tolerance=1e-4] [-v] SUITE...\n");
    return 2;
  }
  Status known, seen;
  bool check = !options->status.empty() && !options->update;
  if (check && !known.read(options->status)) {
    std::fprintf(stderr, "no lists in %s\n", options->status.c_str());
    return 2;
  }
  unsigned unexpected = 0, wrong = 0, withConstants = 0;
  std::map<std::string, unsigned> reasons;
  for (const std::string &suite : options->suites) {
    if (!llvm::sys::fs::is_directory(suite)) {
      std::printf("conformance: skipped, no test data at %s\n", suite.c_str());
      return 0;
    }
    for (const std::string &test : list(suite)) {
      std::string name = llvm::sys::path::filename(suite).str() + "/" + test;
      if (!llvm::StringRef(name).contains(options->filter))
        continue;
      Outcome outcome =
          Test(suite + "/" + test, std::max(options->tolerance, getTypedTolerance(name))).run(options->symbolic);
      if (outcome.kind == Outcome::Passed) {
        seen.passes.insert(name);
        withConstants += outcome.withConstants;
      } else if (outcome.kind == Outcome::Unsupported) {
        seen.unsupported[name] = outcome.text;
        ++reasons[outcome.text];
      } else {
        ++wrong;
        std::printf("WRONG %s: %s\n", name.c_str(), outcome.text.c_str());
      }
      if (options->verbose)
        std::printf("%s %s%s %s\n", outcome.kind == Outcome::Passed ? "pass" : "fail", name.c_str(),
                    outcome.withConstants ? " (constants)" : "", outcome.text.c_str());
      if (!check)
        continue;
      bool mustPass = known.passes.count(name) != 0;
      if (mustPass && outcome.kind == Outcome::Unsupported) {
        ++unexpected;
        std::printf("UNEXPECTED %s does not pass any more: %s\n", name.c_str(), outcome.text.c_str());
      } else if (!mustPass && outcome.kind == Outcome::Passed) {
        ++unexpected;
        std::printf("UNEXPECTED %s passes; move it to passes.txt\n", name.c_str());
      } else if (outcome.kind == Outcome::Unsupported && !known.unsupported.count(name)) {
        ++unexpected;
        std::printf("UNEXPECTED %s is in neither list: %s\n", name.c_str(), outcome.text.c_str());
      }
    }
  }
  std::printf("conformance: %zu passed (%u with short inputs as constants), %zu unsupported, %u wrong\n",
              seen.passes.size(), withConstants, seen.unsupported.size(), wrong);
  std::vector<std::pair<unsigned, std::string>> sorted;
  for (const auto &[reason, count] : reasons)
    sorted.push_back({count, reason});
  llvm::sort(sorted, [](const auto &a, const auto &b) { return a.first > b.first; });
  size_t shown = options->verbose ? sorted.size() : std::min<size_t>(sorted.size(), 12);
  for (const auto &[count, reason] : llvm::ArrayRef(sorted).take_front(shown))
    std::printf("  %u unsupported: %s\n", count, reason.c_str());
  if (options->update && !seen.write(options->status))
    return 1;
  return unexpected || wrong ? 1 : 0;
}
