#include "Case.h"

#include "Compare.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Execution/Arrays.h"
#include "llmopt/Execution/InProcess.h"
#include "llmopt/Import/ONNX/Import.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace llmopt;
using namespace llmopt::conformance;
using namespace mlir;

const char *conformance::nameOf(Mode mode) {
  switch (mode) {
  case Mode::Evaluator:
    return "evaluator";
  case Mode::Symbolic:
    return "symbolic";
  case Mode::Static:
    return "static";
  case Mode::Dynamic:
    return "dynamic";
  case Mode::Constant:
    return "constant";
  }
  return "";
}

std::vector<std::string> conformance::list(const std::string &directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(directory, error), end; it != end && !error; it.increment(error))
    names.push_back(llvm::sys::path::filename(it->path()).str());
  llvm::sort(names);
  return names;
}

namespace {

/// Which inputs are known when importing.
enum class Known { Nothing, ShortIntegers, ShortInputs, Everything };

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

/// The same for a message of the plan or of code generation: without shapes.
std::string classifyCompiler(llvm::StringRef message) {
  size_t at = message.find("but got tensor<");
  if (at == llvm::StringRef::npos)
    at = message.find("but got 'tensor<");
  if (at == llvm::StringRef::npos)
    return message.str();
  llvm::StringRef type = message.substr(at);
  type = type.take_front(type.find_first_of(",>"));
  return "element type " + type.substr(type.find_last_of("x<") + 1).str();
}

class Runner {
public:
  Runner(const std::string &directory, const CaseOptions &options) : directory(directory), options(options) {}

  void runSet(const std::string &set, Known known, Outcome &outcome);

private:
  using Tensors = SmallVector<lm::Tensor>;
  /// Sorts the inputs of a data set into what is known and what is fed.
  bool readInputs(MLIRContext &context, const std::string &set, Known known, ONNXImportOptions &import);
  std::optional<Tensors> compileAndRun(ModuleOp module, Outcome &outcome);

  std::string directory;
  const CaseOptions &options;
  Tensors inputs;
  std::string error; // of readInputs
  bool isDataError = false;
};

// Inputs are numbered in the graph's order, which only the model knows.
bool Runner::readInputs(MLIRContext &context, const std::string &set, Known known, ONNXImportOptions &import) {
  isDataError = true;
  FailureOr<std::vector<std::string>> names = listONNXInputs(directory + "/model.onnx", error);
  if (failed(names))
    return false;
  inputs.clear();
  for (auto [i, name] : llvm::enumerate(*names)) {
    std::string path = set + "/input_" + std::to_string(i) + ".pb";
    if (!llvm::sys::fs::exists(path))
      break; // optional inputs at the end
    DenseElementsAttr value = readONNXTensor(&context, path, error);
    if (!value)
      return false;
    bool isShort = value.getType().getRank() <= 1 && value.getNumElements() <= 64;
    bool isKnown = known == Known::Everything ||
                   (known == Known::ShortIntegers && isShort && value.getElementType().isInteger()) ||
                   (known == Known::ShortInputs && isShort);
    if (isKnown) {
      import.inputValues[name] = value;
      continue;
    }
    llvm::Expected<lm::Tensor> tensor = lm::Tensor::fromAttr(value);
    if (!tensor) {
      isDataError = false;
      error = llvm::toString(tensor.takeError());
      return false;
    }
    inputs.push_back(std::move(*tensor));
  }
  return true;
}

// The phases of the driver, without what options add to them.
std::optional<Runner::Tensors> Runner::compileAndRun(ModuleOp module, Outcome &outcome) {
  auto wrong = [&](const llvm::Twine &text) {
    outcome.kind = Outcome::Wrong;
    outcome.text = text.str();
    return std::nullopt;
  };
  auto function = module.lookupSymbol<func::FuncOp>("main");
  auto nameOf = [](DictionaryAttr attributes) {
    auto name = attributes ? attributes.getAs<StringAttr>("lm.name") : StringAttr();
    return name ? name.str() : std::string();
  };
  std::vector<NamedArray> arrays;
  for (auto [i, tensor] : llvm::enumerate(inputs))
    arrays.push_back(toArray(nameOf(function.getArgAttrDict(i)), tensor));
  std::vector<std::string> outputs;
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    outputs.push_back(nameOf(function.getResultAttrDict(i)));

  std::string said;
  ScopedDiagnosticHandler diagnostics(module.getContext(), [&](Diagnostic &diagnostic) {
    if (said.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
      said = diagnostic.str();
    return success();
  });
  PassManager manager(module.getContext(), ModuleOp::getOperationName());
  manager.enableVerifier(false);
  buildRaisePipeline(manager);
  if (failed(manager.run(module)) || failed(verify(module)))
    return wrong("raising: " + said);
  auto notCompiled = [&](const std::string &text) {
    outcome.kind = Outcome::Unsupported;
    outcome.text = "not compiled: " + classifyCompiler(text);
    return std::nullopt;
  };
  if (failed(buildPlan(module, cpu::CPUPlanTarget(options.target))))
    return notCompiled(said);
  if (failed(verify(module)))
    return wrong("plan: " + said);
  auto model = InProcessModel::compile(module, options.target);
  if (!model)
    return notCompiled(llvm::toString(model.takeError()));
  auto results = (*model)->run(arrays);
  if (!results)
    return wrong("not run: " + llvm::toString(results.takeError()));
  Tensors tensors;
  for (const std::string &name : outputs) {
    auto found = llvm::find_if(*results, [&](const NamedArray &array) { return array.name == name; });
    if (found == results->end())
      return wrong("no output '" + name + "'");
    llvm::Expected<lm::Tensor> tensor = toTensor(module.getContext(), *found);
    if (!tensor)
      return wrong(llvm::toString(tensor.takeError()));
    tensors.push_back(std::move(*tensor));
  }
  return tensors;
}

void Runner::runSet(const std::string &set, Known known, Outcome &outcome) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<lm::LMDialect, kernel::KernelDialect, func::FuncDialect>();
  auto fail = [&](Outcome::Kind kind, const llvm::Twine &text) {
    outcome.kind = kind;
    outcome.text = text.str();
  };
  ONNXImportOptions import;
  import.forgetStaticDims = options.mode == Mode::Symbolic || options.mode == Mode::Dynamic;
  import.keptDims = options.pins;
  if (!readInputs(context, set, known, import))
    return fail(isDataError ? Outcome::Unsupported : Outcome::Wrong, isDataError ? classify(error) : error);
  std::string firstError;
  auto handler = [&](const ImportMessage &message) {
    if (message.isError && firstError.empty())
      firstError = message.text;
  };
  FailureOr<OwningOpRef<ModuleOp>> module = importONNX(&context, directory + "/model.onnx", import, handler);
  if (failed(module))
    return fail(Outcome::Unsupported, classify(firstError));

  Tensors outputs;
  if (isCompiled(options.mode)) {
    std::optional<Tensors> results = compileAndRun(**module, outcome);
    if (!results)
      return;
    outputs = std::move(*results);
  } else {
    std::string said;
    ScopedDiagnosticHandler diagnostics(&context, [&](Diagnostic &diagnostic) {
      if (said.empty())
        said = diagnostic.str();
      return success();
    });
    FailureOr<Tensors> results = lm::evaluate((*module)->lookupSymbol<func::FuncOp>("main"), inputs);
    if (failed(results))
      return fail(Outcome::Wrong, "not evaluated: " + said);
    outputs = std::move(*results);
  }
  for (auto [i, output] : llvm::enumerate(outputs)) {
    DenseElementsAttr value = readONNXTensor(&context, set + "/output_" + std::to_string(i) + ".pb", error);
    if (!value)
      return fail(Outcome::Unsupported, classify(error));
    llvm::Expected<lm::Tensor> expected = lm::Tensor::fromAttr(value);
    if (!expected)
      return fail(Outcome::Wrong, llvm::toString(expected.takeError()));
    llvm::StringRef test = llvm::sys::path::filename(llvm::sys::path::parent_path(set));
    std::string difference;
    if (!hasRandomOutputs(test))
      difference = compare(output, *expected, options.tolerance);
    else if (output.getType() != expected->getType())
      difference = "expected " + typeText(*expected) + ", but got " + typeText(output);
    if (!difference.empty())
      return fail(Outcome::Wrong, "output " + llvm::Twine(i) + ": " + difference);
  }
}

} // namespace

Outcome conformance::runCase(const std::string &directory, const CaseOptions &options) {
  Outcome outcome;
  std::vector<std::string> sets;
  for (const std::string &name : list(directory))
    if (llvm::StringRef(name).starts_with("test_data_set_"))
      sets.push_back(directory + "/" + name);
  if (sets.empty())
    return {Outcome::Unsupported, "no test data", false};
  SmallVector<Known> attempts = {Known::Nothing, Known::ShortIntegers, Known::ShortInputs};
  if (options.mode == Mode::Constant)
    attempts = {Known::Everything};
  std::string firstText;
  for (Known known : attempts) {
    outcome.withConstants = known != Known::Nothing;
    for (const std::string &set : sets) {
      outcome.kind = Outcome::Passed;
      Runner(directory, options).runSet(set, known, outcome);
      if (outcome.kind != Outcome::Passed)
        break;
    }
    if (outcome.kind == Outcome::Passed)
      outcome.text.clear(); // of attempts before
    if (outcome.kind != Outcome::Unsupported)
      return outcome;
    if (llvm::StringRef(outcome.text).starts_with("not compiled: "))
      break; // knowing more is for what must be known to import
  }
  return outcome;
}
