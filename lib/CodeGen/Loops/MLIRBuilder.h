// The back end that makes scf, arith, math, vector and llvm operations.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_MLIRBUILDER_H
#define LLMOPT_LIB_CODEGEN_LOOPS_MLIRBUILDER_H

#include "ScalarBuilder.h"

#include "llmopt/CodeGen/CPU/KernelBuilder.h"

namespace llmopt::loops {

class MLIRBuilder : public ScalarBuilder {
public:
  MLIRBuilder(llvm::StringRef name, mlir::ModuleOp into, const cpu::TargetInfo &target);
  /// Ends the function.
  void finish();
  /// Sixteen on every target: the order of sums does not depend on it.
  int64_t lanes() const override { return kLanes; }

private:
  static constexpr int64_t kLanes = 16;

  /// The block that a level's operations go to. A mask has none of its own.
  struct Frame {
    mlir::Block *block = nullptr;
    mlir::Operation *openChild = nullptr;
    int32_t alias = -1;
  };

  int32_t createOp(Opcode op, ArrayRef<S> operands, S result) override;
  int32_t createConstant(S result, double f, int64_t i) override;
  int32_t createDim(int64_t index, const SymExpr &expr) override;
  int32_t createSplat(S value, S result) override;
  int32_t createLaneIds(S result) override;
  int32_t createTile() override;
  int32_t createLoad(const Buffer &buffer, Access access, S offset, S mask, S result) override;
  void createStore(const Buffer &buffer, Access access, S offset, S value, S mask, int32_t level) override;
  int64_t createTable(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints) override;
  int32_t createLaneMove(S vector, int64_t lane, bool extract, S result) override;
  void openLoop(LoopKind kind, S lo, S hi, ArrayRef<S> initial, S &variable, llvm::MutableArrayRef<S> carried,
                llvm::StringRef name) override;
  void closeLoop(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) override;
  void openBranch(S condition, ArrayRef<S> results) override;
  void openElse(ArrayRef<S> yielded) override;
  void closeBranch(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) override;
  void openMask() override;
  void closeMask() override { frames.pop_back(); }
  void suspend(int32_t level) override;
  void resume() override;

  mlir::Type elementType(Elem elem);
  mlir::Type typeOf(S s);
  mlir::Value get(S s) { return values[s.id]; }
  int32_t add(mlir::Value value) {
    values.push_back(value);
    return values.size() - 1;
  }
  int32_t realLevel(int32_t level) const { return frames[level].alias >= 0 ? frames[level].alias : level; }
  void insertAt(int32_t level);
  void pushFrame(mlir::Operation *op, mlir::Block *block);
  void yield(ArrayRef<S> yielded);
  mlir::Value emit(Opcode op, ArrayRef<mlir::Value> in, S result, Elem from);
  mlir::Value emitCast(mlir::Value in, Elem from, S result);
  mlir::Value emitMath(Opcode op, ArrayRef<mlir::Value> in);
  mlir::Value base(const Buffer &buffer);
  mlir::Value afterLoad(mlir::Value raw, Elem memory, bool vec);
  mlir::Value beforeStore(mlir::Value value, Elem memory, bool vec);
  mlir::Type memoryType(Elem elem, bool vec);

  cpu::KernelBuilder kb;
  mlir::OpBuilder &b;
  mlir::Location loc;
  llvm::StringRef name;
  std::vector<mlir::Value> values;
  SmallVector<Frame> frames;
  SmallVector<SmallVector<Frame>> suspended;
  SmallVector<mlir::Operation *> outerChild; // per open loop or branch: what was open before it
  SmallVector<std::string> tables;
};

} // namespace llmopt::loops

#endif
