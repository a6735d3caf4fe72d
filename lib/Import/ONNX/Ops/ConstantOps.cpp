// Constants, and operators that vanish when a model is imported for inference.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;
using onnx::AttributeProto;

template <typename T, typename Range> static Value vectorOf(Node &n, mlir::Type type, const Range &range) {
  llvm::SmallVector<T> values(range.begin(), range.end());
  auto tensor = mlir::RankedTensorType::get({static_cast<int64_t>(values.size())}, type);
  return n.constant(mlir::DenseElementsAttr::get(tensor, llvm::ArrayRef<T>(values)));
}

static void constant(Node &n) {
  if (const AttributeProto *a = n.attr("value")) {
    std::string error;
    Value value = n.importer.makeTensor(a->t(), n.getScope().prefix + n.proto.output(0),
                                        /*isNode=*/true, n.loc, error);
    return value ? n.out(value) : n.error(error);
  }
  if (n.attr("value_float"))
    return n.out(n.scalar(n.b.getF32Type(), n.floatAttr("value_float", 0)));
  if (n.attr("value_int"))
    return n.out(n.constant(mlir::DenseElementsAttr::get(mlir::RankedTensorType::get({}, n.b.getI64Type()),
                                                         llvm::ArrayRef<int64_t>{n.intAttr("value_int", 0)})));
  if (const AttributeProto *a = n.attr("value_floats"))
    return n.out(vectorOf<float>(n, n.b.getF32Type(), a->floats()));
  if (const AttributeProto *a = n.attr("value_ints"))
    return n.out(vectorOf<int64_t>(n, n.b.getI64Type(), a->ints()));
  if (n.attr("sparse_value"))
    return n.unsupported("with a sparse value", "save it dense");
  if (n.attr("value_string") || n.attr("value_strings"))
    return n.unsupported("with strings", "tokenize outside the model");
  n.error("expected an attribute with a value");
}

static void constantOfShape(Node &n) {
  Dims dims = n.values(n.in(0), "the shape");
  Value value;
  if (const AttributeProto *a = n.attr("value")) {
    std::string error;
    value = n.importer.makeTensor(a->t(), n.proto.output(0), /*isNode=*/true, n.loc, error);
    if (!value)
      return n.error(error);
    value = n.reshape(value, {});
  } else {
    value = n.scalar(n.b.getF32Type(), 0);
  }
  for (const SymExpr &dim : dims)
    if (dim.getConstant().value_or(0) < 0)
      return n.error("expected sizes that are not negative, but got " + dim.str());
  n.out(n.broadcast(value, dims));
}

static void identity(Node &n) { n.out(n.in(0)); }

void onnx_import::addConstantOps(OpTable &t) {
  t.add(kOnnx, "Constant", constant);
  t.add(kOnnx, "ConstantOfShape", constantOfShape);
  t.add(kOnnx, "Identity", identity);
}
