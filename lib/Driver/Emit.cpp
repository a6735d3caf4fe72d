// The plan, and writing what was asked for.
#include "Session.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/CUDA/EmitCuda.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Export/ONNX/Export.h"
#include "llmopt/Support/AtomicFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace llmopt;

namespace {

/// Text goes to -o, or to standard output where there is none (or "-").
int writeText(Session &session, StringRef text) {
  const std::string &path = session.line.output;
  if (path.empty() || path == "-") {
    session.out << text;
    return kOk;
  }
  if (llvm::Error error = writeFileAtomically(path, ArrayRef(text.data(), text.size())))
    return session.fail(std::move(error));
  return kOk;
}

int writeModule(Session &session) {
  std::string text;
  llvm::raw_string_ostream os(text);
  session.module->print(os);
  os << "\n";
  return writeText(session, text);
}

/// -o, else the model's stem with `extension` in the current folder.
std::string outputPath(const CommandLine &line, StringRef extension) {
  return line.output.empty() ? (llvm::sys::path::stem(line.model) + extension).str() : line.output;
}

/// Plans @main for a target and checks the result.
int planModel(Session &session, const PlanTarget &target) {
  session.beginPhase("plan");
  if (failed(buildPlan(*session.module, target)))
    return kBadModel;
  return session.checkModule("plan");
}

int emitForCPU(Session &session) {
  const CommandLine &line = session.line;
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget(line.target, line.cpu, error);
  if (!target)
    return session.fail(kUsage, error);
  if (int code = planModel(session, cpu::CPUPlanTarget(*target)); code != kOk)
    return code;
  if (line.emit == EmitKind::Kernels)
    return writeModule(session);

  session.beginPhase("emit");
  cpu::EmitModelOptions options;
  options.embedWeights = line.embedWeights;
  options.symbolPrefix = line.symbolPrefix;
  bool isText = line.emit == EmitKind::LLVM || line.emit == EmitKind::Asm;
  options.emit = line.emit == EmitKind::LLVM  ? cpu::Emit::Llvm
                 : line.emit == EmitKind::Asm ? cpu::Emit::Asm
                 : line.emit == EmitKind::Obj ? cpu::Emit::Object
                                              : cpu::Emit::SharedLibrary;
  if (line.embedWeights && options.emit != cpu::Emit::SharedLibrary)
    return session.fail(kUsage, "expected -emit=so with -embed-weights");
  options.output = outputPath(line, line.emit == EmitKind::Obj ? ".o" : ".so");
  bool toStandardOutput = isText && (line.output.empty() || line.output == "-");
  llvm::SmallString<128> temporary;
  if (toStandardOutput) {
    if (std::error_code code = llvm::sys::fs::createTemporaryFile("llmopt", "txt", temporary))
      return session.fail(kEnvironment, "cannot create a temporary file: " + code.message());
    options.output = temporary.str().str();
  }
  FailureOr<cpu::EmitModelResult> result = cpu::emitModel(*session.module, *target, options);
  int code = succeeded(result) ? kOk : session.lastFailure();
  if (toStandardOutput) {
    if (code == kOk)
      if (auto buffer = llvm::MemoryBuffer::getFile(temporary))
        session.out << (*buffer)->getBuffer();
    llvm::sys::fs::remove(temporary);
  }
  return code;
}

int emitForCuda(Session &session) {
  const CommandLine &line = session.line;
  bool isLibrary = line.emit == EmitKind::Cuda && (line.emulate || StringRef(line.output).ends_with(".so"));
  std::string error;
  std::optional<std::vector<std::string>> architectures = cuda::parseArchitectures(line.cudaArch, error);
  if (!architectures)
    return session.fail(kUsage, "-cuda-arch: " + error);
  if (line.emit != EmitKind::Cuda && architectures->size() > 1)
    return session.fail(kUsage,
                        "expected one architecture with -emit=cubin or ptx, but got -cuda-arch=" + line.cudaArch);
  if (line.embedWeights && !isLibrary)
    return session.fail(kUsage, "expected -o <m.so> with -embed-weights");
  // An emulation has every instruction.
  const std::string old = line.emulate ? "" : cuda::findWithoutFloat8(*architectures);
  if (line.fp8 && !old.empty())
    return session.fail(kUsage, "expected -cuda-arch=sm_89 or later with -fp8, but got sm_" + old);
  if (int code = planModel(session, cuda::CudaPlanTarget(/*float8=*/old.empty())); code != kOk)
    return code;
  session.beginPhase("emit");
  ModuleOp plan = *session.module;
  LogicalResult result = success();
  if (line.emit != EmitKind::Cuda) {
    bool isPtx = line.emit == EmitKind::Ptx;
    result = cuda::emitCudaCode(plan, outputPath(line, isPtx ? ".ptx" : ".cubin"), architectures->front(),
                                isPtx ? cuda::CudaCode::Ptx : cuda::CudaCode::Cubin);
  } else if (line.emulate) {
    result = cuda::emitCudaEmulation(plan, {outputPath(line, ".so"), line.symbolPrefix, line.embedWeights, line.cudaTune});
  } else if (isLibrary) {
    result = cuda::emitCudaLibrary(plan, *architectures, {line.output, line.symbolPrefix, line.embedWeights, line.cudaTune});
  } else {
    result = cuda::emitCudaProject(plan, outputPath(line, ".cuda"), *architectures, line.symbolPrefix, line.cudaTune);
  }
  return succeeded(result) ? int(kOk) : session.lastFailure();
}

int emitOnnx(Session &session) {
  session.beginPhase("emit");
  std::string path = outputPath(session.line, ".llmopt.onnx");
  if (path == "-" || llvm::sys::fs::equivalent(path, session.line.model))
    return session.fail(kUsage, "expected a file other than the model behind -o, but got " + path);
  return succeeded(exportONNX(*session.module, path)) ? kOk : session.lastFailure();
}

} // namespace

int llmopt::emitModel(Session &session) {
  if (session.line.emit == EmitKind::Onnx)
    return emitOnnx(session);
  if (session.line.emit == EmitKind::LM)
    return writeModule(session);
  bool isCuda = llvm::is_contained({EmitKind::Cuda, EmitKind::Cubin, EmitKind::Ptx}, session.line.emit);
  return isCuda ? emitForCuda(session) : emitForCPU(session);
}
