// Weights that passes add for training. They carry `lm.trained`, a string: "head" or
// "adapter", so that later passes know what they are for.
#ifndef LLMOPT_TRANSFORMS_TRAINING_TRAINEDWEIGHTS_H
#define LLMOPT_TRANSFORMS_TRAINING_TRAINEDWEIGHTS_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/Builders.h"

namespace llmopt {

enum class TrainedWeight { Head, Adapter };

/// A new f32 weight, `#lm.drawn`.
mlir::Value addDrawnWeight(mlir::OpBuilder &builder, mlir::Location loc, llvm::StringRef name,
                           llvm::ArrayRef<int64_t> shape, lm::DrawKind kind, double scale, uint64_t seed,
                           TrainedWeight what);
/// What a pass added `weight` for; nullopt for one of the model.
std::optional<TrainedWeight> getTrainedWeight(lm::WeightOp weight);

} // namespace llmopt

#endif
