// The canonical weights that recipes read.
#ifndef LLMOPT_LIB_CODEGEN_PLAN_WEIGHTSOURCES_H
#define LLMOPT_LIB_CODEGEN_PLAN_WEIGHTSOURCES_H

#include "llmopt/CodeGen/Plan/Recipe.h"
#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/ADT/StringMap.h"

namespace llmopt {

/// The bytes of weights by name. Those whose elements are no plain bytes (splats,
/// booleans, elements of a few bits) are expanded while they are in use.
class WeightSources {
public:
  void add(llvm::StringRef name, lm::WeightOp op) { weights[name] = op; }
  /// For executeRecipe; valid as long as this object.
  RecipeSource asSource();

private:
  const char *get(const std::string &name, std::string &error);
  void release(const std::string &name);
  const char *expand(const std::string &name, llvm::ArrayRef<char> packed, unsigned bits, bool isSigned, int64_t count);

  llvm::StringMap<lm::WeightOp> weights;
  llvm::StringMap<std::vector<char>> expanded;
};

} // namespace llmopt

#endif
