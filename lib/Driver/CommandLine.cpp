// Parses the command line. The options are in Options.td; what needs more than
// a table (lists, shapes, the order of phases) is here.
#include "llmopt/Driver/CommandLine.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Option/ArgList.h"
#include "llvm/Option/OptTable.h"

using namespace llmopt;
using namespace llvm::opt;
using llvm::ArrayRef;
using llvm::raw_ostream;
using llvm::SmallVector;
using llvm::StringRef;

namespace {

enum ID {
  OPT_INVALID = 0,
#define OPTION(...) LLVM_MAKE_OPT_ID(__VA_ARGS__),
#include "llmopt/Driver/Options.inc"
#undef OPTION
};

#define OPTTABLE_STR_TABLE_CODE
#include "llmopt/Driver/Options.inc"
#undef OPTTABLE_STR_TABLE_CODE
#define OPTTABLE_PREFIXES_TABLE_CODE
#include "llmopt/Driver/Options.inc"
#undef OPTTABLE_PREFIXES_TABLE_CODE

constexpr OptTable::Info kInfos[] = {
#define OPTION(...) LLVM_CONSTRUCT_OPT_INFO(__VA_ARGS__),
#include "llmopt/Driver/Options.inc"
#undef OPTION
};

class Table : public GenericOptTable {
public:
  Table() : GenericOptTable(OptionStrTable, OptionPrefixesTable, kInfos) {}
};

/// The phase an option belongs to; phases run in this order whatever the order
/// on the command line, so writing them in another one is refused.
std::pair<int, const char *> phaseOf(const Option &option) {
  Option group = option.getGroup();
  if (!group.isValid())
    return {0, ""};
  switch (group.getID()) {
  case OPT_grp_structure:
    return {1, "structure"};
  case OPT_grp_train:
    return {2, "train"};
  case OPT_grp_quantize:
    return {3, "quantize"};
  case OPT_emit_EQ:
    return {4, "emit"};
  default:
    return {0, ""};
  }
}

bool fail(raw_ostream &errors, const llvm::Twine &message) {
  errors << "llmopt: " << message << "; see llmopt -help\n";
  return false;
}

bool checkPhaseOrder(const InputArgList &args, raw_ostream &errors) {
  const Arg *last = nullptr;
  int lastPhase = 0;
  for (const Arg *arg : args) {
    auto [phase, name] = arg->getOption().matches(OPT_emit_EQ) ? std::pair(4, "emit") : phaseOf(arg->getOption());
    if (phase == 0)
      continue;
    if (phase < lastPhase)
      return fail(errors, "expected options in the order of phases (structure, train, quantize, emit), but got " +
                              llvm::Twine(last->getSpelling()) + " before " + arg->getSpelling());
    last = arg;
    lastPhase = phase;
  }
  return true;
}

bool parseShape(StringRef text, CommandLine &line, raw_ostream &errors) {
  auto [name, dims] = text.rsplit(':');
  ShapePin pin{name.str(), {}};
  SmallVector<StringRef> parts;
  dims.split(parts, 'x');
  for (StringRef part : parts) {
    int64_t dim;
    if (name.empty() || part.getAsInteger(10, dim) || dim < 1)
      return fail(errors, "expected -shape=<input>:<d>x<d>.., but got -shape=" + text);
    pin.dims.push_back(dim);
  }
  line.shapes.push_back(std::move(pin));
  return true;
}

bool parseCounts(StringRef option, StringRef text, std::vector<std::pair<std::string, int64_t>> &counts,
                 raw_ostream &errors) {
  SmallVector<StringRef> parts;
  text.split(parts, ',');
  for (StringRef part : parts) {
    auto [key, value] = part.split(':');
    int64_t count;
    if (key.empty() || value.getAsInteger(10, count) || count < 0)
      return fail(errors, "expected " + option + "<kind>:<count>,.., but got " + text);
    counts.push_back({key.str(), count});
  }
  return true;
}

/// "500M,batch:16,sequence:128"
bool parseMemoryBudget(StringRef text, CommandLine &line, raw_ostream &errors) {
  MemoryBudget budget;
  auto [size, rest] = text.split(',');
  uint64_t unit = 1;
  if (!size.empty())
    unit = size.back() == 'K' ? 1000 : size.back() == 'M' ? 1000000 : size.back() == 'G' ? 1000000000 : 1;
  double number;
  bool good = !(unit > 1 ? size.drop_back() : size).getAsDouble(number) && number > 0 && number < 1e9;
  for (StringRef part : llvm::split(rest, ',')) {
    auto [symbol, value] = part.split(':');
    int64_t n = 0;
    if (part.empty())
      continue;
    good = good && !symbol.empty() && !value.getAsInteger(10, n) && n > 0;
    budget.sizes.push_back({symbol.str(), n});
  }
  if (!good)
    return fail(errors,
                "expected -mem-budget=<bytes>,<symbol>:<n>,.., such as 500M,batch:16,sequence:128, but got " + text);
  budget.bytes = static_cast<uint64_t>(number * static_cast<double>(unit));
  line.memoryBudget = std::move(budget);
  return true;
}

bool parseReports(StringRef text, CommandLine &line, raw_ostream &errors) {
  SmallVector<StringRef> names;
  text.split(names, ',');
  for (StringRef name : names) {
    if (name == "fusion")
      line.reportFusion = true;
    else if (name == "time")
      line.reportTime = true;
    else if (name == "quant")
      line.reportQuant = true;
    else
      return fail(errors, "expected -report=fusion, quant or time, but got " + name);
  }
  return true;
}

bool parseEmit(StringRef text, CommandLine &line, raw_ostream &errors) {
  std::optional<EmitKind> kind = llvm::StringSwitch<std::optional<EmitKind>>(text)
                                     .Case("lm", EmitKind::LM)
                                     .Case("kernels", EmitKind::Kernels)
                                     .Case("llvm", EmitKind::LLVM)
                                     .Case("asm", EmitKind::Asm)
                                     .Case("obj", EmitKind::Obj)
                                     .Case("so", EmitKind::So)
                                     .Case("cuda", EmitKind::Cuda)
                                     .Case("cubin", EmitKind::Cubin)
                                     .Case("ptx", EmitKind::Ptx)
                                     .Case("onnx", EmitKind::Onnx)
                                     .Default(std::nullopt);
  if (!kind)
    return fail(errors, "expected -emit=lm, kernels, llvm, asm, obj, so, cuda, cubin, ptx or onnx, but got " + text);
  line.emit = *kind;
  return true;
}

bool parsePrune(StringRef text, CommandLine &line, raw_ostream &errors) {
  std::vector<std::pair<std::string, int64_t>> counts;
  if (!parseCounts("-prune=", text, counts, errors))
    return false;
  for (auto &[what, count] : counts) {
    if (what != "heads" || count < 1)
      return fail(errors, "expected -prune=heads:<count to keep>, but got " + text);
    line.keepHeads = count;
  }
  return true;
}

void addList(StringRef text, std::vector<std::string> &list) {
  SmallVector<StringRef> parts;
  text.split(parts, '+', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  for (StringRef part : parts)
    list.push_back(part.str());
}

bool applyQuantize(unsigned id, StringRef value, QuantizeOptions &options, raw_ostream &errors) {
  std::string error;
  bool good = true;
  double seconds = 0;
  switch (id) {
  case OPT_quantize_int8:
  case OPT_quantize_int8_EQ:
    good = parseQuantizeInt8(value, options, error);
    break;
  case OPT_quantize_int4:
  case OPT_quantize_int4_EQ:
    good = parseQuantizeInt4(value, options, error);
    break;
  case OPT_quantize_include_EQ:
    addList(value, options.include);
    break;
  case OPT_quantize_exclude_EQ:
    addList(value, options.exclude);
    break;
  case OPT_calib_EQ:
    good = parseCalib(value, options, error);
    break;
  case OPT_calib_cache_EQ:
    good = !value.empty();
    error = "expected -calib-cache=<folder>|off";
    options.calibCache = value == "off" ? "" : value.str();
    break;
  case OPT_eval_EQ:
    options.eval = value.str();
    break;
  case OPT_metric_EQ:
    good = parseMetrics(value, options, error);
    break;
  case OPT_accuracy_budget_EQ:
    good = parseAccuracyBudget(value, options, error);
    break;
  case OPT_max_size_EQ:
    good = parseMaxSize(value, options, error);
    break;
  case OPT_max_latency_EQ:
    good = parseDuration("-max-latency", value, seconds, error);
    options.maxLatency = seconds;
    break;
  case OPT_search_time_EQ:
    good = parseDuration("-search-time", value, options.searchTime, error);
    break;
  case OPT_tune:
  case OPT_tune_EQ:
    good = parseTune(value, options, error);
    break;
  case OPT_tune_file_EQ:
    options.tuneFile = value.str();
    good = !value.empty();
    error = "expected a path behind -tune-file=";
    break;
  case OPT_allow_slower:
    options.allowSlower = true;
    break;
  }
  return good || fail(errors, error);
}

bool parseLoss(StringRef text, CommandLine &line, raw_ostream &errors) {
  auto [name, rest] = text.split(',');
  line.loss = name.str();
  bool good = llvm::is_contained({"cross_entropy", "causal", "bce", "mse", "span", "kl", "contrastive"}, name);
  if (!rest.empty())
    good = good && name == "causal" && rest.consume_front("chunk:") && !rest.getAsInteger(10, line.lossChunk) &&
           line.lossChunk >= 0;
  return good || fail(errors, "expected -loss=cross_entropy, causal[,chunk:<n>], bce, mse, span, kl or contrastive, "
                              "but got " +
                                  text);
}

bool applyTraining(unsigned id, StringRef value, TrainOptions &options, raw_ostream &errors) {
  std::string error;
  bool good = id == OPT_head_EQ      ? parseHead(value, options, error)
              : id == OPT_lora_EQ    ? parseLoRA(value, options, error)
              : id == OPT_dropout_EQ ? parseDropout(value, options, error)
                                     : parseSeed(value, options, error);
  return good || fail(errors, error);
}

bool apply(const Arg &arg, CommandLine &line, raw_ostream &errors) {
  StringRef value = arg.getNumValues() ? arg.getValue() : "";
  switch (arg.getOption().getID()) {
  case OPT_o:
  case OPT_output_EQ:
    line.output = value.str();
    return !value.empty() || fail(errors, "expected a path behind -o");
  case OPT_emit_EQ:
    return parseEmit(value, line, errors);
  case OPT_kv_cache:
    line.kvCache = true;
    return true;
  case OPT_kv_cache_EQ:
    line.kvCache = true;
    line.kvCacheInt8 = value == "type:int8";
    return line.kvCacheInt8 || value == "type:float" ||
           fail(errors, "expected -kv-cache=type:float|int8, but got -kv-cache=" + value);
  case OPT_weights_EQ:
    line.weights = value.str();
    return value.ends_with(".safetensors") || fail(errors, "expected -weights=<file>.safetensors, but got " + value);
  case OPT_embed_weights:
    line.embedWeights = true;
    return true;
  case OPT_symbol_prefix_EQ:
    line.symbolPrefix = value.str();
    if (value.empty() || llvm::isDigit(value.front()) ||
        !llvm::all_of(value, [](char c) { return llvm::isAlnum(c) || c == '_'; }))
      return fail(errors, "expected an identifier as -symbol-prefix, but got " + value);
    return true;
  case OPT_subgraph_EQ:
    line.subgraph = value.str();
    return !value.empty() || fail(errors, "expected a name behind -subgraph=");
  case OPT_shape_EQ:
    return parseShape(value, line, errors);
  case OPT_target_EQ:
    line.target = value.str();
    return true;
  case OPT_mcpu_EQ:
    line.cpu = value.str();
    return true;
  case OPT_emulate:
    line.emulate = true;
    return true;
  case OPT_cuda_tune_EQ:
    line.cudaTune = value.str();
    return !value.empty() || fail(errors, "expected -cuda-tune=<path>");
  case OPT_cuda_arch_EQ:
    line.cudaArch = value.str();
    return value.starts_with("sm_") || fail(errors, "expected -cuda-arch=sm_<number>+.., but got " + value);
  case OPT_prune_EQ:
    return parsePrune(value, line, errors);
  case OPT_train:
    line.train = true;
    return true;
  case OPT_trainable_EQ:
    for (StringRef glob : llvm::split(value, '+'))
      if (!glob.empty())
        line.trainable.push_back(glob.str());
    return !line.trainable.empty() || fail(errors, "expected -trainable=<glob>+.., but got nothing");
  case OPT_mem_budget_EQ:
    return parseMemoryBudget(value, line, errors);
  case OPT_recompute_EQ:
    line.recompute = value.str();
    return llvm::is_contained({"none", "free", "layers"}, value) ||
           fail(errors, "expected -recompute=none, free or layers, but got " + value);
  case OPT_loss_EQ:
    return parseLoss(value, line, errors);
  case OPT_head_EQ:
  case OPT_lora_EQ:
  case OPT_dropout_EQ:
  case OPT_seed_EQ:
    return applyTraining(arg.getOption().getID(), value, line.training, errors);
  case OPT_fp8:
    line.fp8 = true;
    return true;
  case OPT_fp16:
  case OPT_bf16: {
    std::string type = arg.getOption().matches(OPT_fp16) ? "f16" : "bf16";
    if (!line.precision.empty() && line.precision != type)
      return fail(errors, "expected one of -fp16 and -bf16, but got both");
    line.precision = type;
    return true;
  }
  case OPT_quantize_int8:
  case OPT_quantize_int8_EQ:
  case OPT_quantize_int4:
  case OPT_quantize_int4_EQ:
  case OPT_quantize_include_EQ:
  case OPT_quantize_exclude_EQ:
  case OPT_calib_EQ:
  case OPT_calib_cache_EQ:
  case OPT_eval_EQ:
  case OPT_metric_EQ:
  case OPT_accuracy_budget_EQ:
  case OPT_max_size_EQ:
  case OPT_max_latency_EQ:
  case OPT_search_time_EQ:
  case OPT_tune:
  case OPT_tune_EQ:
  case OPT_tune_file_EQ:
  case OPT_allow_slower:
    return applyQuantize(arg.getOption().getID(), value, line.quantize, errors);
  case OPT_report_EQ:
    return parseReports(value, line, errors);
  case OPT_report_file_EQ:
    line.reportFile = value.str();
    return true;
  case OPT_require_fusion_EQ:
    return parseCounts("-require-fusion=", value, line.requireFusion, errors);
  case OPT_info:
    line.info = true;
    return true;
  case OPT_verify_EQ:
    line.verify = value.str();
    return true;
  case OPT_expect_EQ:
    line.expect = value.str();
    return true;
  case OPT_tolerance_EQ:
    return (!value.getAsDouble(line.tolerance) && line.tolerance > 0) ||
           fail(errors, "expected a positive -tolerance, but got " + value);
  case OPT_help:
    line.help = true;
    return true;
  case OPT_version:
    line.version = true;
    return true;
  case OPT_INPUT:
    if (!line.model.empty())
      return fail(errors, "expected one model, but got " + llvm::Twine(line.model) + " and " + value);
    line.model = value.str();
    return true;
  default:
    return fail(errors, "unknown option " + llvm::Twine(arg.getSpelling()));
  }
}

bool checkCombinations(const CommandLine &line, raw_ostream &errors) {
  if (line.model.empty())
    return fail(errors, "expected a model, e.g. llmopt model.onnx -o model.so");
  if (!line.target.empty() && line.cpu == "native")
    return fail(errors, "expected -mcpu=<cpu> with -target, e.g. -target=aarch64-linux-gnu -mcpu=neoverse-n1");
  bool isCuda = llvm::is_contained({EmitKind::Cuda, EmitKind::Cubin, EmitKind::Ptx}, line.emit);
  if (!line.precision.empty() && !isCuda && line.emit != EmitKind::LM)
    return fail(errors,
                "expected -emit=cuda, cubin, ptx or lm with -fp16 and -bf16 (CPU kernels compute in f32; -quantize-int8 and "
                "-quantize-int4 make their weights smaller)");
  if (line.fp8 && !llvm::is_contained({EmitKind::Cuda, EmitKind::Cubin, EmitKind::Ptx, EmitKind::LM}, line.emit))
    return fail(errors,
                "expected -emit=cuda, cubin, ptx or lm with -fp8: CPUs have no products of e4m3 (-quantize-int8 "
                "makes weights as small)");
  if (line.fp8 && (line.quantize.any() || line.train))
    return fail(errors, llvm::Twine("expected no ") + (line.train ? "-train" : "-quantize-int8 and -quantize-int4") +
                            " with -fp8");
  if (line.emulate && line.emit != EmitKind::Cuda)
    return fail(errors, "expected -emit=cuda with -emulate");
  if (line.emit == EmitKind::Onnx && (line.kvCache || line.train))
    return fail(errors, llvm::Twine("expected no ") + (line.train ? "-train" : "-kv-cache") +
                            " with -emit=onnx: ONNX has no form for values that stay between runs");
  if (isCuda && line.kvCacheInt8)
    return fail(errors, "expected -kv-cache=type:float for a GPU: int8 caches are read on CPUs only");
  if ((isCuda || line.emit == EmitKind::Onnx) && (line.quantize.tune || !line.quantize.tuneFile.empty()))
    return fail(errors, "expected no -tune with -emit=cuda or onnx: times are those of a CPU");
  if (std::string error; !checkQuantizeOptions(line.quantize, error))
    return fail(errors, error);
  if (line.train && line.quantize.any() && !line.quantize.fake && !line.training.lora && !line.quantize.calib.empty())
    return fail(errors, "expected no -calib with -train: weights change after it; mode:fake trains with fixed scales");
  if (line.training.lora && line.quantize.staticInputs && !line.quantize.fake)
    return fail(errors, "expected -quantize-int8=inputs:dynamic with -lora: inputs of a base stay in float");
  if (!line.train && (!line.trainable.empty() || !line.loss.empty() || line.recompute != "free" || line.memoryBudget ||
                      line.training.any()))
    return fail(errors, llvm::Twine("expected -train with ") + (!line.trainable.empty()    ? "-trainable"
                                                                : !line.loss.empty()       ? "-loss"
                                                                : line.recompute != "free" ? "-recompute"
                                                                : line.memoryBudget        ? "-mem-budget"
                                                                : line.training.head       ? "-head"
                                                                : line.training.lora       ? "-lora"
                                                                : line.training.dropout    ? "-dropout"
                                                                                           : "-seed"));
  if (line.memoryBudget && line.recompute != "free")
    return fail(errors, "expected one of -mem-budget and -recompute, but got both");
  if (line.train && (isCuda || line.kvCache))
    return fail(errors, llvm::Twine("expected no ") + (isCuda ? "-emit=cuda" : "-kv-cache") +
                            " with -train: models are trained on CPUs, without caches of past tokens");
  if (!line.expect.empty() && line.verify.empty())
    return fail(errors, "expected -verify=<m.so> with -expect");
  return true;
}

} // namespace

std::optional<CommandLine> llmopt::parseCommandLine(ArrayRef<const char *> argv, raw_ostream &errors) {
  Table table;
  unsigned missingIndex, missingCount;
  InputArgList args = table.ParseArgs(argv, missingIndex, missingCount);
  if (missingCount) {
    fail(errors, "expected a value behind " + llvm::Twine(args.getArgString(missingIndex)));
    return std::nullopt;
  }
  CommandLine line;
  for (const Arg *arg : args) {
    if (arg->getOption().getID() == OPT_UNKNOWN) {
      std::string nearest;
      std::string text = arg->getAsString(args);
      bool close = table.findNearest(text, nearest) <= 3;
      fail(errors, "unknown option " + text + (close ? ", did you mean " + nearest + "?" : ""));
      return std::nullopt;
    }
    if (!apply(*arg, line, errors))
      return std::nullopt;
  }
  if (line.help || line.version)
    return line;
  if (!checkPhaseOrder(args, errors) || !checkCombinations(line, errors))
    return std::nullopt;
  return line;
}

void llmopt::printHelp(raw_ostream &os) {
  Table().printHelp(os, "llmopt model.onnx [options]", "llmopt: compile a fine-tuned transformer to native code");
  os << "\nexit codes: 0 ok, 1 bad model or data, 2 usage, 3 a check failed, 4 environment, 70 bug in llmopt\n";
}
