#include "llmopt/CodeGen/Plan/SafetensorsFile.h"

#include "WeightSources.h"

#include "llmopt/Dialect/LM/IR/ModuleNames.h"
#include "llmopt/Support/AtomicFile.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/JSON.h"

using namespace llmopt;
using llvm::ArrayRef;

/// As the format spells it; narrow integers are bytes.
static llvm::StringRef getTypeName(uint32_t dtype) {
  switch (dtype) {
  case LLMOPT_F64:
    return "F64";
  case LLMOPT_F32:
    return "F32";
  case LLMOPT_F16:
    return "F16";
  case LLMOPT_BF16:
    return "BF16";
  case LLMOPT_F8E4M3FN:
    return "F8_E4M3";
  case LLMOPT_F8E5M2:
    return "F8_E5M2";
  case LLMOPT_I64:
    return "I64";
  case LLMOPT_U64:
    return "U64";
  case LLMOPT_I32:
    return "I32";
  case LLMOPT_U32:
    return "U32";
  case LLMOPT_I16:
    return "I16";
  case LLMOPT_U16:
    return "U16";
  case LLMOPT_BOOL:
    return "BOOL";
  case LLMOPT_I8:
  case LLMOPT_I4:
  case LLMOPT_I2:
    return "I8";
  default:
    return "U8";
  }
}

llvm::Error llmopt::writeSafetensors(const PlannedModel &model, llvm::StringRef path) {
  WeightSources weights;
  std::vector<Recipe> recipes;
  llvm::json::Object header;
  // What other tools look for before they take a file's tensors for torch's.
  llvm::json::Object metadata{{"format", "pt"}};
  uint64_t position = 0;
  for (const auto &[name, op] : model.sources) {
    weights.add(name, op);
    if (lm::ModuleName module = lm::getModuleName(op); module.name != name)
      metadata[name] = (module.transposed ? "transposed " : "") + module.name;
    Recipe::Node node;
    node.name = name;
    auto type = mlir::cast<mlir::RankedTensorType>(lm::WeightOp(op).getType());
    node.dtype = getDType(type.getElementType());
    node.dims.assign(type.getShape().begin(), type.getShape().end());
    uint64_t size = getDTypeBytes(node.dtype) * type.getNumElements();
    llvm::json::Array shape;
    for (int64_t dim : node.dims)
      shape.push_back(dim);
    header[name] = llvm::json::Object{{"dtype", getTypeName(node.dtype)},
                                      {"shape", std::move(shape)},
                                      {"data_offsets", llvm::json::Array{position, position + size}}};
    position += size;
    recipes.push_back({{std::move(node)}});
  }
  std::string alpha;
  if (!model.sources.empty()) {
    auto module = lm::WeightOp(model.sources.front().second)->getParentOfType<mlir::ModuleOp>();
    if (auto lora = module->getAttrOfType<mlir::DictionaryAttr>("lm.lora")) {
      llvm::raw_string_ostream(alpha) << llvm::json::Value(lora.getAs<mlir::FloatAttr>("alpha").getValueAsDouble());
      metadata["lora_alpha"] = alpha;
      metadata["use_rslora"] = lora.getAs<mlir::BoolAttr>("rs").getValue() ? "true" : "false";
    }
  }
  header["__metadata__"] = std::move(metadata);
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(header));
  text.append((64 - (text.size() + 8) % 64) % 64, ' '); // tensors start aligned

  llvm::Expected<AtomicFile> file = AtomicFile::create(path);
  if (!file)
    return file.takeError();
  uint64_t length = text.size();
  if (llvm::Error error = file->write(ArrayRef(reinterpret_cast<const char *>(&length), 8)))
    return error;
  if (llvm::Error error = file->write(ArrayRef(text.data(), text.size())))
    return error;
  RecipeSource source = weights.asSource();
  for (const Recipe &recipe : recipes) {
    llvm::Error failure = llvm::Error::success();
    std::string problem = executeRecipe(recipe, source, [&](const char *bytes, size_t size) {
      if (llvm::Error error = file->write(ArrayRef(bytes, size))) {
        failure = llvm::joinErrors(std::move(failure), std::move(error));
        return false;
      }
      return true;
    });
    if (!problem.empty())
      return llvm::joinErrors(std::move(failure), llvm::createStringError("cannot write weight '" +
                                                                          recipe.result().name + "': " + problem));
    if (failure)
      return failure;
  }
  return file->commit();
}
