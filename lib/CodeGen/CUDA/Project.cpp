// Writing what was asked for: a project, a library, device code, an emulation.
#include "llmopt/CodeGen/CUDA/EmitCuda.h"

#include "Sources.h"
#include "Toolchain.h"

#include "llmopt/CodeGen/Plan/WeightsFile.h"
#include "llmopt/CodeGen/Plan/WriteArtefact.h"
#include "llmopt/Support/AtomicFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

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

/// How printed text is to be formatted; it is, line by line as it is printed.
constexpr const char *kFormat = "BasedOnStyle: LLVM\nColumnLimit: 0\nAlignAfterOpenBracket: DontAlign\nSortIncludes: "
                                "Never\nBreakTemplateDeclarations: Leave\n";

#ifdef __aarch64__
constexpr const char *kHostTriple = "aarch64-unknown-linux-gnu";
#else
constexpr const char *kHostTriple = "x86_64-pc-linux-gnu";
#endif

LogicalResult report(ModuleOp module, llvm::Error error) {
  if (!error)
    return success();
  return mlir::emitError(UnknownLoc::get(module.getContext())) << llvm::toString(std::move(error));
}

llvm::Error writeText(const llvm::Twine &path, StringRef text) {
  std::string name = path.str();
  if (std::error_code code = llvm::sys::fs::create_directories(llvm::sys::path::parent_path(name)))
    return llvm::createStringError(code, "%s: cannot create: %s", name.c_str(), code.message().c_str());
  return writeFileAtomically(name, ArrayRef(text.data(), text.size()));
}

/// A folder for the compilers, which stays where one of them failed: the message
/// names it.
class TemporaryFolder {
public:
  llvm::Error create() {
    std::error_code code = llvm::sys::fs::createUniqueDirectory("llmopt-cuda", path);
    return code ? llvm::createStringError(code, "cannot create a temporary folder: " + code.message())
                : llvm::Error::success();
  }
  ~TemporaryFolder() {
    if (!keep && !path.empty())
      llvm::sys::fs::remove_directories(path);
  }
  StringRef str() const { return path; }
  bool keep = false;

private:
  SmallString<128> path;
};

/// Of all that the code is made of.
void setCodeId(Sources &sources) {
  ModelTables &t = sources.model.tables;
  t.buildId.fill(0);
  setBuildId(t, printKernels(sources) + printTables(sources));
}

/// The library of `sources`: tables and device code, or, emulated, host code.
llvm::Error writeLibrary(Sources &sources, const CudaLibraryOptions &options, bool emulate) {
  setCodeId(sources);
  TemporaryFolder folder;
  if (llvm::Error error = folder.create())
    return error;
  if (llvm::Error error = writeSources(sources, folder.str()))
    return error;
  std::string library = (folder.str() + "/model.so").str(), image = (folder.str() + "/model.fatbin").str();
  folder.keep = true; // until the compilers are done
  if (emulate) {
    if (llvm::Error error = linkHostLibrary(folder.str(), {"model_tables.cpp", "model_emulation.cpp"},
                                            {"-O2", "-ffp-contract=on", "-DLLMOPT_EMULATE"}, library))
      return error;
  } else {
    std::vector<std::string> code = getCodeOptions(sources);
    code.push_back("-fatbin");
    if (llvm::Error error = runNvcc(folder.str(), code, image))
      return error;
    // The image's path must not become part of the library: same input, same bytes.
    if (llvm::Error error = linkHostLibrary(folder.str(), {"model_tables.cpp"},
                                            {"-O1", "-nostdlib", "-DLLMOPT_IMAGE=\"" + image + "\""}, library))
      return error;
  }
  folder.keep = false;
  auto buffer = llvm::WritableMemoryBuffer::getFile(library);
  if (!buffer)
    return llvm::errorCodeToError(buffer.getError());
  ArtefactPaths paths = {options.output, "", options.embedWeights, /*executable=*/true};
  if (!options.embedWeights && !sources.model.tables.weights.empty()) {
    SmallString<128> weights(options.output);
    llvm::sys::path::replace_extension(weights, "weights");
    paths.weights = weights.str().str();
  }
  return writeArtefact(sources.model, MutableArrayRef((*buffer)->getBufferStart(), (*buffer)->getBufferSize()), paths);
}

llvm::Error writeProject(Sources &sources, StringRef folder) {
  if (std::error_code code = llvm::sys::fs::create_directories(folder))
    return llvm::createStringError(code, "%s: cannot create: %s", folder.str().c_str(), code.message().c_str());
  setCodeId(sources);
  llvm::Expected<AtomicFile> weights = AtomicFile::create((folder + "/model.weights").str());
  if (!weights)
    return weights.takeError();
  WeightsWriter writer(*weights, /*tail=*/false);
  if (llvm::Error error = writer.write(sources.model))
    return error;
  addDataHash(sources.model.tables, writer.getDataHash());
  if (llvm::Error error = writer.finish(sources.model))
    return error;
  if (llvm::Error error = weights->sync())
    return error;
  if (llvm::Error error = writeText(folder + "/CMakeLists.txt", printCMake(sources)))
    return error;
  if (llvm::Error error = writeText(folder + "/README.md", printReadme(sources)))
    return error;
  if (llvm::Error error = writeSources(sources, folder))
    return error;
  return weights->commit();
}

} // namespace

llvm::Error llmopt::cuda::writeSources(const Sources &sources, StringRef folder) {
  for (const EmbeddedFile &header : kHeaders)
    if (llvm::Error error = writeText(folder + "/" + header.path, header.text))
      return error;
  const std::pair<const char *, std::string> files[] = {{"/model.cu", printKernels(sources)},
                                                        {"/model_emulation.cpp", printEmulation(sources)},
                                                        {"/model_tables.cpp", printTables(sources)},
                                                        {"/model.h", printHeader(sources)},
                                                        {"/.clang-format", kFormat}};
  for (const auto &[name, text] : files)
    if (llvm::Error error = writeText(folder + name, text))
      return error;
  return llvm::Error::success();
}

FailureOr<Sources> llmopt::cuda::planSources(ModuleOp plan, ArrayRef<std::string> architectures, StringRef symbolPrefix,
                                             StringRef tuneFile) {
  auto function = plan.lookupSymbol<func::FuncOp>("main");
  if (!function)
    return plan.emitError() << "expected a function @main";
  llvm::Expected<TuneTable> tune = TuneTable::load(tuneFile);
  if (!tune)
    return report(plan, tune.takeError());
  CudaStepEmitter emitter(*tune);
  FailureOr<PlannedModel> model = buildTables(function, emitter);
  if (failed(model))
    return failure();
  for (const std::string &name : architectures)
    for (const CudaKernel &kernel : emitter.getKernels()) {
      unsigned number = 0;
      if (!StringRef(name).take_while(llvm::isDigit).getAsInteger(10, number) && int(number) < kernel.leastArchitecture)
        return plan.emitError() << "sm_" << name << " has no tensor cores for f32 and bf16, which kernel "
                                << kernel.name << " needs: expected -fp16, or -cuda-arch=sm_"
                                << kernel.leastArchitecture << " or later";
    }
  model->tables.compiler = "llmopt " LLMOPT_VERSION;
  model->tables.target = kHostTriple;
  return Sources{std::move(*model), emitter.getKernels(), architectures.vec(), symbolPrefix.str()};
}

std::optional<std::vector<std::string>> llmopt::cuda::parseArchitectures(StringRef text, std::string &error) {
  SmallVector<StringRef> parts;
  text.split(parts, '+');
  std::vector<std::pair<unsigned, std::string>> found;
  for (StringRef part : parts) {
    StringRef number = part;
    unsigned value;
    bool named = number.consume_front("sm_");
    StringRef digits = number.take_while(llvm::isDigit), suffix = number.drop_front(digits.size());
    if (!named || digits.size() < 2 || digits.size() > 3 || digits.getAsInteger(10, value) ||
        !(suffix.empty() || suffix == "a" || suffix == "f")) {
      error = ("expected architectures like sm_80+sm_90a, but got " + text).str();
      return std::nullopt;
    }
    if (value < 75) {
      error = ("expected sm_75 or later, but got " + part).str();
      return std::nullopt;
    }
    if (!llvm::is_contained(llvm::make_second_range(found), number.str()))
      found.push_back({value, number.str()});
  }
  llvm::sort(found);
  std::vector<std::string> result;
  for (auto &[value, name] : found)
    result.push_back(name);
  return result;
}

std::string llmopt::cuda::findWithoutFloat8(ArrayRef<std::string> architectures) {
  for (StringRef name : architectures) {
    unsigned number;
    if (!name.take_while(llvm::isDigit).getAsInteger(10, number) && number < 89)
      return name.str();
  }
  return "";
}

LogicalResult llmopt::cuda::emitCudaProject(ModuleOp plan, StringRef output, ArrayRef<std::string> architectures,
                                            StringRef symbolPrefix, StringRef tuneFile) {
  FailureOr<Sources> sources = planSources(plan, architectures, symbolPrefix, tuneFile);
  if (failed(sources))
    return failure();
  bool existed = llvm::sys::fs::exists(output);
  LogicalResult result = report(plan, writeProject(*sources, output));
  if (failed(result) && !existed)
    llvm::sys::fs::remove_directories(output);
  return result;
}

LogicalResult llmopt::cuda::emitCudaLibrary(ModuleOp plan, ArrayRef<std::string> architectures,
                                            const CudaLibraryOptions &options) {
  FailureOr<Sources> sources = planSources(plan, architectures, options.symbolPrefix, options.tuneFile);
  return failed(sources) ? failure() : report(plan, writeLibrary(*sources, options, /*emulate=*/false));
}

LogicalResult llmopt::cuda::emitCudaCode(ModuleOp plan, StringRef output, StringRef architecture, CudaCode code) {
  FailureOr<Sources> sources = planSources(plan, {architecture.str()}, "", "");
  if (failed(sources))
    return failure();
  bool isPtx = code == CudaCode::Ptx;
  auto write = [&]() -> llvm::Error {
    TemporaryFolder folder;
    if (llvm::Error error = folder.create())
      return error;
    if (llvm::Error error = writeSources(*sources, folder.str()))
      return error;
    std::string file = (folder.str() + "/model.out").str();
    folder.keep = true;
    if (llvm::Error error =
            runNvcc(folder.str(),
                    {isPtx ? "-ptx" : "-cubin", ((isPtx ? "-arch=compute_" : "-arch=sm_") + architecture).str()}, file))
      return error;
    folder.keep = false;
    auto buffer = llvm::MemoryBuffer::getFile(file);
    if (!buffer)
      return llvm::errorCodeToError(buffer.getError());
    return writeFileAtomically(output, ArrayRef((*buffer)->getBufferStart(), (*buffer)->getBufferSize()));
  };
  return report(plan, write());
}

LogicalResult llmopt::cuda::emitCudaEmulation(ModuleOp plan, const CudaLibraryOptions &options) {
  FailureOr<Sources> sources = planSources(plan, {"80"}, options.symbolPrefix, options.tuneFile);
  return failed(sources) ? failure() : report(plan, writeLibrary(*sources, options, /*emulate=*/true));
}
