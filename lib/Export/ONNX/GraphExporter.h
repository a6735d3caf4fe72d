// Builds the ONNX graph of @main: names, nodes, initializers and sizes.
//
// Values of ONNX are names; all of them are unique in the whole model, subgraphs
// included, so that nothing is ever hidden. Constants, weights and sizes that
// follow from inputs stand in the outermost graph.
#ifndef LLMOPT_EXPORT_ONNX_GRAPHEXPORTER_H
#define LLMOPT_EXPORT_ONNX_GRAPHEXPORTER_H

#include "Derived.h"
#include "Tensors.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"

#include <map>
#include <variant>

namespace llmopt::onnx_export {

using lm::SymExpr;
using Dims = llvm::SmallVector<SymExpr>;
using Ints = llvm::SmallVector<int64_t>;
/// A value of the ONNX graph. Empty: an optional input that is absent.
using Name = std::string;
using Names = llvm::SmallVector<Name>;

/// The set that everything starts from: reductions and Pad take axes as inputs.
constexpr int64_t kLowestOpset = 18;

/// An attribute of a node.
struct Attr {
  Attr(llvm::StringRef name, int64_t value) : name(name), value(value) {}
  Attr(llvm::StringRef name, int value) : name(name), value(int64_t(value)) {}
  Attr(llvm::StringRef name, bool value) : name(name), value(int64_t(value)) {}
  Attr(llvm::StringRef name, double value) : name(name), value(value) {}
  Attr(llvm::StringRef name, const char *value) : name(name), value(std::string(value)) {}
  Attr(llvm::StringRef name, llvm::ArrayRef<int64_t> value) : name(name), value(Ints(value)) {}

  llvm::StringRef name;
  std::variant<int64_t, double, std::string, Ints> value;
};

class GraphExporter {
public:
  GraphExporter(mlir::func::FuncOp function, onnx::ModelProto &model, WeightWriter &weights)
      : function(function), model(model), weights(weights), root(model.mutable_graph()), current(root) {}

  /// Everything: inputs, nodes, outputs, operator set.
  mlir::LogicalResult run();

  //===--- values ------------------------------------------------------------------===//

  /// The ONNX value of `value`. Constants and weights come into being here.
  Name get(mlir::Value value);
  void set(mlir::Value value, Name name) { values[value] = std::move(name); }
  /// A name that nothing has yet.
  Name unique(llvm::StringRef text);

  //===--- nodes -------------------------------------------------------------------===//

  /// Appends a node to the current graph. `since`: the operator set that has it.
  onnx::NodeProto *addNode(llvm::StringRef type, llvm::ArrayRef<Name> inputs, unsigned outputs,
                           llvm::ArrayRef<Attr> attrs, int64_t since);
  /// The same for an operator of com.microsoft.
  onnx::NodeProto *addMicrosoftNode(llvm::StringRef type, llvm::ArrayRef<Name> inputs, llvm::ArrayRef<Attr> attrs);
  void require(int64_t opset) { this->opset = std::max(this->opset, opset); }

  //===--- constants and sizes (Sizes.cpp) -------------------------------------------===//

  Name constant(mlir::ElementsAttr elements, llvm::StringRef name);
  /// An initializer called after `source` and `suffix`; errors are reported at `where`.
  Name addTensor(mlir::Operation *source, const lm::Tensor &contents, llvm::StringRef suffix, mlir::Operation *where);
  /// What follows from weights alone.
  llvm::Expected<lm::Tensor> evaluate(mlir::Value value) { return derived.evaluate(value.getDefiningOp()); }
  /// A vector of i64.
  Name ints(llvm::ArrayRef<int64_t> values);
  /// One element of `type`, of rank 0.
  Name scalar(mlir::Type type, double value);
  /// A size as a vector of one i64; empty after an error at `where`.
  Name size(const SymExpr &expr, mlir::Operation *where);
  /// Sizes as a vector of i64.
  Name sizes(llvm::ArrayRef<SymExpr> exprs, mlir::Operation *where);
  /// A number of the data becomes a symbol.
  void define(llvm::StringRef symbol, Name value) { symbols[symbol] = {std::move(value), current}; }

  //===--- regions (Ops/ControlOps.cpp) ----------------------------------------------===//

  /// `block` as a graph of its own; its arguments become inputs, what it yields
  /// outputs.
  void exportRegion(mlir::Block &block, onnx::GraphProto &graph);

  /// Reports at `op`, once per kind of operation and reason.
  void error(mlir::Operation *op, const llvm::Twine &text);

private:
  void exportBlock(mlir::Block &block);
  void exportOp(mlir::Operation *op);
  void emit(mlir::Operation *op);
  void addInput(onnx::GraphProto &graph, mlir::Value value, const Name &name);
  void describe(onnx::ValueInfoProto &info, mlir::Type type, const Name &name);
  void addOutputs();
  void addWeight(lm::WeightOp weight);
  void addDerived(mlir::Operation *op);
  Name symbolic(lm::ConstantOp constant);
  /// Whether a region that is being written defines a symbol of theirs.
  bool isLocal(llvm::ArrayRef<SymExpr> exprs) const;
  /// The vector of one i64 that holds `symbol`; empty where no input has it.
  Name symbol(llvm::StringRef symbol);
  /// A size with its value.
  struct Term {
    SymExpr expr;
    Name name;
  };
  Term combine(SymExpr::Op op, const Term &x, const Term &y);
  void setOpset();

  mlir::func::FuncOp function;
  onnx::ModelProto &model;
  WeightWriter &weights;
  onnx::GraphProto *root, *current;
  int64_t opset = kLowestOpset;
  bool failed = false, usesMicrosoft = false;
  DerivedValues derived;
  std::set<std::string> reported;

  llvm::DenseMap<mlir::Value, Name> values;
  llvm::StringSet<> taken;
  std::map<std::vector<int64_t>, Name> intVectors;
  llvm::StringMap<Name> scalars, rootSizes;
  struct Symbol {
    Name name;
    onnx::GraphProto *graph;
  };
  llvm::StringMap<Symbol> symbols;

public:
  /// What nodes are called after, and where they come from.
  lm::NodeInfo origin;
};

} // namespace llmopt::onnx_export

#endif
