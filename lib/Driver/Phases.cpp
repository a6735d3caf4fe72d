// From a file to L1: import, raise, structure, train, in this order.
#include "Session.h"

#include "llmopt/Dialect/LM/IR/ModuleNames.h"
#include "llmopt/Import/ONNX/Import.h"
#include "llmopt/Transforms/Cache/Passes.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"
#include "llmopt/Transforms/Precision/Passes.h"
#include "llmopt/Transforms/Pruning/Passes.h"
#include "llmopt/Transforms/Training/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace llmopt;

/// A merged decoder has a branch without past for the prompt and one with past for
/// the rest. With a cache the latter serves both: the past of a prompt is empty.
static void chooseCacheBranch(Session &session, ONNXImportOptions &options) {
  constexpr const char *kInput = "use_cache_branch";
  std::string error; // reported by the import
  FailureOr<std::vector<std::string>> names = listONNXInputs(session.line.model, error, session.line.subgraph);
  if (failed(names) || !llvm::is_contained(*names, kInput))
    return;
  auto type = RankedTensorType::get({1}, IntegerType::get(&session.context, 1));
  options.inputValues[kInput] = DenseElementsAttr::get(type, true);
}

int llmopt::importModel(Session &session) {
  session.beginPhase("import");
  ONNXImportOptions options;
  options.subgraph = session.line.subgraph;
  if (session.line.kvCache)
    chooseCacheBranch(session, options);
  for (const ShapePin &pin : session.line.shapes) {
    std::vector<std::string> &dims = options.inputShapes[pin.input];
    dims.clear();
    for (int64_t dim : pin.dims)
      dims.push_back(std::to_string(dim));
  }
  auto handler = [&](const ImportMessage &message) {
    session.note((message.isError || message.isRemark ? "" : "warning: ") + message.text);
  };
  FailureOr<OwningOpRef<ModuleOp>> module = importONNX(&session.context, session.line.model, options, handler);
  if (failed(module))
    return kBadModel;
  session.module = std::move(*module);
  for (auto function : session.module->getOps<func::FuncOp>())
    lm::noteModuleNames(function);
  return kOk;
}

int llmopt::raiseModel(Session &session) {
  return session.runPasses("raise", [&](OpPassManager &manager) {
    RaisePipelineOptions options;
    // Pruning cuts single projections, and training needs them apart; they are joined
    // behind it. ONNX keeps weights as they are named.
    options.fuseQKV = !session.line.keepHeads && !session.line.train && session.line.emit != EmitKind::Onnx &&
                      !session.line.quantize.fake;
    buildRaisePipeline(manager, options);
  });
}

int llmopt::pruneModel(Session &session) {
  if (!session.line.keepHeads)
    return kOk;
  return session.runPasses("prune", [&](OpPassManager &manager) {
    PruneHeadsPassOptions options;
    options.keep = *session.line.keepHeads;
    manager.addNestedPass<func::FuncOp>(createPruneHeadsPass(options));
    RaisePipelineOptions raise;
    raise.fuseQKV = !session.line.train && session.line.emit != EmitKind::Onnx && !session.line.quantize.fake;
    buildRaisePipeline(manager, raise); // joins the projections that are left
  });
}

int llmopt::trainModel(Session &session) {
  if (!session.line.train)
    return kOk;
  return session.runPasses("train", [&](OpPassManager &manager) {
    BuildTrainingPassOptions options;
    const TrainOptions &training = session.line.training;
    if (training.lora) { // before a head, which trains whole
      InsertLoRAPassOptions lora;
      lora.rank = training.lora->rank;
      lora.alpha = training.lora->alpha;
      lora.rs = training.lora->rs;
      llvm::append_range(lora.targets, training.lora->targets);
      lora.seed = training.seed.value_or(0);
      manager.addPass(createInsertLoRAPass(lora));
    }
    if (training.head) {
      AttachHeadPassOptions head;
      head.kind = training.head->kind;
      head.count = training.head->count;
      head.pool = training.head->pool;
      head.seed = training.seed.value_or(0);
      manager.addPass(createAttachHeadPass(head));
    }
    options.loss = session.line.getLoss();
    options.chunk = session.line.lossChunk;
    options.dropout = training.dropout.value_or(-1);
    llvm::append_range(options.trainable, session.line.trainable);
    manager.addPass(createBuildTrainingPass(options));
    if (!session.line.quantize.fake)
      manager.addPass(createFuseQKVPass()); // in @main: what is trained stays as it is named
    manager.addPass(createCleanupPass());
    RecomputePassOptions recompute;
    recompute.mode = session.line.recompute;
    manager.addPass(createRecomputePass(recompute)); // behind the last merge of common subexpressions
  });
}

int llmopt::keepCache(Session &session) {
  if (!session.line.kvCache)
    return kOk;
  int code = session.runPasses("cache", [&](OpPassManager &manager) {
    KVCachePassOptions options;
    options.int8 = session.line.kvCacheInt8;
    manager.addNestedPass<func::FuncOp>(createKVCachePass(options));
    manager.addPass(createCleanupPass());
  });
  if (code != kOk)
    return code;
  session.module->walk([&](func::FuncOp function) {
    auto names = function->removeAttr("lm.session_inputs");
    if (auto list = dyn_cast_or_null<ArrayAttr>(names))
      for (auto name : list.getAsRange<StringAttr>())
        session.note("-kv-cache: no input '" + name.str() + "': the session knows how many tokens there are");
  });
  return kOk;
}

int llmopt::narrowModel(Session &session) {
  if (session.line.precision.empty())
    return kOk;
  return session.runPasses("precision", [&](OpPassManager &manager) {
    MixedPrecisionPassOptions options;
    options.type = session.line.precision;
    manager.addNestedPass<func::FuncOp>(createMixedPrecisionPass(options));
    manager.addPass(createCleanupPass());
  });
}

int llmopt::reportFusion(Session &session) {
  const CommandLine &line = session.line;
  if (!line.reportFusion && line.reportFile.empty() && line.requireFusion.empty())
    return kOk;
  FusionReport report = collectFusionReport(*session.module);
  if (line.reportFusion)
    printFusionTable(report, session.errors());
  std::string json;
  llvm::raw_string_ostream os(json);
  printFusionJSON(report, os);
  session.addReport("fusion", json);
  std::vector<FusionRequirement> requirements;
  for (auto &[name, count] : line.requireFusion) {
    std::optional<FusionKind> kind = parseFusionKind(name);
    if (!kind)
      return session.fail(kUsage, "expected -require-fusion of attention, norm, gelu, linear, qkv, embedding, "
                                  "skip-norm or embed-norm, but got " +
                                      name);
    requirements.push_back({*kind, static_cast<unsigned>(count)});
  }
  std::vector<std::string> failures = checkFusionRequirements(report, requirements);
  for (const std::string &failure : failures)
    session.fail(kGateFailed, failure);
  return failures.empty() ? kOk : kGateFailed;
}
