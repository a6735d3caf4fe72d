// Random numbers, and what draws them. A node without a seed takes one from its
// output's name: a model draws the same numbers in every run.
#include "OpTable.h"

#include "llvm/Support/MD5.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// `stream` tells apart what one node draws.
static int64_t seedOf(Node &n, unsigned stream) {
  uint64_t seed = 0;
  if (const onnx::AttributeProto *given = n.attr("seed")) {
    // An integer in Dropout, a float everywhere else.
    double value = given->has_i() ? static_cast<double>(given->i()) : n.floatAttr("seed", 0);
    static_assert(sizeof(seed) == sizeof(value));
    std::memcpy(&seed, &value, sizeof(seed));
  } else {
    seed = llvm::MD5Hash((n.getScope().prefix + (n.numOutputs() ? n.proto.output(0) : n.proto.name())));
  }
  // Streams of equal seeds start far apart.
  return static_cast<int64_t>((seed ^ (uint64_t(stream) << 56)) * 0xD1342543DE82EF95u);
}

/// In [0, 1), of a floating-point type: as many bits as f32 (f64) holds.
static Value uniform(Node &n, mlir::Type type, llvm::ArrayRef<SymExpr> dims, unsigned stream = 0) {
  if (n.failed())
    return {};
  mlir::Type bits = mlir::IntegerType::get(n.b.getContext(), 64, mlir::IntegerType::Unsigned);
  unsigned digits = type.isF64() ? 53 : 24;
  Value random = n.create<RandomBitsOp>(getTensorType(dims, bits), seedOf(n, stream));
  Value high = n.create<ShiftRightOp>(random, n.scalar(bits, 64 - digits));
  mlir::Type wide = type.isF64() ? type : mlir::Type(n.b.getF32Type());
  return n.mul(n.cast(high, wide), std::ldexp(1.0, -static_cast<int>(digits)));
}

/// Box and Muller (1958), in f32.
static Value normal(Node &n, llvm::ArrayRef<SymExpr> dims) {
  mlir::Type f32 = n.b.getF32Type();
  // 1 - u is in (0, 1], so its logarithm is finite.
  Value radius = n.create<LogOp>(n.sub(n.scalar(f32, 1), uniform(n, f32, dims, 0)));
  radius = n.create<SqrtOp>(n.mul(radius, -2.0));
  return n.mul(radius, n.create<CosOp>(n.mul(uniform(n, f32, dims, 1), 2 * M_PI)));
}

/// The type that attribute `dtype` names, or else `fallback`.
static mlir::Type typeAttr(Node &n, mlir::Type fallback) {
  if (!n.attr("dtype"))
    return fallback;
  std::string error;
  mlir::Type type = onnx_import::getElementType(n.b.getContext(), n.intAttr("dtype", 0), error);
  if (!type)
    n.unsupported("of dtype: " + error);
  return type;
}

template <bool isNormal, bool isLike> static void random(Node &n) {
  Dims dims;
  mlir::Type type = n.b.getF32Type();
  if (isLike) {
    Value like = n.in(0);
    dims = n.dims(like);
    type = n.elem(like);
  } else {
    std::optional<Ints> shape = n.intsAttr("shape");
    if (!shape || llvm::any_of(*shape, [](int64_t dim) { return dim < 0; }))
      return n.error("expected a shape");
    dims.append(shape->begin(), shape->end());
  }
  type = typeAttr(n, type);
  if (n.failed())
    return;
  if (!llvm::isa<mlir::FloatType>(type))
    return n.error("expected a floating-point type");
  Value result;
  if (isNormal) {
    result = n.add(n.mul(normal(n, dims), n.floatAttr("scale", 1)), n.floatAttr("mean", 0));
  } else {
    double low = n.floatAttr("low", 0), high = n.floatAttr("high", 1);
    result = n.add(n.mul(uniform(n, type, dims), high - low), low);
  }
  n.out(n.cast(result, type));
}

static void bernoulli(Node &n) {
  Value p = n.in(0);
  mlir::Type type = typeAttr(n, n.elem(p));
  if (n.failed())
    return;
  mlir::Type wide = n.elem(p).isF64() ? n.elem(p) : mlir::Type(n.b.getF32Type());
  n.out(n.cast(n.compare(Predicate::LT, uniform(n, wide, n.dims(p)), n.cast(p, wide)), type));
}

// The class whose part of the cumulated probabilities a uniform number hits.
static void multinomial(Node &n) {
  Value scores = n.in(0);
  int64_t samples = n.intAttr("sample_size", 1);
  mlir::Type type = typeAttr(n, n.b.getI32Type()), i64 = n.b.getI64Type(), f32 = n.b.getF32Type();
  if (!n.failed() && (n.rank(scores) != 2 || samples < 1))
    n.error("expected scores [batch, classes] and a positive sample_size");
  if (n.failed())
    return;
  Dims dims = n.dims(scores);
  Value p = n.create<CumSumOp>(n.create<SoftmaxOp>(n.cast(scores, f32), 1), 1, false, false);
  // Rounding may leave the sum below one.
  Value total = n.slice(p, 1, dims[1] - SymExpr(1), 1);
  Value point = n.mul(uniform(n, f32, {dims[0], samples}), total);
  Value below = n.compare(Predicate::LE, n.reshape(p, {dims[0], 1, dims[1]}), n.reshape(point, {dims[0], samples, 1}));
  Value index = n.reduce(ReduceKind::Sum, n.cast(below, i64), {2}, /*keepDims=*/false);
  Value last = n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, i64), {dims[1] - SymExpr(1)}));
  n.out(n.cast(n.create<MinOp>(index, last), type));
}

// The ratio was an attribute before opset 12, and training was never asked for.
static void dropout(Node &n) {
  Value x = n.in(0);
  Ints training;
  if (n.has(2))
    training = n.constants(n.in(2), "input 'training_mode'");
  if (n.failed())
    return;
  double ratio = 0.5;
  if (n.has(1)) {
    std::optional<double> known = n.constantFloat(n.in(1));
    if (!training.empty() && training[0] != 0 && !known)
      return n.error("expected input 'ratio' to be constant");
    ratio = known.value_or(ratio);
  }
  if (training.empty() || training[0] == 0 || ratio == 0) {
    n.out(0, x);
    if (n.wants(1))
      n.out(1, n.filled(n.opset() < 10 ? n.elem(x) : n.b.getI1Type(), 1, n.dims(x)));
    return;
  }
  if (!(ratio > 0 && ratio < 1))
    return n.error("expected a ratio in [0, 1)");
  mlir::Type f32 = n.b.getF32Type();
  Value kept = n.compare(Predicate::GE, uniform(n, f32, n.dims(x)), n.scalar(f32, ratio));
  n.out(0, n.select(kept, n.mul(x, 1 / (1 - ratio)), n.scalar(n.elem(x), 0)));
  n.out(1, kept);
}

void onnx_import::addRandomOps(OpTable &t) {
  t.add(kOnnx, "RandomUniform", random<false, false>);
  t.add(kOnnx, "RandomUniformLike", random<false, true>);
  t.add(kOnnx, "RandomNormal", random<true, false>);
  t.add(kOnnx, "RandomNormalLike", random<true, true>);
  t.add(kOnnx, "Bernoulli", bernoulli);
  t.add(kOnnx, "Multinomial", multinomial);
  t.add(kOnnx, "Dropout", dropout);
}
