// Object code, LLVM's JIT linker, and the runtime on the descriptor in memory.
#include "llmopt/Execution/InProcess.h"

#include "RunModel.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace llmopt;

struct InProcessModel::Impl {
  std::unique_ptr<llvm::orc::LLJIT> jit; // outlives the model, whose code it holds
  llmopt_model *model = nullptr;
  ~Impl() { llmopt_model_destroy(model); }
};

namespace {
/// A file that is removed when this goes.
struct TemporaryFile {
  llvm::SmallString<128> path;
  std::error_code create(StringRef suffix) { return llvm::sys::fs::createTemporaryFile("llmopt", suffix, path); }
  ~TemporaryFile() {
    if (!path.empty())
      llvm::sys::fs::remove(path);
  }
};
} // namespace

InProcessModel::InProcessModel(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
InProcessModel::~InProcessModel() = default;

llvm::Expected<std::unique_ptr<InProcessModel>> InProcessModel::compile(ModuleOp plan, const cpu::TargetInfo &target,
                                                                        int optLevel) {
  if (!cpu::runsOnHost(target))
    return llvm::createStringError("expected a target that this machine can run, but got '" + target.cpu + "'");
  TemporaryFile object, weights;
  for (auto [file, suffix] : {std::pair(&object, "o"), std::pair(&weights, "weights")})
    if (std::error_code error = file->create(suffix))
      return llvm::createStringError(error, "cannot create a temporary file: " + error.message());
  cpu::EmitModelOptions options;
  options.emit = cpu::Emit::Object;
  options.output = object.path.str().str();
  options.weightsOutput = weights.path.str().str();
  options.optLevel = optLevel;
  std::string said;
  FailureOr<cpu::EmitModelResult> emitted = [&] {
    ScopedDiagnosticHandler handler(plan.getContext(), [&](Diagnostic &diagnostic) {
      if (said.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
        said = diagnostic.str();
      return failure(); // others hear it too
    });
    return cpu::emitModel(plan, target, options);
  }();
  if (failed(emitted))
    return llvm::createStringError(said.empty() ? "the model does not compile" : said);

  auto code = llvm::MemoryBuffer::getFile(object.path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!code)
    return llvm::createStringError(code.getError(), "cannot read object code: " + code.getError().message());
  auto impl = std::make_unique<Impl>();
  auto jit = llvm::orc::LLJITBuilder().setPlatformSetUp(llvm::orc::setUpInactivePlatform).create();
  if (!jit)
    return jit.takeError();
  impl->jit = std::move(*jit);
  if (llvm::Error error = impl->jit->addObjectFile(std::move(*code)))
    return std::move(error);
  auto symbol = impl->jit->lookup(LLMOPT_MODEL_SYMBOL);
  if (!symbol)
    return symbol.takeError();
  llmopt_create_options create{};
  create.struct_size = sizeof(create);
  std::string weightsPath = emitted->weightsPath;
  create.weights_path = weightsPath.empty() ? nullptr : weightsPath.c_str();
  llmopt_error error;
  if (llmopt_model_create(symbol->toPtr<llmopt_model_fn>()(), &create, &impl->model, &error) != LLMOPT_OK)
    return llvm::createStringError(error.message);
  return std::unique_ptr<InProcessModel>(new InProcessModel(std::move(impl)));
}

llvm::Expected<std::unique_ptr<RepeatedRun>> InProcessModel::prepare(llvm::ArrayRef<NamedArray> inputs,
                                                                     unsigned numThreads) {
  return prepareRun(impl->model, inputs, numThreads);
}

llvm::Expected<std::vector<NamedArray>> InProcessModel::run(llvm::ArrayRef<NamedArray> inputs,
                                                               unsigned numThreads) {
  return runModel(impl->model, inputs, numThreads);
}
