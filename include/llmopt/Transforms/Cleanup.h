// The cleanup patterns, for passes that want their input or output in the one
// form that matchers are written for.
#ifndef LLMOPT_TRANSFORMS_CLEANUP_H
#define LLMOPT_TRANSFORMS_CLEANUP_H

#include "mlir/IR/PatternMatch.h"

namespace llmopt {

/// Reshape, transpose, slice: composing and ordering them (CleanupViews.cpp).
void populateViewPatterns(mlir::RewritePatternSet &patterns);
/// Scalars, powers, broadcasts, casts (CleanupArith.cpp).
void populateArithPatterns(mlir::RewritePatternSet &patterns);
/// Scatters that replace everything (CleanupScatter.cpp).
void populateScatterPatterns(mlir::RewritePatternSet &patterns);

/// Folds, canonicalises and applies all of the above until nothing changes.
/// Failure means that it did not converge; nothing was reported.
mlir::LogicalResult runCleanup(mlir::Operation *root);

} // namespace llmopt

#endif
