// The linear layers of a model, and what becomes of each.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_SITES_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_SITES_H

#include "llmopt/Driver/QuantizeOptions.h"
#include "llmopt/Transforms/Quantization/DerivedWeights.h"
#include "llmopt/Transforms/Quantization/Scheme.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>

namespace llmopt {

/// A layer that is not quantized smaller than this costs more accuracy than time.
inline constexpr int64_t kMinWidth = 16;

struct Site {
  std::string name; ///< of the layer, as the owner of the model calls it; unique
  lm::LinearOp linear;
  int64_t k = 0, n = 0;
  std::string reason; ///< why it stays in float whatever is asked for; or empty
};

/// What a layer becomes.
struct Choice {
  QuantScheme scheme;
  double staticScale = 0;
  std::optional<StoredWeight> weight; ///< absent: rounded to nearest
  std::vector<float> biasShift;       ///< [n], added to the bias; empty: nothing
  double sqnr = 0;                    ///< of the weight, in dB; 0 for float
  std::string reason;                 ///< why float, or why not what was asked for
};

/// All linear layers of @main in order. A glob that matches none is an error that
/// lists what there is.
llvm::Expected<std::vector<Site>> collectSites(mlir::ModuleOp module, const QuantizeOptions &options);

/// An embedding table that was put in int8.
struct TableSite {
  std::string name;
  int64_t rows = 0, width = 0;
};

/// Puts the embedding tables of @main in int8, those of at least kMinRows rows that no
/// glob excludes.
inline constexpr int64_t kMinRows = 64;
std::vector<TableSite> quantizeTables(mlir::ModuleOp module, const QuantizeOptions &options);

/// Rewrites the layers of `module`, a copy of the one that sites were collected
/// from or that itself: choice i for layer i.
void applyChoices(mlir::ModuleOp module, llvm::ArrayRef<Choice> choices);

/// All linear layers of @main, in the order of sites.
std::vector<lm::LinearOp> listLinears(mlir::ModuleOp module);

} // namespace llmopt

#endif
