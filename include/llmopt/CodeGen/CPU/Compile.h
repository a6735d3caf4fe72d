// From a module of kernels to machine code in memory.
#ifndef LLMOPT_CODEGEN_CPU_COMPILE_H
#define LLMOPT_CODEGEN_CPU_COMPILE_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/CodeGen/Plan/ModelTables.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"

#include <string>

namespace llmopt::cpu {

enum class Emit { Llvm, Asm, Object, Archive, SharedLibrary };

struct CompileOptions {
  Emit emit = Emit::SharedLibrary;
  /// Tables of the model; without them every public function of the module is
  /// exported instead (tests, tuning).
  const ModelTables *tables = nullptr;
  /// Put in front of `llmopt_model_v1`, so that two models link into one
  /// program.
  std::string symbolPrefix;
  /// 0 .. 3, as in -O; affects compile time of large modules.
  int optLevel = 3;
};

/// Lowers `module` (func, scf, cf, arith, math.fma/sqrt, vector, llvm; changed
/// in place), optimises and emits it. Text is not NUL-terminated. On failure
/// the reason is reported as a diagnostic on the module.
mlir::LogicalResult compileModule(mlir::ModuleOp module,
                                  const TargetInfo &target,
                                  const CompileOptions &options,
                                  llvm::SmallVectorImpl<char> &out);

} // namespace llmopt::cpu
#endif
