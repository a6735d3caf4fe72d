// The interface between the traversal of operations and what is written.
//
// Code is a tree of *levels*: the kernel's entry, loops, branches and masks, one
// inside the other. Every value knows the level it is made at, and an operation
// is placed at the deepest level of its operands, in front of the loop that is
// open there: hoisting loop invariants is thus no pass, it is how values are made.
//
// A back end may have lanes: a loop then steps over `lanes()` elements at once,
// its variable stands for consecutive indices, and what depends on it is a vector.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_SCALARBUILDER_H
#define LLMOPT_LIB_CODEGEN_LOOPS_SCALARBUILDER_H

#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "mlir/IR/Types.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <optional>

namespace llmopt::loops {

using lm::SymExpr;
using llvm::ArrayRef;
using llvm::SmallVector;

/// Element types in memory. Floats narrower than F32 are F32 once loaded; those of
/// a byte or less never reach a back end (SmallFloats.cpp).
enum class Elem {
  Bool,
  I8,
  U8,
  I16,
  U16,
  I32,
  U32,
  I64,
  U64,
  F8E4M3FN,
  F8E4M3FNUZ,
  F8E5M2,
  F8E5M2FNUZ,
  F8E8M0,
  F4E2M1,
  F16,
  BF16,
  F32,
  F64
};

/// Integers of 2 and 4 bits are kept one to a byte, as I8 and U8. nullopt for what
/// kernels have no arithmetic for.
std::optional<Elem> elemOf(mlir::Type elementType);
inline bool isSmallFloat(Elem e) { return e >= Elem::F8E4M3FN && e <= Elem::F4E2M1; }
inline Elem computeElem(Elem e) { return e >= Elem::F8E4M3FN && e < Elem::F32 ? Elem::F32 : e; }
inline bool isFloat(Elem e) { return e >= Elem::F8E4M3FN; }
inline bool isUnsigned(Elem e) {
  return e == Elem::Bool || e == Elem::U8 || e == Elem::U16 || e == Elem::U32 || e == Elem::U64;
}
unsigned bitWidth(Elem e);    // Bool: 1
int64_t elemBytes(Elem e);    // Bool: 1

/// A value of the generated code: a handle, to be used with its builder only.
struct S {
  int32_t id = -1;
  Elem elem = Elem::I64;
  bool vec = false;
  int32_t level = 0;
  explicit operator bool() const { return id >= 0; }
};

enum class Opcode {
  // Data arithmetic; integers wrap. Div, Rem: integers only with divisors that
  // do not trap (see emitDivision), truncating.
  Add,
  Sub,
  Mul,
  Div,
  Rem,
  // Index arithmetic over I64 without overflow; IDiv and IRem of non-negative numbers.
  IAdd,
  IMul,
  IDiv,
  IRem,
  And,
  Or,
  Xor,
  Not,
  Neg,
  ShiftLeft,
  ShiftRight, // by less than the width; right: arithmetic for signed types
  Min,
  Max, // floats: NaN if either is
  Eq,
  Ne,
  Lt,
  Le,
  Gt,
  Ge, // floats: Ne is unordered, the others ordered
  Select,
  Cast,     // all but float to integer and to Bool; integers wrap or extend
  Truncate, // float to an integer type that holds the value
  Fma,
  ToBits,
  FromBits, // F32 as U32, and back
  RoundF16,
  RoundBF16, // F32 to a value that the narrower type has
  Abs,
  Sqrt,
  Floor,
  Ceil,
  Round,
  Trunc, // floats
  Exp,
  ExpNonPositive,
  Log,
  Sin,
  Cos,
  Erf,
  Tanh,
  Sigmoid,
  Pow,
  Atan // floats
};

/// What a kernel reads and writes.
struct Buffer {
  enum Kind { Arg, Scratch, Table } kind = Arg;
  int64_t index = 0;     // Arg: number; Table: handle
  Elem elem = Elem::F32; // in memory
  SymExpr offset;        // Scratch: bytes
  int32_t level = 0;     // Scratch: where it was filled; no load is placed further out
  bool written = false;  // while it is read: a load stays where it stands
};

/// How consecutive lanes of an access lie in memory.
enum class Access {
  Uniform,    // `offset` is a scalar: one element for all lanes
  Contiguous, // `offset` is the scalar offset of lane 0
  Gather      // `offset` is a vector
};

enum class LoopKind {
  Serial, // one after the other, in every thread
  Lanes,  // step lanes(), the variable is that of lane 0
  Threads // (CUDA) iterations are dealt out to the threads of the block
};

class ScalarBuilder {
public:
  virtual ~ScalarBuilder();

  /// 1 for back ends without vectors.
  virtual int64_t lanes() const { return 1; }
  /// Whether iterations can be dealt out to threads (CUDA).
  virtual bool hasThreads() const { return false; }

  // ---- levels

  struct Level {
    enum Kind { Entry, Loop, Branch, Mask } kind;
    int64_t serial; // never the same twice
    S mask;         // what is on inside masks, all open ones taken together
    bool lanes = false; // whether this is, or is in, a loop over lanes or threads
  };
  int32_t currentLevel() const { return levels.size() - 1; }
  ArrayRef<Level> openLevels() const { return levels; }
  bool isOpen(int32_t level, int64_t serial) const {
    return level < (int32_t)levels.size() && levels[level].serial == serial;
  }
  int64_t serialOf(int32_t level) const { return levels[level].serial; }
  /// The level below which memory must not be read: inside a branch, the branch.
  int32_t barrier(bool vectors) const;
  /// Runs `body` as though the levels deeper than `level` were not open.
  void atLevel(int32_t level, llvm::function_ref<void()> body);
  bool inLanes() const { return levels.back().lanes; }

  // ---- values

  S op(Opcode op, ArrayRef<S> operands, std::optional<Elem> result = {});
  S constant(Elem elem, double value);    // floats
  S constant(Elem elem, int64_t value);   // integers and Bool (64-bit patterns)
  S index(int64_t value) { return constant(Elem::I64, value); }
  std::optional<int64_t> getIndexConstant(S value) const;
  /// A size; reaches the kernel in its `dims` unless it is constant.
  S size(const SymExpr &expr);
  /// scalar -> vector.
  S splat(S value);
  /// 0, 1, 2, ... as I64 lanes.
  S laneIds();
  /// The number of the tile.
  S tile();

  // ---- memory

  S load(const Buffer &buffer, Access access, S offset);
  void store(const Buffer &buffer, Access access, S offset, S value);
  /// A constant table in the kernel's module.
  Buffer table(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints);
  /// Thread-private memory; `bytes` is rounded up to whole cache lines.
  Buffer scratch(Elem elem, const SymExpr &elements);
  SymExpr getScratchBytes() const { return scratchBytes; }
  ArrayRef<SymExpr> getDims() const { return dims; }
  /// All threads of a block wait for each other; at uniform levels only.
  virtual void barrierSync() {}
  /// (CUDA) `value` of all threads combined; at uniform levels only.
  virtual SmallVector<S> combineThreads(ArrayRef<S> values,
                                        llvm::function_ref<SmallVector<S>(ArrayRef<S>, ArrayRef<S>)> combine) {
    return SmallVector<S>(values);
  }

  // ---- control

  /// for (variable = lo; variable < hi; variable += step): variable and carried
  /// values are handed to `body`, which returns the next ones.
  SmallVector<S> loop(LoopKind kind, S lo, S hi, ArrayRef<S> initial,
                      llvm::function_ref<SmallVector<S>(S variable, ArrayRef<S> carried)> body,
                      llvm::StringRef name = "k");
  /// Exactly one of the two is executed. Results have the types of `types`.
  SmallVector<S> branch(S condition, ArrayRef<Elem> types, bool vectors, llvm::function_ref<SmallVector<S>()> then,
                        llvm::function_ref<SmallVector<S>()> otherwise);
  /// Lanes where `condition` (a vector) is false touch no memory in `body`.
  void masked(S condition, llvm::function_ref<void()> body);
  /// Only the first thread of a block stores in `body`.
  virtual void onFirstThread(llvm::function_ref<void()> body) { body(); }
  /// Lane i of the result is lane i xor `distance`.
  S swapLanes(S vector, int64_t distance);
  S extractLane(S vector, int64_t lane);

protected:
  explicit ScalarBuilder() { levels.push_back({Level::Entry, 0, {}, false}); }

  virtual int32_t createOp(Opcode op, ArrayRef<S> operands, S result) = 0;
  virtual int32_t createConstant(S result, double f, int64_t i) = 0;
  virtual int32_t createDim(int64_t index, const SymExpr &expr) = 0;
  virtual int32_t createSplat(S value, S result) = 0;
  virtual int32_t createLaneIds(S result) = 0;
  virtual int32_t createTile() = 0;
  virtual int32_t createLoad(const Buffer &buffer, Access access, S offset, S mask, S result) = 0;
  virtual void createStore(const Buffer &buffer, Access access, S offset, S value, S mask, int32_t level) = 0;
  virtual int64_t createTable(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints) = 0;
  virtual int32_t createLaneMove(S vector, int64_t lane, bool extract, S result) = 0;
  /// Opens a loop at the current level, fills in the ids of variable and carried.
  virtual void openLoop(LoopKind kind, S lo, S hi, ArrayRef<S> initial, S &variable, llvm::MutableArrayRef<S> carried,
                        llvm::StringRef name) = 0;
  virtual void closeLoop(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) = 0;
  virtual void openBranch(S condition, ArrayRef<S> results) = 0;
  virtual void openElse(ArrayRef<S> yielded) = 0;
  virtual void closeBranch(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) = 0;
  virtual void openMask() {}
  virtual void closeMask() {}
  /// Levels deeper than `level` are set aside, and taken up again.
  virtual void suspend(int32_t level) = 0;
  virtual void resume() = 0;

  void pushLevel(Level::Kind kind);
  void popLevel() { levels.pop_back(); }
  /// Operands made fit for one operation: all scalars, or all vectors.
  SmallVector<S> unify(ArrayRef<S> operands);

  SmallVector<Level> levels;

private:
  int64_t nextSerial = 1;
  SmallVector<SymExpr> dims;
  SymExpr scratchBytes;
  llvm::SmallVector<std::pair<int32_t, int64_t>> indexConstants;
};

} // namespace llmopt::loops

#endif
