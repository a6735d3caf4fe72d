// Generic loop nests: any group of lm operations as one kernel.
//
// The input is a region of one block: its arguments are the tensors that the
// kernel reads, the operands of its terminator those it writes, and between
// them stand operations of the lm dialect that this file's functions emit
// element by element: the value of a result at an index is written in terms of
// its operands at indices, down to loads. Every operation that the dialect has
// on tensors of run-time data is covered; hot ones have better kernels elsewhere.
//
// Semantics are the evaluator's, with f32 (f16 and bf16: in f32, rounded once per
// operation) instead of f64 inside, and with two additions for what the evaluator
// refuses, since a kernel never fails: integer x / 0 and x mod 0 give 0, and an
// index outside of [-n, n) is clamped into the dimension.
//
// Sums along a row run in 16 partial sums (element k goes to sum k mod 16),
// which are then added by halving, then the last n mod 16 elements in order; over
// several dimensions, the sums of inner ones are added in order; sums
// for several elements at once (matrix products) run in the order of the
// contracted index. Neither depends on tiles or threads.
#ifndef LLMOPT_CODEGEN_LOOPS_LOOPS_H
#define LLMOPT_CODEGEN_LOOPS_LOOPS_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Region.h"

namespace llmopt::loops {

/// What the plan must know to call a kernel of llmopt_kernel_fn's signature.
/// Its `args` are the region's arguments, in order, then its results, in order.
struct LoopSpec {
  std::string name;
  /// dims[i] of the kernel is the value of this expression.
  llvm::SmallVector<lm::SymExpr> dims;
  lm::SymExpr tiles;
  lm::SymExpr scratchBytes; // per thread (CUDA: per block)
};

/// Whether `op` can be emitted; if not and `reason` is given, it says why.
bool isSupported(mlir::Operation *op, std::string *reason = nullptr);

/// Appends the kernel `name` to `into` as func.func over (ptr, ptr, i64, ptr),
/// made of scf, arith, math, vector and llvm operations. Buffers of results may
/// be those of arguments only where every element is read before it is
/// written, at the same index; otherwise they must not overlap. A failure has
/// been reported at the operation that is in the way.
mlir::FailureOr<LoopSpec> emitLoopsMLIR(mlir::Region &region, llvm::StringRef name, mlir::ModuleOp into,
                                        const cpu::TargetInfo &target);

enum class TextStyle {
  /// extern "C" with the signature of llmopt_kernel_fn; plain C++17.
  Host,
  /// __global__, one parameter per buffer, then one int64_t per dim, then
  /// `char *scratch` if there is scratch memory (scratchBytes times the number
  /// of blocks); block = tile, blockIdx.x is its number.
  Cuda
};

/// Prints the same kernel as C++. Needs what `printTextPreamble` printed before.
mlir::FailureOr<LoopSpec> emitLoopsText(mlir::Region &region, llvm::StringRef name, llvm::raw_ostream &os,
                                        TextStyle style = TextStyle::Host);

/// Helper functions of the printed kernels, once per file, under include guards.
void printTextPreamble(llvm::raw_ostream &os, TextStyle style = TextStyle::Host);

/// Threads per block that printed CUDA kernels are to be started with.
constexpr int64_t cudaThreads = 256;

} // namespace llmopt::loops

#endif
