// What works for one operation, found by trying it on its sample.
#ifndef LLMOPT_TEST_OPERATORS_PROBE_H
#define LLMOPT_TEST_OPERATORS_PROBE_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Dialect/LM/Eval/Evaluator.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <string>
#include <vector>

namespace llmopt::operators {

struct Answer {
  enum Kind { Yes, No, Wrong } kind = No;
  std::string text; // why not, one line
};

/// One function of samples.mlir: an instance of lm.NAME.
class Sample {
public:
  Sample(mlir::func::FuncOp function, const cpu::TargetInfo &target) : function(function), target(target) {}

  /// The operation's name without the dialect.
  std::string getName() const;
  /// "int8" of @linear.int8, or empty.
  std::string getVariant() const;
  /// The instance, null where the function has none.
  mlir::Operation *findOp() const { return findOp(function); }

  /// Whether ill-formed instances are rejected: another result type, other operand
  /// types, or attributes out of range.
  Answer tryVerifier() const;
  /// Whether the evaluator defines it.
  Answer tryEvaluator() const;
  /// Whether it compiles for this CPU, and computes there what the evaluator does.
  Answer tryCPU() const;
  /// Whether gradients of all its floating-point operands agree with central
  /// differences, in f64.
  Answer tryGradient() const;
  /// Whether the CUDA back end prints a project.
  Answer tryCuda() const;
  /// Whether it computes on 8-bit integers: as they are, bit for bit, on this CPU,
  /// or (a variant `int8`) as an int8 kernel of the plan.
  Answer tryInt8() const;

private:
  friend Answer tryEmulation(llvm::ArrayRef<Sample> samples);
  mlir::Operation *findOp(mlir::func::FuncOp in) const;
  /// A module of the sample as @main, with `from` replaced by `to` in its text;
  /// null where that is no module.
  mlir::OwningOpRef<mlir::ModuleOp> instantiate(llvm::StringRef from = "", llvm::StringRef to = "") const;
  Answer runCompiled(mlir::ModuleOp module) const;

  mutable mlir::func::FuncOp function; // a handle
  const cpu::TargetInfo &target;
};

/// Runs all samples as one CUDA project, emulated on this CPU, against the
/// evaluator.
Answer tryEmulation(llvm::ArrayRef<Sample> samples);

} // namespace llmopt::operators

#endif
