// The back end that prints C++: for CUDA, and for tests on the host.
//
// What is built is a tree of statements over expression nodes; printing decides
// which nodes get a name: those used twice, in an inner loop, or too long.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_TEXTBUILDER_H
#define LLMOPT_LIB_CODEGEN_LOOPS_TEXTBUILDER_H

#include "ScalarBuilder.h"

#include "llmopt/CodeGen/Loops/Loops.h"

#include "mlir/IR/Block.h"
#include "llvm/Support/raw_ostream.h"

#include <list>
#include <memory>
#include <string>

namespace llmopt::loops {

class TextBuilder : public ScalarBuilder {
public:
  TextBuilder(llvm::StringRef name, mlir::Block &block, TextStyle style);
  void print(const LoopSpec &spec, llvm::raw_ostream &os);

  bool hasThreads() const override { return style == TextStyle::Cuda; }
  void barrierSync() override;
  SmallVector<S> combineThreads(ArrayRef<S> values,
                                llvm::function_ref<SmallVector<S>(ArrayRef<S>, ArrayRef<S>)> combine) override;
  void onFirstThread(llvm::function_ref<void()> body) override;

private:
  struct Statements;
  struct Node {
    enum Kind { Leaf, Operation, Load } kind = Leaf;
    Opcode op = Opcode::Add;
    Elem elem = Elem::I64;
    SmallVector<int32_t, 3> operands;
    std::string text; // Leaf: itself; Load: the array
    Elem memory = Elem::I64;
    Statements *home = nullptr;
    int uses = 0;
    bool usedElsewhere = false; // in another list of statements than its own
    bool keep = false;          // must be evaluated where it stands
    std::string name;
  };
  struct Statement {
    enum Kind { Define, Assign, Store, Open, Raw } kind;
    int32_t node = -1;     // Define; Assign, Store: the value
    int32_t offset = -1;   // Store
    std::string text = {}; // Assign, Store: the target; Open: the head; Raw: the line
    Elem memory = Elem::I64;
    SmallVector<int32_t, 3> mentioned = {}; // Open: nodes in the head, %0 %1 ... in its text
    std::unique_ptr<Statements> body = nullptr, otherwise = nullptr;
  };
  struct Statements {
    std::list<Statement> list;
    int depth = 1;
  };
  struct Frame {
    Statements *statements;
    std::list<Statement>::iterator openChild;
    bool open = false;
    int32_t alias = -1;
  };
  struct Expression {
    std::string text;
    int precedence;
  };

  int32_t createOp(Opcode op, ArrayRef<S> operands, S result) override;
  int32_t createConstant(S result, double f, int64_t i) override;
  int32_t createDim(int64_t index, const SymExpr &expr) override;
  int32_t createSplat(S value, S) override { return value.id; }
  int32_t createLaneIds(S) override { return leaf(Elem::I64, "0"); }
  int32_t createTile() override { return leaf(Elem::I64, "tile"); }
  int32_t createLoad(const Buffer &buffer, Access access, S offset, S mask, S result) override;
  void createStore(const Buffer &buffer, Access access, S offset, S value, S mask, int32_t level) override;
  int64_t createTable(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints) override;
  int32_t createLaneMove(S vector, int64_t, bool, S) override { return vector.id; }
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

  int32_t addNode(Node node);
  int32_t leaf(Elem elem, std::string text);
  int32_t realLevel(int32_t level) const { return frames[level].alias >= 0 ? frames[level].alias : level; }
  Statement &append(int32_t level, Statement statement);
  void use(int32_t node, Statements *where);
  void pushFrame(Statement statement);
  void popFrame();
  std::string declare(S like, std::string value, llvm::StringRef prefix);
  void assign(ArrayRef<S> values);
  std::string arrayOf(const Buffer &buffer);

  void countUses(Statements &statements);
  void printStatements(Statements &statements, llvm::raw_ostream &os);
  Expression render(int32_t node, bool define = false);
  Expression renderOp(const Node &node);
  std::string text(int32_t node, int precedence = 100);

  std::string name;
  mlir::Block &block;
  TextStyle style;
  std::vector<Node> nodes;
  Statements root;
  SmallVector<Frame> frames;
  SmallVector<SmallVector<Frame>> suspended;
  SmallVector<Frame> outerFrames;                     // per open statement: its parent before
  SmallVector<SmallVector<std::string>> carriedNames; // per open statement
  llvm::SmallVector<SymExpr> dimExprs;
  std::vector<std::pair<std::string, int32_t>> scratchArrays; // declaration without value, offset node
  std::vector<std::string> scratchKeys, tables, shared;
  int loopNames = 0, variableNames = 0, valueNames = 0;
  bool severalResults = false;
};

llvm::StringRef typeName(Elem elem);       // of values
llvm::StringRef memoryTypeName(Elem elem); // of array elements

} // namespace llmopt::loops

#endif
