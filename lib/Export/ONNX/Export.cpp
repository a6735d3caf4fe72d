// The model around its graph, and its files.
#include "llmopt/Export/ONNX/Export.h"

#include "BlockQuantized.h"
#include "GraphExporter.h"

#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_export;

/// What protobuf reads at most.
static constexpr uint64_t kMaxModelBytes = uint64_t(2) << 30;

static LogicalResult report(Operation *op, llvm::Error error) {
  return op->emitError(llvm::toString(std::move(error)));
}

static llvm::Error writeFiles(const onnx::ModelProto &model, StringRef path, WeightWriter &weights) {
  std::string bytes;
  if (model.ByteSizeLong() >= kMaxModelBytes || !model.SerializeToString(&bytes))
    return llvm::createStringError("expected a model below 2 GB without its large weights");
  llvm::Expected<AtomicFile> file = AtomicFile::create(path);
  if (!file)
    return file.takeError();
  if (llvm::Error error = file->write(ArrayRef(bytes.data(), bytes.size())))
    return error;
  if (llvm::Error error = file->sync())
    return error;
  // The model comes last: what it names is there.
  if (AtomicFile *data = weights.getFile()) {
    if (llvm::Error error = data->sync())
      return error;
    if (llvm::Error error = data->commit())
      return error;
  }
  return file->commit();
}

LogicalResult llmopt::exportONNX(ModuleOp module, StringRef path) {
  auto function = module.lookupSymbol<func::FuncOp>("main");
  if (!function)
    return module.emitError("expected a function @main");
  stripBlockInputs(function);
  onnx::ModelProto model;
  model.set_producer_name("llmopt");
  auto name = module->getAttrOfType<StringAttr>("lm.model_name");
  model.mutable_graph()->set_name(name ? name.str() : "main");
  WeightWriter weights(path);
  GraphExporter exporter(function, model, weights);
  if (failed(exporter.run()))
    return failure();
  if (llvm::Error error = writeFiles(model, path, weights))
    return report(module, std::move(error));
  return success();
}
