// What turns operations of a plan into kernel specs, for the files that hold them
// by family. Private to this library.
#ifndef LLMOPT_LIB_CODEGEN_CPU_EMITSTEPS_H
#define LLMOPT_LIB_CODEGEN_CPU_EMITSTEPS_H

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/Rows.h"
#include "llmopt/CodeGen/Loops/Loops.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cstring>

namespace llmopt::cpu {

/// The dims of one step, and the text that tells kernels apart.
class Shape {
public:
  llvm::SmallVector<lm::SymExpr> dims;

  Size size(const lm::SymExpr &expr) {
    if (std::optional<int64_t> constant = expr.getConstant())
      return Size(*constant);
    for (auto [i, dim] : llvm::enumerate(dims))
      if (dim == expr)
        return Size::dim(i);
    dims.push_back(expr);
    return Size::dim(dims.size() - 1);
  }
  lm::SymExpr expr(const Size &size) const { return size.isDim ? dims[size.value] : lm::SymExpr(size.value); }
  lm::SymExpr expr(const SizeFormula &formula) const {
    lm::SymExpr product = formula.scale;
    for (const SizeFormula::Factor &factor : formula.factors)
      product *= lm::SymExpr::ceilDiv(expr(factor.size), lm::SymExpr(factor.block));
    return lm::SymExpr(formula.constant) + product;
  }
};

/// Collects the fields of a spec.
class Key {
public:
  Key &operator<<(const Size &s) { return *this << s.key(); }
  Key &operator<<(const Operand &o) { return *this << o.key(); }
  Key &operator<<(int64_t v) { return *this << std::to_string(v); }
  Key &operator<<(double v) {
    uint64_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    return *this << std::to_string(bits);
  }
  Key &operator<<(const std::string &part) {
    text += part + ";";
    return *this;
  }
  std::string text;
};

/// The buffers of an operation in the order of StepKernel.
class Arguments {
public:
  Operand take(mlir::Value value, Size offset = 0) { return value ? Operand(next++, offset) : Operand(); }

private:
  int64_t next = 0;
};

class CPUStepEmitter : public StepEmitter {
public:
  CPUStepEmitter(mlir::ModuleOp module, const TargetInfo &target) : kb(module, target), target(target) {}

  mlir::FailureOr<StepKernel> emit(mlir::Operation *op) override {
    return llvm::TypeSwitch<mlir::Operation *, mlir::FailureOr<StepKernel>>(op)
        .Case<kernel::GemmOp, kernel::GemmS8Op, kernel::GemmW4A8Op, kernel::GemmWQOp, kernel::QuantizeRowsOp,
              kernel::QuantizeTensorOp, kernel::BatchedMatmulOp, kernel::AttentionOp, kernel::KVAppendOp,
              kernel::NormOp, kernel::NormQuantizedOp, kernel::NormQuantizedTensorOp, kernel::SoftmaxOp,
              kernel::EmbedOp, kernel::EmbeddingGradOp, kernel::PackPanelsOp, kernel::LoopsOp>(
            [&](auto typed) { return emitOp(typed); })
        .Default([](mlir::Operation *other) -> mlir::FailureOr<StepKernel> {
          return other->emitError() << "expected an operation that has a CPU kernel, but got " << other->getName();
        });
  }

private:
  mlir::FailureOr<StepKernel> emitOp(kernel::GemmOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::GemmS8Op op);
  mlir::FailureOr<StepKernel> emitOp(kernel::GemmW4A8Op op);
  mlir::FailureOr<StepKernel> emitOp(kernel::GemmWQOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::QuantizeRowsOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::QuantizeTensorOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::BatchedMatmulOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::AttentionOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::KVAppendOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::NormOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::NormQuantizedOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::NormQuantizedTensorOp op);
  template <typename Norm> void takeNormOperands(Norm op, Arguments &args, NormSpec &spec);
  template <typename Norm> mlir::FailureOr<StepKernel> emitNormSpec(Norm op, NormSpec &spec);
  mlir::FailureOr<StepKernel> emitOp(kernel::SoftmaxOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::EmbedOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::EmbeddingGradOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::PackPanelsOp op);
  mlir::FailureOr<StepKernel> emitOp(kernel::LoopsOp op);
  mlir::FailureOr<StepKernel> emitGemmSpec(GemmSpec &spec, const Shape &shape, const std::string &name);

  /// The symbol for a kernel of this key; `isNew` where it is yet to be emitted.
  /// Names the kernel of `spec`, and emits it unless one of the same key exists.
  template <typename Spec>
  void shareKernel(Spec &spec, const std::string &name, const std::string &key,
                   void (*emitKernel)(KernelBuilder &, const Spec &)) {
    bool isNew;
    spec.name = getSymbol(name, key, isNew);
    if (isNew)
      emitKernel(kb, spec);
  }

  std::string getSymbol(const std::string &name, const std::string &key, bool &isNew) {
    auto [it, inserted] = symbols.try_emplace(key);
    isNew = inserted;
    if (inserted) {
      unsigned earlier = numNamed[name]++;
      it->second = earlier ? name + "_v" + std::to_string(earlier) : name;
    }
    return it->second;
  }

  KernelBuilder kb;
  const TargetInfo &target;
  llvm::StringMap<std::string> symbols;
  llvm::StringMap<unsigned> numNamed;
  llvm::StringMap<loops::LoopSpec> loopSpecs;
};

inline Activation getActivation(kernel::Activation activation) {
  switch (activation) {
  case kernel::Activation::None:
    return Activation::None;
  case kernel::Activation::Relu:
    return Activation::Relu;
  case kernel::Activation::GeluErf:
    return Activation::GeluErf;
  case kernel::Activation::GeluTanh:
    return Activation::GeluTanh;
  case kernel::Activation::GeluQuick:
    return Activation::GeluQuick;
  case kernel::Activation::Tanh:
    return Activation::Tanh;
  case kernel::Activation::Sigmoid:
    return Activation::Sigmoid;
  case kernel::Activation::Silu:
    return Activation::Silu;
  }
  llvm_unreachable("an enum");
}

/// The product of all dimensions but the last.
inline lm::SymExpr getRows(mlir::Value value) { return lm::product(llvm::ArrayRef(lm::getDims(value)).drop_back()); }

/// "gemm_n768_k768_bias_gelu_erf": a product with what follows it.
template <typename Gemm> std::string getProductName(const std::string &kind, Gemm op) {
  std::string name = kind + "_n" + std::to_string(op.getN()) + "_k" + std::to_string(op.getK());
  if (op.getBias())
    name += "_bias";
  if (op.getActivation() != kernel::Activation::None)
    name += "_" + kernel::stringifyActivation(op.getActivation()).str();
  if (op.getResidual())
    name += "_residual";
  return name;
}

} // namespace llmopt::cpu

#endif
