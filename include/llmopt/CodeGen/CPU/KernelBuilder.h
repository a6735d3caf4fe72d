// A thin layer over OpBuilder so that kernels read top to bottom: values with
// operators, loops with carried values, vectors with masked tails.
//
// Everything is i64, f32 (other element types where a kernel needs them),
// vectors of them and !llvm.ptr. Float arithmetic carries the `contract` flag
// and no other. Pointers advance in elements, never in bytes.
#ifndef LLMOPT_CODEGEN_CPU_KERNELBUILDER_H
#define LLMOPT_CODEGEN_CPU_KERNELBUILDER_H

#include "llmopt/CodeGen/CPU/Size.h"
#include "llmopt/CodeGen/CPU/TargetInfo.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

#include <functional>
#include <type_traits>

namespace llmopt::cpu {

class KernelBuilder;

/// An SSA value that remembers its builder. Operators take two values of one
/// type, a vector and a scalar (which is splatted), or a value and a literal.
struct V {
  mlir::Value value;
  KernelBuilder *kb = nullptr;

  explicit operator bool() const { return static_cast<bool>(value); }
  mlir::Type type() const { return value.getType(); }
  mlir::Type elementType() const;
  bool isFloat() const;
};

using Values = llvm::SmallVector<V, 4>;

/// How a kernel's result is written after it was summed.
enum class Activation {
  None,
  Relu,
  GeluErf,
  GeluTanh,
  GeluQuick,
  Tanh,
  Sigmoid,
  Silu
};

class KernelBuilder {
public:
  KernelBuilder(mlir::ModuleOp module, const TargetInfo &target);

  const TargetInfo &target;
  mlir::ModuleOp module;
  mlir::OpBuilder builder;
  mlir::Location loc;

  /// Starts a public function with the signature of llmopt_kernel_fn; code goes
  /// into it until `finish`.
  void beginKernel(llvm::StringRef name);
  /// Starts a private helper function. Returns its arguments.
  Values beginFunction(llvm::StringRef name, mlir::TypeRange arguments);
  void finish();
  bool hasFunction(llvm::StringRef name);
  void call(llvm::StringRef name, llvm::ArrayRef<V> arguments);

  // Of the kernel: buffer pointers, bound sizes, tile number, scratch memory.
  V arg(int64_t index);
  V size(Size s); // i64
  V tile, scratch;

  // Types.
  mlir::Type f32() { return builder.getF32Type(); }
  mlir::Type f64() { return builder.getF64Type(); }
  mlir::Type i64() { return builder.getI64Type(); }
  mlir::Type i32() { return builder.getI32Type(); }
  mlir::Type i8() { return builder.getI8Type(); }
  mlir::Type ptr();
  mlir::Type vec() { return vecOf(f32()); }
  mlir::Type vecOf(mlir::Type element) {
    return mlir::VectorType::get({target.lanes}, element);
  }
  int64_t lanes() const { return target.lanes; }

  V wrap(mlir::Value value) { return V{value, this}; }

  // Constants: `like` has the type of another value.
  V i(int64_t value);
  V f(double value);
  V splatConstant(double value);
  V constant(mlir::Type type, double value);
  V intConstant(mlir::Type type, int64_t value);
  template <typename T> V like(V other, T value) {
    return other.isFloat()
               ? constant(other.type(), static_cast<double>(value))
               : intConstant(other.type(), static_cast<int64_t>(value));
  }

  // Arithmetic beyond the operators.
  V fma(V a, V b, V c);
  /// A product that is rounded whatever it is used for: not contracted into an
  /// fma. Where the same product is taken twice and the results are compared or
  /// subtracted, both must be rounded alike.
  V roundedProduct(V a, V b);
  V minimum(V a, V b); // a < b ? a : b, so NaN in b wins
  V maximum(V a, V b); // a > b ? a : b
  V abs(V a);
  V sqrt(V a);
  V copySign(V magnitude, V sign);
  V ceilDiv(V a, int64_t b); // a >= 0
  V select(V condition, V a, V b);
  V bitcast(V a, mlir::Type element); // same width, keeps the shape
  V convert(V a, mlir::Type element); // float<->float, int->float, int<->int
                                      // (signed), float->int
  V toFloat(V a, mlir::Type element, bool isSigned = true);
  V extendUnsigned(V a, mlir::Type element);
  V splat(V scalar);
  V splat(V scalar, mlir::Type vectorType);
  V shuffle(V a, V b, llvm::ArrayRef<int64_t> lanes);
  V extract(V vector, int64_t lane);
  /// Halves the vector until one value is left: a fixed tree.
  V reduceAdd(V vector);
  V reduceMax(V vector);
  /// <0, 1, 2, ...> of i64 lanes.
  V laneIndex();
  V laneIndex32();
  /// Mask of the first `count` lanes.
  V firstLanes(V count);

  // Memory. Loads and stores assume no more than the element's alignment.
  V at(V pointer, V offset, mlir::Type element = {}); // element: f32 if absent
  V at(V pointer, int64_t offset, mlir::Type element = {});
  V load(V pointer, mlir::Type type = {}); // f32 if absent
  V loadVec(V pointer) { return load(pointer, vec()); }
  V loadMasked(V pointer, V mask, V passThrough = {});
  void store(V value, V pointer);
  void storeMasked(V value, V pointer, V mask);
  void prefetch(V pointer, int locality = 3, bool toWrite = false);

  // Control flow. Loops count from lo to hi (exclusive) by a positive step.
  void loop(V lo, V hi, int64_t step, llvm::function_ref<void(V)> body);
  Values loop(V lo, V hi, int64_t step, llvm::ArrayRef<V> init,
              llvm::function_ref<Values(V, llvm::ArrayRef<V>)> body);
  void ifThen(V condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise = {});
  Values ifThenElse(V condition, mlir::TypeRange types,
                    llvm::function_ref<Values()> then,
                    llvm::function_ref<Values()> otherwise);
  /// Covers [0, count) in vectors: `body(offset, mask)`, the mask absent for
  /// full vectors. The tail calls `body` once more, with a mask.
  void forVectors(V count, llvm::function_ref<void(V offset, V mask)> body);
  V loadMaybeMasked(V pointer, V mask, V passThrough = {}) {
    return mask ? loadMasked(pointer, mask, passThrough) : loadVec(pointer);
  }
  void storeMaybeMasked(V value, V pointer, V mask) {
    mask ? storeMasked(value, pointer, mask) : store(value, pointer);
  }

  /// Runs `body(i)` for i in [0, n) at compile time.
  template <typename Body> void unrolled(int64_t n, Body body) {
    for (int64_t i = 0; i < n; ++i)
      body(i);
  }

private:
  mlir::func::FuncOp function;
  V argsPointer, dimsPointer;
  llvm::SmallVector<V> argCache, dimCache;
};

V operator+(V a, V b);
V operator-(V a, V b);
V operator*(V a, V b);
V operator/(V a, V b); // integers: signed, operands non-negative
V operator%(V a, V b);
V operator&(V a, V b);
V operator|(V a, V b);
V operator^(V a, V b);
V operator<<(V a, V b);
V operator>>(V a, V b); // arithmetic
V operator-(V a);
V operator<(V a, V b); // ordered comparisons, signed for integers
V operator<=(V a, V b);
V operator>(V a, V b);
V operator>=(V a, V b);
V operator==(V a, V b);
V operator!=(V a, V b); // floats: unordered or unequal

#define LLMOPT_LITERAL_OPERATOR(op)                                            \
  template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>  \
  V operator op(V a, T b) {                                                    \
    return a op a.kb->like(a, b);                                              \
  }                                                                            \
  template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>  \
  V operator op(T a, V b) {                                                    \
    return b.kb->like(b, a) op b;                                              \
  }
LLMOPT_LITERAL_OPERATOR(+)
LLMOPT_LITERAL_OPERATOR(-)
LLMOPT_LITERAL_OPERATOR(*)
LLMOPT_LITERAL_OPERATOR(/)
LLMOPT_LITERAL_OPERATOR(%)
LLMOPT_LITERAL_OPERATOR(&)
LLMOPT_LITERAL_OPERATOR(|)
LLMOPT_LITERAL_OPERATOR(^)
LLMOPT_LITERAL_OPERATOR(<<)
LLMOPT_LITERAL_OPERATOR(>>)
LLMOPT_LITERAL_OPERATOR(<)
LLMOPT_LITERAL_OPERATOR(<=)
LLMOPT_LITERAL_OPERATOR(>)
LLMOPT_LITERAL_OPERATOR(>=)
LLMOPT_LITERAL_OPERATOR(==)
LLMOPT_LITERAL_OPERATOR(!=)
#undef LLMOPT_LITERAL_OPERATOR

} // namespace llmopt::cpu
#endif
