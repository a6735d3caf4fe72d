// The artefact of a plan: kernels, tables, weights.
#include "llmopt/CodeGen/CPU/EmitModel.h"

#include "llmopt/CodeGen/Plan/WeightsFile.h"

#include "llvm/Support/MD5.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cpu;

static void setId(ModelTables &t, StringRef text) {
  llvm::MD5 md5;
  md5.update(text);
  llvm::MD5::MD5Result digest;
  md5.final(digest);
  std::copy(digest.begin(), digest.end(), t.buildId.begin());
}

/// A build id of all that the code is made of.
static void setCodeId(PlannedModel &model, ModuleOp kernels) {
  ModelTables &t = model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << t.name << '\0' << t.compiler << '\0' << t.target << '\0' << t.cpuFeatures << '\0' << t.metadata << '\0';
  for (const ModelTables::Buffer &b : t.buffers) {
    os << b.kind << ',' << b.index << ',' << b.size << ',' << b.offset << ',' << b.firstStep << ',' << b.lastStep << ',';
    os.write(reinterpret_cast<const char *>(b.data.data()), b.data.size());
  }
  for (const ModelTables::Step &s : t.steps) {
    os << s.kernel << ',' << s.tiles << ',' << s.control << ',';
    for (uint32_t v : s.args)
      os << 'a' << v;
    for (uint32_t v : s.dims)
      os << 'd' << v;
  }
  for (llmopt_expr e : t.exprs)
    os << e.first << ',' << e.count << ',';
  for (llmopt_expr_insn i : t.exprCode)
    os << i.op << ',' << i.value << ',';
  for (const ModelTables::DataSymbol &s : t.dataSymbols)
    os << s.symbol << ',' << s.buffer << ',' << s.bound << ',' << s.firstStep << ',';
  kernels->print(os, OpPrintingFlags().useLocalScope());
  setId(t, text);
}

/// The build id proper: of code and weights.
static void addDataHash(ModelTables &t, uint64_t dataHash) {
  setId(t, StringRef(reinterpret_cast<const char *>(t.buildId.data()), t.buildId.size()).str() +
               std::to_string(dataHash));
}

static std::string getWeightsPath(const EmitModelOptions &options) {
  if (!options.weightsOutput.empty())
    return options.weightsOutput;
  SmallString<128> path(options.output);
  llvm::sys::path::replace_extension(path, "weights");
  return path.str().str();
}

static LogicalResult report(ModuleOp module, llvm::Error error) {
  if (!error)
    return success();
  return emitError(UnknownLoc::get(module.getContext())) << llvm::toString(std::move(error));
}

/// Where the code contains the id; npos unless exactly once.
static size_t findId(StringRef code, const ModelTables &t) {
  StringRef id(reinterpret_cast<const char *>(t.buildId.data()), t.buildId.size());
  size_t at = code.find(id);
  return at != StringRef::npos && code.find(id, at + 1) == StringRef::npos ? at : StringRef::npos;
}

/// Code is compiled with an id of the code alone, which the id of code and weights
/// replaces once the weights are written: their hash is known only then.
static llvm::Error writeFiles(EmitModelResult &result, MutableArrayRef<char> code, const EmitModelOptions &options,
                              bool embed) {
  ModelTables &t = result.model.tables;
  bool executable = options.emit == Emit::SharedLibrary;
  if (result.weightsPath.empty() && !embed)
    return writeFileAtomically(options.output, code, executable);

  size_t idAt = findId(StringRef(code.data(), code.size()), t);
  if (idAt == StringRef::npos)
    return llvm::createStringError("the build id is not in the code exactly once");
  llvm::Expected<AtomicFile> file = AtomicFile::create(embed ? options.output : result.weightsPath);
  if (!file)
    return file.takeError();
  if (embed)
    if (llvm::Error error = file->write(code))
      return error;
  WeightsWriter writer(*file, embed);
  if (llvm::Error error = writer.write(result.model))
    return error;
  addDataHash(t, writer.getDataHash());
  if (llvm::Error error = writer.finish(result.model))
    return error;
  ArrayRef<char> id(reinterpret_cast<const char *>(t.buildId.data()), t.buildId.size());
  if (embed) {
    if (llvm::Error error = file->overwrite(idAt, id))
      return error;
    if (llvm::Error error = file->makeExecutable())
      return error;
    return file->commit();
  }
  llvm::copy(id, code.begin() + idAt);
  llvm::Expected<AtomicFile> codeFile = AtomicFile::create(options.output);
  if (!codeFile)
    return codeFile.takeError();
  if (llvm::Error error = codeFile->write(code))
    return error;
  if (executable)
    if (llvm::Error error = codeFile->makeExecutable())
      return error;
  for (AtomicFile *each : {&*file, &*codeFile})
    if (llvm::Error error = each->sync())
      return error;
  if (llvm::Error error = file->commit())
    return error;
  return codeFile->commit();
}

FailureOr<EmitModelResult> llmopt::cpu::emitModel(ModuleOp plan, const TargetInfo &target,
                                                  const EmitModelOptions &options) {
  auto function = plan.lookupSymbol<func::FuncOp>("main");
  if (!function)
    return plan.emitError() << "expected a function @main";
  MLIRContext *context = plan.getContext();
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(context));
  std::unique_ptr<StepEmitter> emitter = createStepEmitter(*kernels, target);
  FailureOr<PlannedModel> planned = buildTables(function, *emitter);
  if (failed(planned))
    return failure();
  EmitModelResult result;
  result.model = std::move(*planned);
  ModelTables &t = result.model.tables;
  t.compiler = "llmopt " LLMOPT_VERSION;
  t.target = target.triple;
  t.cpuFeatures = target.requiredFeatures;

  setCodeId(result.model, *kernels);
  CompileOptions compile;
  compile.emit = options.emit;
  compile.tables = &t;
  compile.symbolPrefix = options.symbolPrefix;
  compile.optLevel = options.optLevel;
  SmallVector<char> code;
  if (failed(compileModule(*kernels, target, compile, code)))
    return failure();
  result.codeBytes = code.size();
  kernels = {};

  bool isText = options.emit == Emit::Llvm || options.emit == Emit::Asm;
  bool embed = options.embedWeights && options.emit == Emit::SharedLibrary;
  bool separate = !isText && !embed && !t.weights.empty();
  if (separate)
    result.weightsPath = getWeightsPath(options);
  if (failed(report(plan, writeFiles(result, code, options, embed))))
    return failure();
  return std::move(result);
}
