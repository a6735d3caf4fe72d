// Quantization. QDQ, QOperator and dynamic forms all become lm.quantize and
// lm.dequantize around ordinary operations; only products of integers that a
// model asks for as integers (MatMulInteger) stay such.
#include "OpTable.h"
#include "Ops/QuantBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

Value onnx_import::spread(Node &n, Value v, Value x, int64_t axis, int64_t block) {
  Dims dims = n.dims(x), own = n.dims(v);
  if (!v || n.failed() || own.empty())
    return v;
  if (own.size() == 1 && own[0].isConstant(1))
    return n.reshape(v, {});
  axis = n.axis(axis, dims.size());
  if (n.failed())
    return {};
  if (own.size() == 1) {
    Dims wide(dims.size(), SymExpr(1));
    wide[axis] = own[0];
    return n.reshape(v, wide);
  }
  if (own.size() != dims.size() || block < 1 || block > INT32_MAX) {
    n.error("expected a scale per tensor, per axis or per block");
    return {};
  }
  Dims apart(own), wide(own), joined(own);
  apart.insert(apart.begin() + axis + 1, SymExpr(1));
  wide.insert(wide.begin() + axis + 1, SymExpr(block));
  joined[axis] = own[axis] * SymExpr(block);
  Value repeated = n.reshape(n.broadcast(n.reshape(v, apart), wide), joined);
  return n.slice(repeated, axis, 0, dims[axis]);
}

/// Integers, and floats of four or eight bits.
static bool isQuantized(mlir::Type type) {
  return type && !type.isInteger(1) && (type.isInteger() || type.getIntOrFloatBitWidth() <= 8);
}

Value onnx_import::quantizeTo(Node &n, Value x, Value scale, Value zero, mlir::Type type) {
  if (n.failed() || !x)
    return {};
  return n.create<QuantizeOp>(withElementType(x.getType(), type), x, scale, zero,
                              /*narrow_range=*/false, n.boolAttr("saturate", true));
}

static void quantize(Node &n) {
  Value x = n.in(0), scale = n.in(1), zero = n.opt(2);
  std::string error;
  mlir::Type type = n.b.getIntegerType(8, /*isSigned=*/false);
  if (int64_t given = n.intAttr("output_dtype", 0))
    type = onnx_import::getElementType(n.b.getContext(), given, error);
  else if (zero)
    type = n.elem(zero);
  if (n.failed())
    return;
  if (!isQuantized(type))
    return n.unsupported("to a type of more than 8 bits that is no integer");
  mlir::Type precision = n.elem(scale);
  if (int64_t given = n.intAttr("precision", 0))
    precision = onnx_import::getElementType(n.b.getContext(), given, error);
  if (!precision || !llvm::isa<mlir::FloatType>(precision))
    return n.unsupported("in a precision that is no float");
  int64_t axis = n.intAttr("axis", 1), block = n.intAttr("block_size", 0);
  scale = n.cast(spread(n, scale, x, axis, block), precision);
  n.out(quantizeTo(n, n.cast(x, precision), scale, spread(n, zero, x, axis, block), type));
}

static void dequantize(Node &n) {
  Value x = n.in(0), scale = n.in(1), zero = n.opt(2);
  if (n.failed())
    return;
  if (!isQuantized(n.elem(x)))
    return n.unsupported("of a type of more than 8 bits that is no integer");
  int64_t axis = n.intAttr("axis", 1), block = n.intAttr("block_size", 0);
  Value result = n.create<DequantizeOp>(x, spread(n, scale, x, axis, block), spread(n, zero, x, axis, block));
  std::string error;
  if (int64_t given = n.intAttr("output_dtype", 0))
    if (mlir::Type type = onnx_import::getElementType(n.b.getContext(), given, error))
      result = n.cast(result, type);
  n.out(result);
}

namespace {
/// x as unsigned bytes, with scale and zero point from its own range.
struct Dynamic {
  Value value, scale, zero;
};
} // namespace

// ONNX DynamicQuantizeLinear; a tensor of zeros gets scale 1.
static Dynamic quantizeDynamically(Node &n, Value x) {
  mlir::Type type = n.elem(x), byte = n.b.getIntegerType(8, /*isSigned=*/false);
  Value zero = n.scalar(type, 0);
  // Rows first: they are reduced side by side.
  auto extreme = [&](ReduceKind kind) {
    int64_t rank = n.rank(x);
    Value rows = rank > 1 ? n.reduce(kind, x, {rank - 1}, false) : x;
    return n.reduce(kind, rows, llvm::to_vector(llvm::seq<int64_t>(0, rank > 1 ? rank - 1 : rank)), false);
  };
  Value low = n.create<MinOp>(extreme(ReduceKind::Min), zero);
  Value high = n.create<MaxOp>(extreme(ReduceKind::Max), zero);
  Value scale = n.div(n.sub(high, low), n.scalar(type, 255));
  scale = n.select(n.compare(Predicate::EQ, scale, zero), n.scalar(type, 1), scale);
  Value point = n.create<RoundOp>(n.div(n.sub(zero, low), scale));
  point = n.create<ClipOp>(point, zero, n.scalar(type, 255));
  Value zeroPoint = n.cast(point, byte);
  return {quantizeTo(n, x, scale, zeroPoint, byte), scale, zeroPoint};
}

static void dynamicQuantize(Node &n) {
  Dynamic result = quantizeDynamically(n, n.in(0));
  n.out(0, result.value);
  n.out(1, result.scale);
  n.out(2, result.zero);
}

/// A parameter of the rows of a left operand as a column.
static Value asColumn(Node &n, Value v) {
  if (!v || n.rank(v) != 1 || n.dims(v)[0].isConstant(1))
    return v;
  return n.reshape(v, {n.dims(v)[0], 1});
}

Value onnx_import::integerProduct(Node &n, Value a, Value zeroA, Value b, Value zeroB) {
  mlir::Type i32 = n.b.getI32Type();
  auto centered = [&](Value v, Value zero) { return zero ? n.sub(n.cast(v, i32), n.cast(zero, i32)) : n.cast(v, i32); };
  return n.create<MatMulOp>(centered(a, asColumn(n, zeroA)), centered(b, zeroB));
}

static void matMulInteger(Node &n) { n.out(integerProduct(n, n.in(0), n.opt(2), n.in(1), n.opt(3))); }

static void qLinearMatMul(Node &n) {
  Value a = n.create<DequantizeOp>(n.in(0), asColumn(n, n.in(1)), asColumn(n, n.in(2)));
  Value b = n.create<DequantizeOp>(n.in(3), n.in(4), n.in(5));
  Value product = n.create<MatMulOp>(a, b), zero = n.in(7);
  n.out(quantizeTo(n, product, asColumn(n, n.in(6)), asColumn(n, zero), n.elem(zero)));
}

static void addBiasAndFinish(Node &n, Value product, Value scale, Value bias) {
  Value result = n.mul(n.cast(product, n.elem(scale)), scale);
  n.out(bias ? n.add(result, bias) : result);
}

static void matMulIntegerToFloat(Node &n) {
  Value product = integerProduct(n, n.in(0), n.opt(4), n.in(1), n.opt(5));
  addBiasAndFinish(n, product, n.mul(n.in(2), n.in(3)), n.opt(6));
}

static void dynamicQuantizeMatMul(Node &n) {
  Dynamic a = quantizeDynamically(n, n.in(0));
  Value product = integerProduct(n, a.value, a.zero, n.in(1), n.opt(3));
  addBiasAndFinish(n, product, n.mul(a.scale, n.in(2)), n.opt(4));
}

void onnx_import::addQuantOps(OpTable &t) {
  for (llvm::StringRef domain : {llvm::StringRef(kOnnx), llvm::StringRef(kMicrosoft)}) {
    t.add(domain, "QuantizeLinear", quantize);
    t.add(domain, "DequantizeLinear", dequantize);
  }
  t.add(kOnnx, "DynamicQuantizeLinear", dynamicQuantize);
  t.add(kOnnx, "MatMulInteger", matMulInteger);
  t.add(kOnnx, "QLinearMatMul", qLinearMatMul);
  t.add(kMicrosoft, "MatMulIntegerToFloat", matMulIntegerToFloat);
  t.add(kMicrosoft, "DynamicQuantizeMatMul", dynamicQuantizeMatMul);
}
