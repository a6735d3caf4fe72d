// What a converter sees of an ONNX node, and how it builds operations.
//
// Errors are sticky: after error() or a failed create(), every create() gives a
// null value at once, and dims() or rank() of a null value are empty, so that
// converters read straight through and nothing crashes on a bad model. Only
// code that indexes into shapes must look at failed() first.
#ifndef LLMOPT_IMPORT_ONNX_NODE_H
#define LLMOPT_IMPORT_ONNX_NODE_H

#include "GraphImporter.h"

namespace llmopt::onnx_import {

using Dims = llvm::SmallVector<SymExpr>;
using Ints = llvm::SmallVector<int64_t>;

class Node {
public:
  Node(GraphImporter &importer, const onnx::NodeProto &proto, Scope &scope, int64_t opset, mlir::Location loc,
       llvm::SmallVector<mlir::Value> operands)
      : importer(importer), proto(proto), scope(scope), b(importer.builder), loc(loc), opset_(opset),
        operands(std::move(operands)), results(proto.output_size()) {}

  //===--- the node ----------------------------------------------------------===//

  llvm::StringRef op() const { return proto.op_type(); }
  /// The version of its domain's operator set.
  int64_t opset() const { return opset_; }
  unsigned numInputs() const { return operands.size(); }
  unsigned numOutputs() const { return proto.output_size(); }
  bool has(unsigned i) const { return i < operands.size() && operands[i]; }
  /// Whether output `i` has a name, so somebody may use it.
  bool wants(unsigned i) const;
  /// Whether another node may read output `i`: not so where it is an output of the
  /// model and nothing else.
  bool isRead(unsigned i) const;
  /// A required input: an error where it is missing.
  mlir::Value in(unsigned i);
  /// An optional input: null where it is missing.
  mlir::Value opt(unsigned i) const { return has(i) ? operands[i] : mlir::Value(); }
  void out(unsigned i, mlir::Value value);
  void out(mlir::Value value) { out(0, value); }
  const Scope &getScope() const { return scope; }

  //===--- attributes (Attributes.cpp) -----------------------------------------===//

  const onnx::AttributeProto *attr(llvm::StringRef name) const;
  int64_t intAttr(llvm::StringRef name, int64_t fallback);
  bool boolAttr(llvm::StringRef name, bool fallback) { return intAttr(name, fallback) != 0; }
  double floatAttr(llvm::StringRef name, double fallback);
  std::string stringAttr(llvm::StringRef name, llvm::StringRef fallback);
  std::optional<Ints> intsAttr(llvm::StringRef name);
  /// Integers from input `i`, or from attribute `name` in older operator sets.
  /// nullopt where neither is there; an error where they depend on data.
  std::optional<Ints> intsFrom(unsigned i, llvm::StringRef name);

  //===--- problems ------------------------------------------------------------===//

  bool failed() const { return failed_; }
  void error(const llvm::Twine &text);
  /// `detail` completes "unsupported operator ai.onnx.Resize ...": "with mode
  /// 'cubic'". `remedy` is the nearest thing that works.
  void unsupported(const llvm::Twine &detail, llvm::StringRef remedy = "");
  /// Fails without a message of its own: the reason has been reported.
  void poison() { failed_ = true; }

  //===--- shapes and values known when compiling --------------------------------===//

  Dims dims(mlir::Value value) const;
  int64_t rank(mlir::Value value) const;
  mlir::Type elem(mlir::Value value) const;
  bool isFloat(mlir::Value value) const { return llvm::isa<mlir::FloatType>(elem(value)); }
  /// `axis` in [0, rank); an error where it is outside [-rank, rank).
  int64_t axis(int64_t axis, int64_t rank);
  /// The same for many, which must be distinct.
  Ints axes(llvm::ArrayRef<int64_t> axes, int64_t rank);
  /// The contents of an integer operand, which are sizes. Numbers that depend on
  /// data become symbols; an error where nothing tells how large they may get.
  Dims values(mlir::Value value, const llvm::Twine &what);
  /// The same, where every element must be a constant.
  Ints constants(mlir::Value value, const llvm::Twine &what);
  /// A dimension that must be known as a number; an error where it is not.
  int64_t staticDim(mlir::Value value, unsigned i, const llvm::Twine &what);
  /// The one element of a constant floating-point operand, if it is one.
  std::optional<double> constantFloat(mlir::Value value) const;
  /// Notes that `low <= high` must hold, unless that is known.
  void require(const SymExpr &low, const SymExpr &high);
  /// Notes that two sizes must be equal; an error where they are known to differ.
  void requireEqual(const SymExpr &a, const SymExpr &b, const llvm::Twine &what);
  /// a / b for a positive b. That nothing is left over is checked now where both are
  /// numbers ("expected <what> to be a multiple of .."), else when shapes are bound.
  SymExpr quotient(const SymExpr &a, const SymExpr &b, const llvm::Twine &what);

  //===--- building --------------------------------------------------------------===//

  /// Builds, verifies and folds. Null and an error where the operands do not fit.
  template <typename Op, typename... Args> mlir::Value create(Args &&...args) {
    if (failed_)
      return {};
    mlir::OperationState state(loc, Op::getOperationName());
    if constexpr (Op::template hasTrait<mlir::InferTypeOpInterface::Trait>()) {
      Op::build(b, state, placeholderType(), std::forward<Args>(args)...);
      return finish(state, [&](llvm::SmallVectorImpl<mlir::Type> &types) {
        return Op::inferReturnTypes(importer.context, loc, state.operands,
                                    state.attributes.getDictionary(importer.context), state.getRawProperties(),
                                    state.regions, types);
      });
    } else {
      Op::build(b, state, std::forward<Args>(args)...);
      return finish(state, nullptr);
    }
  }

  /// Builds and verifies an operation with regions. Constraints that hold only
  /// inside of it become attributes. Its results; empty after an error.
  llvm::SmallVector<mlir::Value>
  createRegionOp(mlir::OperationState &state,
                 llvm::ArrayRef<std::pair<llvm::StringRef, std::set<std::string>>> constraints);

  mlir::Value constant(mlir::TypedAttr value);
  /// A scalar (rank 0) of `type`, rounded to it.
  mlir::Value scalar(mlir::Type type, double value);
  mlir::Value intVector(llvm::ArrayRef<int64_t> values);
  /// `value` everywhere.
  mlir::Value filled(mlir::Type type, double value, llvm::ArrayRef<SymExpr> dims);
  /// A symbol for a number of the data, one i64 that is never negative nor above
  /// `bound`, a size that follows from the shapes of inputs.
  SymExpr defineSymbol(mlir::Value number, const SymExpr &bound);
  /// The value with these dimensions, where its type has unknown ones; that they are
  /// as many elements is known.
  mlir::Value withDims(mlir::Value value, llvm::ArrayRef<SymExpr> dims);

  mlir::Value cast(mlir::Value value, mlir::Type type);
  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<SymExpr> dims);
  mlir::Value broadcast(mlir::Value value, llvm::ArrayRef<SymExpr> dims);
  /// The same elements under these dimensions, which must be equal to its own one by
  /// one: so that dimensions of two names become one.
  mlir::Value unify(mlir::Value value, llvm::ArrayRef<SymExpr> dims, const llvm::Twine &what);
  mlir::Value transpose(mlir::Value value, llvm::ArrayRef<int64_t> perm);
  /// Swaps the last two dimensions.
  mlir::Value swapLast(mlir::Value value);
  /// `size` elements from `start` along one axis.
  mlir::Value slice(mlir::Value value, int64_t axis, const SymExpr &start, const SymExpr &size);
  mlir::Value concat(llvm::ArrayRef<mlir::Value> values, int64_t axis);
  /// Inserts dimensions of size 1 until the rank is `rank`, at the front.
  mlir::Value padRank(mlir::Value value, int64_t rank);
  mlir::Value reduce(lm::ReduceKind kind, mlir::Value value, llvm::ArrayRef<int64_t> axes, bool keepDims = true);
  mlir::Value iota(mlir::Type type, llvm::ArrayRef<SymExpr> dims, int64_t axis);
  mlir::Value add(mlir::Value x, mlir::Value y) { return create<lm::AddOp>(x, y); }
  mlir::Value sub(mlir::Value x, mlir::Value y) { return create<lm::SubOp>(x, y); }
  mlir::Value mul(mlir::Value x, mlir::Value y) { return create<lm::MulOp>(x, y); }
  mlir::Value div(mlir::Value x, mlir::Value y) { return create<lm::DivOp>(x, y); }
  /// With a scalar of x's element type.
  mlir::Value add(mlir::Value x, double y) { return add(x, scalar(elem(x), y)); }
  mlir::Value mul(mlir::Value x, double y) { return mul(x, scalar(elem(x), y)); }
  mlir::Value compare(lm::Predicate predicate, mlir::Value x, mlir::Value y) {
    return create<lm::CompareOp>(predicate, x, y);
  }
  mlir::Value select(mlir::Value condition, mlir::Value x, mlir::Value y) {
    return create<lm::WhereOp>(condition, x, y);
  }
  llvm::APFloat f64(double value) const { return llvm::APFloat(value); }

  GraphImporter &importer;
  const onnx::NodeProto &proto;

private:
  friend class GraphImporter;
  mlir::Type placeholderType();
  std::optional<Dims> countElements(mlir::Value value);
  mlir::Value finish(mlir::OperationState &state,
                     llvm::function_ref<mlir::LogicalResult(llvm::SmallVectorImpl<mlir::Type> &)> infer);

  Scope &scope;

public:
  mlir::OpBuilder &b;
  mlir::Location loc;

private:
  int64_t opset_;
  llvm::SmallVector<mlir::Value> operands, results;
  bool failed_ = false;
};

} // namespace llmopt::onnx_import

#endif
