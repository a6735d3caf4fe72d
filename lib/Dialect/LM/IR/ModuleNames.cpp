#include "llmopt/Dialect/LM/IR/ModuleNames.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"

#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static constexpr StringLiteral kName = "lm.module_name", kTransposed = "lm.module_transposed";

/// Names of modules have dots; numbers behind "onnx::" or "val_" have none.
static bool isExportersName(StringRef name) { return name.contains("::") || !name.contains('.'); }

void llmopt::lm::noteModuleNames(func::FuncOp function) {
  llvm::StringMap<unsigned> uses;
  SmallVector<std::pair<WeightOp, std::string>> found;
  for (WeightOp weight : function.getOps<WeightOp>()) {
    ++uses[weight.getName()];
    auto type = cast<RankedTensorType>(weight.getType());
    if (!isExportersName(weight.getName()) || type.getRank() != 2 || !weight->hasOneUse())
      continue;
    auto product = dyn_cast<MatMulOp>(*weight->user_begin());
    if (!product || product.getRhs() != weight.getResult())
      continue;
    std::string module = getModulePath(product);
    if (module.empty())
      continue;
    found.push_back({weight, module + ".weight"});
    ++uses[found.back().second];
  }
  Builder builder(function.getContext());
  for (auto &[weight, name] : found)
    if (uses[name] == 1) {
      weight->setAttr(kName, builder.getStringAttr(name));
      weight->setAttr(kTransposed, builder.getUnitAttr());
    }
}

ModuleName llmopt::lm::getModuleName(WeightOp weight) {
  auto name = weight->getAttrOfType<StringAttr>(kName);
  return name ? ModuleName{name.str(), weight->hasAttr(kTransposed)} : ModuleName{weight.getName().str(), false};
}
