// Writes the value of a tensor at an index in terms of its operands' values.
//
// `emit(value, indices)` is the one entry; each family of operations has its
// own file. Equal requests give one value, as long as it is in scope.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_EMITTER_H
#define LLMOPT_LIB_CODEGEN_LOOPS_EMITTER_H

#include "Index.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <functional>
#include <set>

namespace llmopt::loops {

struct Var {
  S value;               // of a loop over lanes: of lane 0
  bool lane = false;     // consecutive over lanes
  SymExpr extent;        // 0 <= variable < extent; unknown() if there is no bound
  std::set<int> roots;   // the result dimensions it depends on
  int group = -1;        // a part of a joint loop variable
};

/// Several dimensions, outermost first, under one loop variable.
struct VarGroup {
  int loop = -1;
  SmallVector<int> members;
};

/// What a trial run finds out about a loop nest.
struct Findings {
  /// Coefficients of the result's dimensions in one memory access or index value.
  struct Use {
    Index index;
    bool inReduction;
  };
  SmallVector<Use> uses;
  std::set<std::pair<int, std::string>> splits; // variable, size of its inner part
  SmallVector<SymExpr> splitSizes;              // in the order of discovery
  SmallVector<int> splitVars;
  /// Per reduction: the dimensions of the result it depends on.
  SmallVector<std::set<int>> reductions;
};

class Emitter {
public:
  Emitter(ScalarBuilder &builder, mlir::Block &block, Findings *findings = nullptr);

  ScalarBuilder &b;

  // ---- variables

  int addVar(S value, const SymExpr &extent, bool lane = false, std::set<int> roots = {});
  Var &var(int id) { return vars[id]; }
  void addGroup(int loopVar, ArrayRef<int> members);
  int32_t levelOf(const Index &index);
  bool isVector(const Index &index);
  /// The index as a number, one per lane where it differs between lanes.
  S valueOf(const Index &index);

  // ---- loops

  /// Elements [lo, hi), by lanes or threads where possible; `body` may be run
  /// twice, with variables of its own.
  void forElements(S lo, S hi, const SymExpr &extent, bool parallel, llvm::function_ref<void(int var)> body,
                   std::set<int> roots = {});
  using Body = llvm::function_ref<SmallVector<S>(ArrayRef<Index>, ArrayRef<S>)>;
  using Combine = llvm::function_ref<SmallVector<S>(ArrayRef<S>, ArrayRef<S>)>;
  /// Accumulates over all indices below `extents`, at the current level.
  /// `initial` is neutral for `combine`.
  SmallVector<S> reduce(ArrayRef<SymExpr> extents, ArrayRef<S> initial, Body body, Combine combine);
  /// The level of something that depends on these indices and reads memory.
  int32_t placeFor(ArrayRef<Index> indices);
  /// The same for a reduction.
  int32_t placeForReduction(ArrayRef<Index> indices);

  // ---- elements

  S emit(mlir::Value value, ArrayRef<Index> indices);
  /// Of an operand that broadcasts to `dims`, of which `indices` are indices.
  S emitBroadcast(mlir::Value operand, ArrayRef<Index> indices, ArrayRef<SymExpr> dims);
  void store(int64_t arg, mlir::Type type, ArrayRef<Index> indices, S value);
  S loadAt(const Buffer &buffer, const Index &index);
  void storeAt(const Buffer &buffer, const Index &index, S value);
  /// A number from data as an index: negative ones count from the end, and what is
  /// still outside is brought inside.
  Index gathered(S index, const SymExpr &size, std::set<int> roots);
  /// Indices below `dims` of a loop variable over all of them.
  SmallVector<Index> splitVar(int loopVar, ArrayRef<SymExpr> dims);

private:
  struct Cached {
    SmallVector<S, 2> values;
    std::optional<Buffer> row;
    int32_t level;
    int64_t serial;
  };
  /// One dimension of a tensor, the others fixed.
  using Row = std::function<S(const Index &)>;

  // Variables (Variables.cpp).
  S partOfGroup(int group, size_t first, size_t last);
  struct Address {
    Access access;
    S offset;
  };
  Address addressOf(const Index &index);
  struct Term {
    S value;
    SymExpr coefficient;
    bool lane;
  };
  SmallVector<Term> termsOf(const Index &index);
  S sumTerms(SmallVector<Term> terms, const SymExpr &constant);
  std::pair<Index, Index> divMod(const Index &index, const SymExpr &divisor);
  std::optional<SymExpr> maximumOf(const Index &index);
  std::optional<SymExpr> minimumOf(const Index &index);
  std::set<int> rootsOf(const Index &index);
  SmallVector<Index> broadcastIndices(mlir::Value operand, ArrayRef<Index> indices, ArrayRef<SymExpr> dims);

  // Arithmetic on values (Conversions.cpp).
  S cast(S value, Elem to);
  /// As lm.cast: also wraps to integers of 2 and 4 bits, and rounds to narrow floats.
  S castTo(S value, mlir::Type type, bool saturate = true, lm::Rounding rounding = lm::Rounding::Nearest);
  /// An integer that holds at least `bits` bits, wrapped to them.
  S wrap(S value, unsigned bits);

  // Narrow floats as values of F32 (SmallFloats.cpp).
  S roundTo(S value, Elem elem, bool saturate, lm::Rounding rounding);
  S toExponent(S value, bool saturate, lm::Rounding rounding);
  S encode(S value, Elem elem);
  S decode(S bits, Elem elem);
  S divide(S a, S b);
  S modulo(S a, S b, bool fmod);
  S power(S base, S exponent);
  /// A rounded number within the integers of `type`, still as a float; NaN: the smallest.
  S saturate(S q, mlir::Type type, bool narrow);
  S isZero(S value);
  S shift(S x, S count, bool left);
  S logOnePlus(S x);
  S real(Elem elem, double value) { return b.constant(elem, value); }
  S floatSize(Elem elem, const SymExpr &size);

  S guard(S condition, Elem elem, llvm::function_ref<S()> then, llvm::function_ref<S()> otherwise);

  // Cache.
  Cached *lookUp(const std::string &key);
  void remember(const std::string &key, Cached cached);
  Cached &rowState(const std::string &key, int32_t level, llvm::function_ref<Cached()> make);

  // One per family.
  S emitOp(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitElementwise(mlir::Operation *op, ArrayRef<Index> indices);
  S emitUnary(mlir::Operation *op, S x);
  S emitGelu(lm::GeluKind kind, S x);
  std::optional<S> emitBits(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitInverseTrig(mlir::Operation *op, S x);
  S emitRandomBits(lm::RandomBitsOp op, ArrayRef<Index> indices);
  S emitDropout(lm::DropoutOp op, ArrayRef<Index> indices);
  std::optional<S> emitShape(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitGathers(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitReductions(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitMatmuls(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitTransformer(mlir::Operation *op, ArrayRef<Index> indices);
  std::optional<S> emitQuantization(mlir::Operation *op, ArrayRef<Index> indices);

  S emitConstant(lm::ConstantOp op, ArrayRef<Index> indices);
  S emitSymbols(ArrayRef<SymExpr> values, Elem elem, const Index &at);
  S emitConcat(lm::ConcatOp op, ArrayRef<Index> indices, size_t first, const SymExpr &offset);
  S emitPad(lm::PadOp op, ArrayRef<Index> indices);
  S emitReduce(lm::ReduceOp op, ArrayRef<Index> indices);
  S emitArgReduce(lm::ArgReduceOp op, ArrayRef<Index> indices);
  struct Scan {
    mlir::Value input;
    int64_t axis;
    bool exclusive, reverse;
    Opcode code;
    int64_t neutral;
  };
  S emitScan(mlir::Operation *op, const Scan &scan, ArrayRef<Index> indices);
  S emitSoftmax(lm::SoftmaxOp op, ArrayRef<Index> indices);
  S emitNorm(lm::NormOp op, ArrayRef<Index> indices);
  S emitAttention(lm::AttentionOp op, ArrayRef<Index> indices);
  /// sum over k of lhs[lhsIndices with k last] * rhs[rhsAt(k)].
  S emitContraction(mlir::Value lhs, ArrayRef<Index> lhsIndices, mlir::Value rhs,
                    llvm::function_ref<SmallVector<Index>(const Index &)> rhsAt, ArrayRef<Index> indices);
  S emitConv(lm::ConvOp op, ArrayRef<Index> indices);

  /// Sum or maximum of a row at the current level.
  S sumOf(const SymExpr &extent, Elem elem, const Row &row);
  S maxOf(const SymExpr &extent, Elem elem, const Row &row);
  /// The row in scratch memory, if there are no lanes or threads at the current
  /// level to each of which it would belong.
  std::optional<Buffer> stage(const SymExpr &extent, Elem elem, const Row &row, bool parallel = true);
  S loadRow(const Buffer &row, const Index &index);
  /// `value` along `axis`, staged if it is costly to compute repeatedly.
  Row rowOf(mlir::Value value, ArrayRef<Index> indices, int64_t axis, bool mayStage);
  int64_t costOf(mlir::Value value);

  mlir::Block &block;
  Findings *findings;
  std::vector<Var> vars;
  std::vector<VarGroup> groups;
  llvm::StringMap<Cached> cache;
  struct Quotient {
    Index quotient, remainder;
    int32_t level;
    int64_t serial;
  };
  llvm::StringMap<Quotient> quotients;
  llvm::DenseMap<mlir::Value, int64_t> costs;
  llvm::DenseMap<mlir::Operation *, Buffer> tables;
  llvm::DenseMap<int, Buffer> decoders; // by small float
  int64_t reductionDepth = 0;
};

Elem elemOfTensor(mlir::Value value);

} // namespace llmopt::loops

#endif
