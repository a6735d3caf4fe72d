// The files of a CUDA project, and compiling them for the CPU.
#include "llmopt/CodeGen/CUDA/EmitCuda.h"

#include "Names.h"
#include "StepEmitter.h"
#include "TablesText.h"

#include "llmopt/CodeGen/Loops/Loops.h"
#include "llmopt/CodeGen/Plan/WeightsFile.h"
#include "llmopt/Support/AtomicFile.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MD5.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;

namespace {

struct EmbeddedFile {
  const char *path;
  const char *text;
};
constexpr EmbeddedFile kHeaders[] = {
#include "EmbeddedHeaders.inc"
};

struct Sources {
  PlannedModel model;
  std::vector<CudaKernel> kernels;
};

LogicalResult report(ModuleOp module, llvm::Error error) {
  if (!error)
    return success();
  return mlir::emitError(UnknownLoc::get(module.getContext())) << llvm::toString(std::move(error));
}

FailureOr<Sources> planSources(ModuleOp plan) {
  auto function = plan.lookupSymbol<func::FuncOp>("main");
  if (!function)
    return plan.emitError() << "expected a function @main";
  CudaStepEmitter emitter;
  FailureOr<PlannedModel> model = buildTables(function, emitter);
  if (failed(model))
    return failure();
  model->tables.compiler = "llmopt " LLMOPT_VERSION;
  return Sources{std::move(*model), emitter.getKernels()};
}

void printKernels(const Sources &sources, raw_ostream &os) {
  os << "#include \"llmopt/cuda/attention.cuh\"\n#include \"llmopt/cuda/gemm.cuh\"\n"
        "#include \"llmopt/cuda/rows.cuh\"\n\n";
  loops::printTextPreamble(os, loops::TextStyle::Cuda);
  for (const CudaKernel &kernel : sources.kernels) {
    for (const std::string &use : kernel.uses)
      os << "// " << use << "\n";
    os << kernel.text << "\n";
  }
}

/// model.cu: kernels for nvcc; with LLMOPT_EMULATE also what the runtime calls.
std::string printModel(const Sources &sources, StringRef symbolPrefix) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "// " << toComment(sources.model.tables.name) << ", written by " << sources.model.tables.compiler
     << ". One function per kernel; comments name the ONNX\n// nodes it computes, results, arithmetic and memory "
        "traffic over shape symbols.\n";
  printKernels(sources, os);
  os << "#ifdef LLMOPT_EMULATE\n#include \"llmopt/Runtime/abi.h\"\n\n";
  for (const CudaKernel &kernel : sources.kernels)
    os << "static void run_" << kernel.name
       << "(void *const *args, const int64_t *dims, int64_t tile, void *scratch) {\n  llmopt_emulation::launch("
       << kernel.name << ", " << kernel.buffers << ", " << kernel.threads << ", args, dims, tile, scratch, "
       << kernel.scratch << ");\n}\n";
  os << "\n";
  printTables(sources.model.tables, symbolPrefix, os);
  os << "#endif\n";
  return text;
}

void setBuildId(ModelTables &tables, StringRef code, uint64_t dataHash) {
  llvm::MD5 md5;
  md5.update(code);
  md5.update(std::to_string(dataHash));
  llvm::MD5::MD5Result digest;
  md5.final(digest);
  std::copy(digest.begin(), digest.end(), tables.buildId.begin());
}

/// Writes the weights, which settles the build id that the text then carries. They
/// are committed after the text.
llvm::Expected<AtomicFile> writeWeights(Sources &sources, StringRef path) {
  std::string code = printModel(sources, "");
  llvm::Expected<AtomicFile> file = AtomicFile::create(path);
  if (!file)
    return file;
  WeightsWriter writer(*file, /*tail=*/false);
  if (llvm::Error error = writer.write(sources.model))
    return error;
  setBuildId(sources.model.tables, code, writer.getDataHash());
  if (llvm::Error error = writer.finish(sources.model))
    return error;
  if (llvm::Error error = file->sync())
    return error;
  return file;
}

llvm::Error writeText(const llvm::Twine &path, StringRef text) {
  std::string name = path.str();
  if (std::error_code code = llvm::sys::fs::create_directories(llvm::sys::path::parent_path(name)))
    return llvm::createStringError(code, "%s: cannot create: %s", name.c_str(), code.message().c_str());
  return writeFileAtomically(name, ArrayRef(text.data(), text.size()));
}

llvm::Error writeSources(const Sources &sources, StringRef folder, StringRef symbolPrefix) {
  for (const EmbeddedFile &header : kHeaders)
    if (llvm::Error error = writeText(folder + "/" + header.path, header.text))
      return error;
  return writeText(folder + "/model.cu", printModel(sources, symbolPrefix));
}

std::string cmakeText(StringRef arch) {
  return ("cmake_minimum_required(VERSION 3.25)\nproject(model LANGUAGES CUDA)\n"
          "set(CMAKE_CUDA_STANDARD 17)\n"
          "# Device code of the model, for the architecture it was written for.\n"
          "add_library(model OBJECT model.cu)\n"
          "target_include_directories(model PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})\n"
          "set_target_properties(model PROPERTIES CUDA_ARCHITECTURES " +
          arch.drop_front(3) + ")\n")
      .str();
}

std::string readmeText(const Sources &sources, StringRef arch) {
  const ModelTables &t = sources.model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "# " << toComment(t.name) << " as CUDA\n\n"
     << "- `model.cu`: " << sources.kernels.size() << " kernels for " << t.steps.size() << " steps\n"
     << "- `model.weights`: packed weights, " << t.weightsSize << " bytes\n"
     << "- `llmopt/`: the header library that the kernels instantiate\n\n"
     << "Build: `cmake -B build && cmake --build build`, or `nvcc -std=c++17 -arch=" << arch << " -I. -c model.cu`.\n"
     << "Run without a GPU: `llmopt model.onnx -emit=cuda -emulate -o m.so`, then `llmopt-run m.so`.\n";
  return text;
}

std::optional<std::string> findHostCompiler() {
  for (const char *name : {"clang++-22", "clang++", "g++", "c++"})
    if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName(name))
      return *path;
  return std::nullopt;
}

/// The last line of a compiler's messages that names an error.
std::string firstError(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return "";
  SmallVector<StringRef> lines;
  (*buffer)->getBuffer().split(lines, '\n');
  for (StringRef line : lines)
    if (line.contains("error"))
      return line.str();
  return "";
}

/// Compiles folder/model.cu into `library`.
llvm::Error compileForHost(StringRef folder, StringRef library) {
  std::optional<std::string> compiler = findHostCompiler();
  if (!compiler)
    return llvm::createStringError(std::make_error_code(std::errc::no_such_file_or_directory),
                                   "cannot emulate: expected clang++ or g++ on PATH: No such file or directory");
  std::string source = (folder + "/model.cu").str(), include = ("-I" + folder).str(), log = (folder + "/log").str();
  SmallVector<StringRef> arguments = {*compiler, "-x", "c++", "-std=c++17", "-O2", "-w", "-shared", "-fPIC",
                                      "-fvisibility=hidden", "-ffp-contract=on", "-DLLMOPT_EMULATE", include, source,
                                      "-o", library};
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(log), StringRef(log)};
  if (llvm::sys::ExecuteAndWait(*compiler, arguments, std::nullopt, redirects) != 0)
    return llvm::createStringError("cannot compile the emulated model: " + firstError(log));
  return llvm::Error::success();
}

} // namespace

LogicalResult llmopt::cuda::emitCudaProject(ModuleOp plan, StringRef output, StringRef arch) {
  FailureOr<Sources> sources = planSources(plan);
  if (failed(sources))
    return failure();
  sources->model.tables.target = ("nvptx64-nvidia-cuda " + arch).str();
  bool existed = llvm::sys::fs::exists(output);
  auto write = [&]() -> llvm::Error {
    if (std::error_code code = llvm::sys::fs::create_directories(output))
      return llvm::createStringError(code, "%s: cannot create: %s", output.str().c_str(), code.message().c_str());
    llvm::Expected<AtomicFile> weights = writeWeights(*sources, (output + "/model.weights").str());
    if (!weights)
      return weights.takeError();
    if (llvm::Error error = writeText(output + "/CMakeLists.txt", cmakeText(arch)))
      return error;
    if (llvm::Error error = writeText(output + "/README.md", readmeText(*sources, arch)))
      return error;
    if (llvm::Error error = writeSources(*sources, output, ""))
      return error;
    return weights->commit();
  };
  LogicalResult result = report(plan, write());
  if (failed(result) && !existed)
    llvm::sys::fs::remove_directories(output);
  return result;
}

LogicalResult llmopt::cuda::emitCudaEmulation(ModuleOp plan, StringRef output, StringRef symbolPrefix) {
  FailureOr<Sources> sources = planSources(plan);
  if (failed(sources))
    return failure();
  sources->model.tables.target = "x86_64-pc-linux-gnu";
#ifdef __aarch64__
  sources->model.tables.target = "aarch64-unknown-linux-gnu";
#endif
  SmallString<128> folder;
  if (std::error_code code = llvm::sys::fs::createUniqueDirectory("llmopt-emulate", folder))
    return mlir::emitError(UnknownLoc::get(plan.getContext())) << "cannot create a temporary folder: " << code.message();
  SmallString<128> weightsPath(output);
  llvm::sys::path::replace_extension(weightsPath, "weights");
  auto write = [&]() -> llvm::Error {
    std::string library = (folder + "/model.so").str();
    llvm::Expected<AtomicFile> weights = writeWeights(*sources, weightsPath);
    if (!weights)
      return weights.takeError();
    if (llvm::Error error = writeSources(*sources, folder, symbolPrefix))
      return error;
    if (llvm::Error error = compileForHost(folder, library))
      return error;
    auto buffer = llvm::MemoryBuffer::getFile(library);
    if (!buffer)
      return llvm::errorCodeToError(buffer.getError());
    if (llvm::Error error = writeFileAtomically(
            output, ArrayRef((*buffer)->getBufferStart(), (*buffer)->getBufferSize()), /*executable=*/true))
      return error;
    return weights->commit();
  };
  LogicalResult result = report(plan, write());
  llvm::sys::fs::remove_directories(folder);
  return result;
}
