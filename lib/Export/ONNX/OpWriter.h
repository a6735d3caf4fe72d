// What an emitter sees of an lm operation, and how it writes nodes.
//
// After error() everything goes on with empty names; the export fails in the end.
#ifndef LLMOPT_EXPORT_ONNX_OPWRITER_H
#define LLMOPT_EXPORT_ONNX_OPWRITER_H

#include "GraphExporter.h"

namespace llmopt::onnx_export {

class OpWriter {
public:
  OpWriter(GraphExporter &graph, mlir::Operation *op) : graph(graph), op(op) {}

  template <typename Op> Op as() const { return llvm::cast<Op>(op); }

  /// Operand `i`.
  Name in(unsigned i) { return graph.get(op->getOperand(i)); }
  /// Any value; empty for null.
  Name in(mlir::Value value) { return value ? graph.get(value) : Name(); }
  void out(unsigned i, Name name) { graph.set(op->getResult(i), std::move(name)); }
  void out(Name name) { out(0, std::move(name)); }

  Dims dims(mlir::Value value) const { return lm::getDims(value); }
  mlir::Type elem(mlir::Value value) const {
    return llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
  }
  int64_t rank(mlir::Value value) const { return llvm::cast<mlir::RankedTensorType>(value.getType()).getRank(); }

  Name node(llvm::StringRef type, llvm::ArrayRef<Name> inputs, llvm::ArrayRef<Attr> attrs = {},
            int64_t since = kLowestOpset) {
    return graph.addNode(type, inputs, 1, attrs, since)->output(0);
  }

  Name microsoftNode(llvm::StringRef type, llvm::ArrayRef<Name> inputs, llvm::ArrayRef<Attr> attrs) {
    return graph.addMicrosoftNode(type, inputs, attrs)->output(0);
  }

  Name ints(llvm::ArrayRef<int64_t> values) { return graph.ints(values); }
  Name scalar(mlir::Type type, double value) { return graph.scalar(type, value); }
  Name sizes(llvm::ArrayRef<SymExpr> exprs) { return graph.sizes(exprs, op); }
  /// A size as a scalar.
  Name count(const SymExpr &expr) { return node("Squeeze", {graph.size(expr, op), ints({0})}); }

  Name add(const Name &x, const Name &y) { return node("Add", {x, y}); }
  Name sub(const Name &x, const Name &y) { return node("Sub", {x, y}); }
  Name mul(const Name &x, const Name &y) { return node("Mul", {x, y}); }
  Name cast(const Name &x, mlir::Type type);
  /// `dims` as for ONNX's Reshape: 0 keeps a dimension, -1 is the rest.
  Name reshape(const Name &x, llvm::ArrayRef<int64_t> dims) { return node("Reshape", {x, ints(dims)}); }
  Name transpose(const Name &x, llvm::ArrayRef<int64_t> perm) { return node("Transpose", {x}, {Attr("perm", perm)}); }
  /// A value of one element as a scalar.
  Name asScalar(mlir::Value value) { return rank(value) == 0 ? in(value) : reshape(in(value), {}); }
  /// 0, 1 .. count-1 along dimension `axis` of `rank`, the other ones 1, as i64.
  Name iota(const SymExpr &count, int64_t axis, int64_t rank);

  void error(const llvm::Twine &text) { graph.error(op, text); }

  GraphExporter &graph;
  mlir::Operation *op;
};

} // namespace llmopt::onnx_export

#endif
