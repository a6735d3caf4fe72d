// Weights of 2, 4 or 8 bits with a scale per block, as ONNX Runtime's quantizers
// write them: packed into bytes, dequantized by lm.dequantize.
#include "OpTable.h"
#include "Ops/QuantBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

Value onnx_import::unpackBits(Node &n, Value bytes, int64_t bits, bool lowFirst) {
  if (n.failed() || !bytes || bits == 8)
    return bytes;
  mlir::Type byte = n.elem(bytes);
  int64_t count = 8 / bits;
  Dims dims = n.dims(bytes), apart = dims;
  apart.push_back(1);
  dims.back() = dims.back() * SymExpr(count);
  llvm::SmallVector<Value> parts;
  for (int64_t i = 0; i < count; ++i) {
    Value part = i == 0 ? bytes : n.div(bytes, n.scalar(byte, double(1 << (bits * i))));
    if (i + 1 < count)
      part = n.create<ModOp>(part, n.scalar(byte, double(1 << bits)), /*fmod=*/false);
    parts.push_back(n.reshape(part, apart));
  }
  if (!lowFirst)
    std::reverse(parts.begin(), parts.end());
  return n.reshape(n.concat(parts, apart.size() - 1), dims);
}

/// The 4-bit integers that a weight of bytes holds, as a weight of such integers: ONNX
/// and #lm.file store them alike. Null for values that are no weights.
static Value asNibbles(Node &n, Value bytes, llvm::ArrayRef<int64_t> dims) {
  if (n.failed() || !bytes)
    return {};
  auto type = mlir::RankedTensorType::get(dims, n.b.getIntegerType(4, /*isSigned=*/false));
  if (auto weight = bytes.getDefiningOp<WeightOp>(); weight && llvm::isa<FileAttr>(weight.getSource())) {
    mlir::OpBuilder::InsertionGuard guard(n.b);
    n.b.setInsertionPointAfter(weight);
    return WeightOp::create(n.b, weight.getLoc(), type, weight.getNameAttr(), weight.getSource());
  }
  auto constant = bytes.getDefiningOp<ConstantOp>();
  auto dense =
      constant ? llvm::dyn_cast<mlir::DenseIntElementsAttr>(constant.getValue()) : mlir::DenseIntElementsAttr();
  if (!dense)
    return {};
  llvm::SmallVector<llvm::APInt> values;
  for (const llvm::APInt &byte : dense.getValues<llvm::APInt>()) {
    values.push_back(byte.trunc(4));
    values.push_back(byte.lshr(4).trunc(4));
  }
  // A weight however small: kernels and recipes take it as one.
  auto name = llvm::dyn_cast<mlir::NameLoc>(constant.getLoc());
  if (!name)
    return {};
  mlir::OpBuilder::InsertionGuard guard(n.b);
  n.b.setInsertionPointAfter(constant);
  return WeightOp::create(n.b, constant.getLoc(), type, name.getName(), mlir::DenseElementsAttr::get(type, values));
}

namespace {
/// Sizes of a quantized matrix [N, K], blocks along K.
struct Blocks {
  int64_t k, n, bits, size, count;
};
} // namespace

static Blocks readBlocks(Node &n, int64_t bits) {
  Blocks b{n.intAttr("K", 0), n.intAttr("N", 0), bits, n.intAttr("block_size", 0), 0};
  bool inRange = true;
  for (int64_t size : {b.k, b.n, b.size})
    inRange &= size >= 1 && size <= INT32_MAX;
  if (!n.failed() && !inRange)
    n.error("expected positive K, N and block_size below 2^31");
  if (!n.failed() && bits != 2 && bits != 4 && bits != 8)
    n.unsupported("with " + llvm::Twine(bits) + " bits", "2, 4 and 8 bits are supported");
  if (!n.failed() && (b.size % 16 || (b.size & (b.size - 1))))
    n.error("expected a block size that is a power of 2 and at least 16, but got " + llvm::Twine(b.size));
  if (!n.failed())
    b.count = (b.k + b.size - 1) / b.size;
  return b;
}

/// x [.., K] times the transpose of weight [N, K], plus a bias.
static void multiply(Node &n, Value x, Value weight, Value bias) {
  Value product = n.create<MatMulOp>(x, n.swapLast(weight));
  n.out(bias ? n.add(product, bias) : product);
}

/// x [.., K] as int8 with a scale for each block of K, symmetric, and back: what
/// accuracy_level 4 lets products compute with.
static Value roundBlocks(Node &n, Value x, const Blocks &b) {
  Dims whole = n.dims(x), apart = whole;
  if (n.failed() || !n.elem(x).isF32() || whole.empty() || !whole.back().isConstant(b.k))
    return x;
  if (b.count > 1) {
    apart.back() = b.count;
    apart.push_back(b.size);
  }
  Value blocks = n.reshape(x, apart);
  Value scale = n.create<AbsMaxScaleOp>(blocks, n.b.getDenseI64ArrayAttr({static_cast<int64_t>(apart.size()) - 1}),
                                        n.b.getF64FloatAttr(127));
  Value q = n.create<QuantizeOp>(withElementType(blocks.getType(), n.b.getI8Type()), blocks, scale, Value(),
                                 /*narrow_range=*/true, /*saturate=*/true);
  return n.reshape(n.create<DequantizeOp>(q, scale, Value()), whole);
}

/// Elements of a static tensor of bytes; 0 for others.
static int64_t bytesOf(Node &n, Value value) {
  auto type = llvm::cast<mlir::RankedTensorType>(value.getType());
  return type.hasStaticShape() ? type.getNumElements() : 0;
}

// A [.., K], B bytes [N, blocks, bytes of a block], scales [N, blocks], zero points
// (packed along blocks, or as floats), the block of each row of K, bias [N].
static void matMulNBits(Node &n) {
  Value x = n.in(0), packed = n.in(1), scales = n.in(2), zeros = n.opt(3), groups = n.opt(4);
  Blocks b = readBlocks(n, n.intAttr("bits", 4));
  if (n.failed())
    return;
  if (!n.elem(packed).isInteger(8) || !n.isFloat(scales))
    return n.error("expected weights of bytes and scales of floats");
  const SymExpr rows = b.n, width = b.count * b.size, bytes = b.size * b.bits / 8;
  mlir::Type type = n.elem(scales);
  Value scale = n.reshape(scales, {rows, b.count});
  bool floatZeros = zeros && n.isFloat(zeros);
  Value q, zero;
  if (b.bits == 4 && !groups && b.size * b.count * b.n == 2 * bytesOf(n, packed)) {
    q = asNibbles(n, packed, {b.n, b.count, b.size});
    int64_t even = (b.count + 1) / 2 * 2;
    if (q && zeros && !floatZeros && b.n * even == 2 * bytesOf(n, zeros)) {
      Value all = asNibbles(n, zeros, {b.n, even});
      zero = all && even != b.count ? n.slice(all, 1, 0, b.count) : all;
      q = zero ? q : Value();
    } else if (zeros && !floatZeros) {
      q = {};
    }
  }
  if (!q)
    q = unpackBits(n, n.reshape(packed, {rows, b.count, bytes}), b.bits);
  if (floatZeros) {
    zero = n.reshape(zeros, {rows, b.count});
  } else if (zeros && !zero) {
    Value all = unpackBits(n, n.reshape(zeros, {rows, (b.count * b.bits + 7) / 8}), b.bits);
    zero = n.slice(all, 1, 0, b.count);
  }
  if (groups) { // one parameter per element
    q = n.slice(n.reshape(q, {rows, width}), 1, 0, b.k);
    Value which = n.reshape(groups, {b.k});
    scale = n.create<GatherOp>(scale, which, 1);
    zero = zero ? n.create<GatherOp>(zero, which, 1) : zero;
  } else { // one per block
    scale = n.reshape(scale, {rows, b.count, 1});
    zero = zero ? n.reshape(zero, {rows, b.count, 1}) : zero;
  }
  if (!zero)
    zero = n.scalar(n.elem(q), double(1 << (b.bits - 1)));
  Value weight = floatZeros ? n.mul(n.sub(n.cast(q, type), zero), scale) : n.create<DequantizeOp>(q, scale, zero);
  if (!groups)
    weight = n.slice(n.reshape(weight, {rows, width}), 1, 0, b.k);
  // Blocks of whole groups: what the integer kernels take.
  if (n.intAttr("accuracy_level", 0) == 4 && b.bits == 4 && !groups && b.size % 32 == 0 && b.k % b.size == 0)
    x = roundBlocks(n, x, b);
  multiply(n, x, weight, n.opt(5));
}

// The code books of bitsandbytes: FP4, and NF4 (Dettmers et al. 2023, appendix E).
static constexpr float kFp4[16] = {
    0.0f,  5.208333333e-03f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
    -0.0f, -5.208333333e-03f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};
static constexpr float kNf4[16] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};

// A [.., K], B: N K indices of 4 bits, high bits first, absmax per block of them.
static void matMulBnb4(Node &n) {
  Value x = n.in(0), packed = n.in(1), absmax = n.in(2);
  int64_t kind = n.intAttr("quant_type", 1);
  if (!n.boolAttr("transB", true))
    return n.unsupported("with transB=0");
  if (kind != 0 && kind != 1)
    return n.error("expected quant_type 0 (FP4) or 1 (NF4), but got " + llvm::Twine(kind));
  Blocks b = readBlocks(n, 4);
  if (n.failed())
    return;
  if (!n.elem(packed).isInteger(8) || !n.isFloat(absmax))
    return n.error("expected weights of bytes and block maxima of floats");
  int64_t total = b.n * b.k, blocks = (total + b.size - 1) / b.size;
  mlir::Type type = n.elem(absmax);
  Value codes = unpackBits(n, n.reshape(packed, {(total + 1) / 2}), 4, /*lowFirst=*/false);
  codes = n.cast(n.slice(codes, 0, 0, total), n.b.getI32Type());
  auto tableType = mlir::RankedTensorType::get({16}, n.b.getF32Type());
  Value table = n.constant(mlir::DenseElementsAttr::get(tableType, llvm::ArrayRef<float>(kind == 0 ? kFp4 : kNf4)));
  Value values = n.create<GatherOp>(n.cast(table, type), codes, 0);
  Value spreadOut = n.broadcast(n.reshape(absmax, {blocks, 1}), {blocks, b.size});
  Value scale = n.slice(n.reshape(spreadOut, {blocks * b.size}), 0, 0, total);
  multiply(n, x, n.reshape(n.mul(values, scale), {b.n, b.k}), n.opt(3));
}

// data, indices, scales, zero points: rows of the data are gathered, then
// dequantized. 4-bit values in bytes are packed along the last dimension.
static void gatherBlockQuantized(Node &n) {
  Value data = n.in(0), indices = n.in(1), scales = n.in(2), zeros = n.opt(3);
  int64_t rank = n.rank(data), bits = n.intAttr("bits", 4), block = n.intAttr("block_size", 128);
  int64_t gather = n.axis(n.intAttr("gather_axis", 0), rank), along = n.axis(n.intAttr("quantize_axis", 1), rank);
  if (n.failed())
    return;
  mlir::Type type = n.elem(data);
  bool packed = type.isInteger(8) && type.isUnsignedInteger() && bits != 8;
  if (packed && bits != 4 && bits != 2)
    return n.unsupported("with " + llvm::Twine(bits) + " bits", "2, 4 and 8 bits are supported");
  if (!n.isFloat(scales) || n.rank(scales) != rank || (zeros && n.rank(zeros) != rank))
    return n.error("expected scales and zero points of the rank of the data");
  auto unpack = [&](Value v) { return v && packed ? unpackBits(n, v, bits) : v; };
  bool late = gather != along && gather != rank - 1; // unpack only what was gathered
  if (!late) {
    data = unpack(data);
    zeros = unpack(zeros);
  }
  auto pick = [&](Value v) -> Value { return v ? n.create<GatherOp>(v, indices, gather) : v; };
  auto dequantize = [&](int64_t axis) -> Value {
    if (n.failed())
      return {};
    Value zero = zeros;
    if (zero)
      zero = n.slice(zero, axis, 0, n.dims(scales)[axis]); // packing may have rounded it up
    else if (packed || type.isUnsignedInteger(8))
      zero = n.scalar(n.elem(data), double(1 << (bits - 1)));
    Value scale = spread(n, scales, data, axis, block);
    return n.create<DequantizeOp>(data, scale, spread(n, zero, data, axis, block));
  };
  if (gather == along)
    return n.out(pick(dequantize(along)));
  data = pick(data);
  scales = pick(scales);
  zeros = pick(zeros);
  if (late) {
    data = unpack(data);
    zeros = unpack(zeros);
  }
  n.out(dequantize(along > gather ? along + n.rank(indices) - 1 : along));
}

void onnx_import::addContribQuantOps(OpTable &t) {
  t.add(kMicrosoft, "GatherBlockQuantized", gatherBlockQuantized);
  t.add(kMicrosoft, "MatMulBnb4", matMulBnb4);
  t.add(kMicrosoft, "MatMulNBits", matMulNBits);
}
