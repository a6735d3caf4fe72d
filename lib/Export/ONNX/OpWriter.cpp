#include "OpWriter.h"

using namespace llmopt::onnx_export;

Name OpWriter::cast(const Name &x, mlir::Type type) {
  graph.require(getOpsetOf(type));
  return node("Cast", {x}, {{"to", int64_t(getDataType(type))}});
}

Name OpWriter::iota(const SymExpr &count, int64_t axis, int64_t rank) {
  mlir::Type i64 = mlir::IntegerType::get(op->getContext(), 64);
  Name range = node("Range", {scalar(i64, 0), this->count(count), scalar(i64, 1)});
  if (rank == 1)
    return range;
  Ints shape(rank, 1);
  shape[axis] = -1;
  return reshape(range, shape);
}
