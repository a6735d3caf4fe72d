// The artefact of a plan: kernels, tables, weights.
#include "llmopt/CodeGen/CPU/EmitModel.h"

#include "llmopt/CodeGen/Plan/SafetensorsFile.h"
#include "llmopt/CodeGen/Plan/WriteArtefact.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cpu;

static void writeTables(raw_ostream &os, const ModelTables &t) {
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
}

/// A build id of all that the code is made of.
static void setCodeId(PlannedModel &model, ModuleOp kernels) {
  ModelTables &t = model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << t.name << '\0' << t.compiler << '\0' << t.target << '\0' << t.cpuFeatures << '\0' << t.metadata << '\0';
  writeTables(os, t);
  if (t.training) {
    writeTables(os, t.training->gradients);
    writeTables(os, t.training->evaluate);
  }
  kernels->print(os, OpPrintingFlags().useLocalScope());
  setBuildId(t, text);
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
  ArtefactPaths paths = {options.output, result.weightsPath, embed, options.emit == Emit::SharedLibrary};
  if (failed(report(plan, writeArtefact(result.model, code, paths))))
    return failure();
  if (t.training && options.emit == Emit::SharedLibrary) {
    SmallString<128> path(options.output);
    llvm::sys::path::replace_extension(path, "safetensors");
    if (failed(report(plan, writeSafetensors(result.model, path))))
      return failure();
  }
  return std::move(result);
}
