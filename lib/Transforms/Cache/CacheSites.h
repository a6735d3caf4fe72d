// Pairs of a past that comes in and a present that goes out, and what proves that
// one is the other with new tokens behind it.
#ifndef LLMOPT_LIB_TRANSFORMS_CACHE_CACHESITES_H
#define LLMOPT_LIB_TRANSFORMS_CACHE_CACHESITES_H

#include "KnownValues.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt {

struct CacheSite {
  unsigned result; // of the function
  mlir::BlockArgument past;
  /// Past and new tokens in one; what attention reads and the function returns are
  /// views of it. `axis` is that of the tokens, `batchAxis` that of the sequences.
  mlir::Value all;
  int64_t axis = 0, batchAxis = 0;
  /// The new tokens: dimension d of `all` is dimension `freshAxes[d]` of it, or of
  /// size 1 (-1).
  mlir::Value fresh;
  llvm::SmallVector<int64_t> freshAxes;
  lm::SymExpr newTokens;
  /// What attention reads as key or value.
  llvm::SmallSetVector<mlir::Value, 2> reads;
};

/// `value` without the reshapes and transposes around it.
mlir::Value stripViews(mlir::Value value);

/// Collects what attention reads of `site.all`. Null, or what else reads it.
mlir::Operation *collectReads(mlir::func::FuncOp function, CacheSite &site);

/// Whether `returned` is `past` with new tokens behind it, `past` tokens being the
/// expression that `known` was made for. Fills in the site.
bool proveAppend(KnownValues &known, const lm::SymExpr &past, mlir::Value returned, CacheSite &site);

/// The integers that function arguments give to where elements of `value` come from.
llvm::SmallVector<mlir::BlockArgument> collectIntegerInputs(mlir::Value value);

/// What an integer input of a decoder may stand for, likeliest first, without
/// nothing. `symbol` is a dimension that it then fixes to past + new tokens.
struct Guess {
  Meaning meaning;
  std::string symbol;
};
llvm::SmallVector<Guess> guessMeanings(mlir::BlockArgument argument, const lm::SymExpr &newTokens);

/// Tries meanings for all of `inputs` that have none, until `holds`; keeps them.
bool findMeanings(KnownValues &known, llvm::ArrayRef<mlir::BlockArgument> inputs, const lm::SymExpr &past,
                  const lm::SymExpr &newTokens, llvm::DenseMap<mlir::BlockArgument, Guess> &meanings,
                  llvm::function_ref<bool()> holds);

/// `fresh` as rows [batch, new tokens, width], by the views that lead from
/// `site.all` to `read`. Null where they do not keep rows of tokens.
mlir::Value buildRows(mlir::OpBuilder &builder, const CacheSite &site, mlir::Value read);

} // namespace llmopt

#endif
