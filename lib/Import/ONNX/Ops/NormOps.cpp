// Normalisations.
#include "OpTable.h"
#include "Ops/NormBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

Value onnx_import::buildNorm(Node &n, NormKind kind, Value x, Value scale, Value bias, int64_t axis, double epsilon) {
  Dims dims = n.dims(x);
  axis = n.axis(axis, dims.size());
  if (n.failed())
    return {};
  llvm::ArrayRef<SymExpr> all(dims), normalized = all.drop_front(axis);
  Dims flat(all.take_front(axis));
  flat.push_back(product(normalized));
  // lm.norm scales by vectors; whatever broadcasts otherwise comes behind it.
  auto isVector = [&](Value v) { return !v || n.dims(v) == Dims(normalized); };
  bool inside = isVector(scale) && isVector(bias) && (scale || !bias);
  auto flatten = [&](Value v) { return v ? n.cast(n.reshape(v, {flat.back()}), n.elem(x)) : Value(); };
  Value result = n.create<NormOp>(kind, n.reshape(x, flat), inside ? flatten(scale) : Value(),
                                  inside ? flatten(bias) : Value(), n.f64(epsilon));
  result = n.reshape(result, dims);
  if (!inside && scale)
    result = n.mul(result, n.cast(scale, n.elem(x)));
  if (!inside && bias)
    result = n.add(result, n.cast(bias, n.elem(x)));
  return result;
}

/// 1 / sqrt(mean (x - mean)^2 + epsilon); without `mean` that of x itself.
static Value inverseDeviation(Node &n, Value x, Value mean, const Ints &axes, double epsilon) {
  Value centered = mean ? n.sub(x, mean) : x;
  Value variance = n.reduce(ReduceKind::Mean, n.mul(centered, centered), axes);
  return n.create<ReciprocalOp>(n.create<SqrtOp>(n.add(variance, epsilon)));
}

template <NormKind kind> static void norm(Node &n) {
  Value x = n.in(0), scale = n.in(1), bias = kind == NormKind::Layer ? n.opt(2) : Value();
  int64_t axis = n.axis(n.intAttr("axis", -1), n.rank(x));
  double epsilon = n.floatAttr("epsilon", 1e-5f);
  Value result = buildNorm(n, kind, x, scale, bias, axis, epsilon);
  // The type of the scale, where it differs (SimplifiedLayerNormalization).
  n.out(0, n.cast(result, n.elem(scale)));
  Ints axes = llvm::to_vector(llvm::seq<int64_t>(axis, std::max(axis, n.rank(x))));
  Value wide = n.wants(1) || n.wants(2) ? n.cast(x, n.b.getF32Type()) : Value();
  Value mean = wide && kind == NormKind::Layer ? n.reduce(ReduceKind::Mean, wide, axes) : Value();
  if (kind == NormKind::Layer && n.wants(1))
    n.out(1, mean);
  unsigned inverse = kind == NormKind::Layer ? 2 : 1;
  if (n.wants(inverse))
    n.out(inverse, inverseDeviation(n, wide, mean, axes, epsilon));
}

/// [C] as [1, C, 1, ...] beside `x` [N, C, ...].
static Value perChannel(Node &n, Value v, Value x) {
  if (n.failed())
    return {};
  Dims dims(n.rank(x), SymExpr(1));
  dims[1] = product(n.dims(v));
  n.requireEqual(dims[1], n.dims(x)[1], "a number of channels");
  return n.reshape(v, dims);
}

// Statistics of the batch, and running ones that move towards them.
static void batchNorm(Node &n) {
  Value x = n.in(0);
  bool training = n.boolAttr("training_mode", false) || (n.opset() < 14 && n.wants(1));
  if (!n.boolAttr("spatial", true))
    return n.unsupported("with spatial=0");
  if (!n.failed() && n.rank(x) < 2)
    return n.error("expected a rank of at least 2");
  if (n.failed())
    return;
  int64_t rank = n.rank(x);
  Value scale = perChannel(n, n.in(1), x), bias = perChannel(n, n.in(2), x);
  Value mean = perChannel(n, n.in(3), x), variance = perChannel(n, n.in(4), x);
  if (training) {
    Ints axes{0};
    for (int64_t i = 2; i < rank; ++i)
      axes.push_back(i);
    double momentum = n.floatAttr("momentum", 0.9f);
    auto move = [&](Value running, Value present) {
      Value old = n.mul(running, momentum);
      return n.reshape(n.add(old, n.mul(n.cast(present, n.elem(old)), 1 - momentum)), n.dims(n.in(3)));
    };
    Value wideX = n.cast(x, n.elem(mean)), batchMean = n.reduce(ReduceKind::Mean, wideX, axes);
    Value centered = n.sub(wideX, batchMean);
    Value batchVariance = n.reduce(ReduceKind::Mean, n.mul(centered, centered), axes);
    n.out(1, move(mean, batchMean));
    n.out(2, move(variance, batchVariance));
    mean = batchMean;
    variance = batchVariance;
    if (n.failed())
      return;
  }
  Value deviation = n.create<SqrtOp>(n.add(variance, n.floatAttr("epsilon", 1e-5f)));
  mlir::Type type = n.elem(x), wide = n.elem(mean);
  Value normal = n.div(n.sub(n.cast(x, wide), mean), deviation);
  Value scaled = n.mul(normal, n.cast(scale, wide));
  n.out(n.cast(n.add(scaled, n.cast(bias, wide)), type));
}

/// Layer normalisation of each of `groups` groups of channels, without scale.
static Value normalizeGroups(Node &n, Value x, const SymExpr &groups, double epsilon) {
  Dims dims = n.dims(x);
  if (!n.failed() && dims.size() < 3)
    n.error("expected a rank of at least 3");
  if (n.failed())
    return {};
  SymExpr channels = n.quotient(dims[1], groups, "the number of channels");
  if (n.failed())
    return {};
  SymExpr size = channels * product(llvm::ArrayRef<SymExpr>(dims).drop_front(2));
  Value flat = n.reshape(x, {dims[0], groups, size});
  return n.reshape(n.create<NormOp>(NormKind::Layer, flat, Value(), Value(), n.f64(epsilon)), dims);
}

static void instanceNorm(Node &n) {
  Value x = n.in(0);
  SymExpr channels = n.rank(x) > 1 ? n.dims(x)[1] : SymExpr(1);
  Value normal = normalizeGroups(n, x, channels, n.floatAttr("epsilon", 1e-5f));
  if (n.failed())
    return;
  Value scaled = n.mul(normal, perChannel(n, n.in(1), x));
  n.out(n.add(scaled, perChannel(n, n.in(2), x)));
}

// Scale and bias were per group before opset 21.
static void groupNorm(Node &n) {
  Value x = n.in(0), scale = n.in(1), bias = n.in(2);
  int64_t groups = n.intAttr("num_groups", 0);
  if (groups < 1)
    return n.error("expected a positive num_groups");
  Value normal = normalizeGroups(n, x, groups, n.floatAttr("epsilon", 1e-5f));
  if (n.failed())
    return;
  Dims dims = n.dims(x);
  if (n.opset() >= 21) {
    Value scaled = n.mul(normal, perChannel(n, scale, x));
    return n.out(n.add(scaled, perChannel(n, bias, x)));
  }
  SymExpr rest = product(llvm::ArrayRef<SymExpr>(dims).drop_front(1));
  Value grouped = n.reshape(normal, {dims[0], groups, SymExpr::floorDiv(rest, groups)});
  Value scaled = n.mul(grouped, n.reshape(scale, {1, groups, 1}));
  n.out(n.reshape(n.add(scaled, n.reshape(bias, {1, groups, 1})), dims));
}

// A vector of zeros stays one.
static void lpNorm(Node &n) {
  Value x = n.in(0);
  int64_t axis = n.axis(n.intAttr("axis", -1), n.rank(x)), p = n.intAttr("p", 2);
  if (p != 1 && p != 2)
    return n.error("expected p to be 1 or 2, but got " + llvm::Twine(p));
  Value length = n.reduce(p == 1 ? ReduceKind::L1 : ReduceKind::L2, x, {axis});
  Value zero = n.scalar(n.elem(x), 0), one = n.scalar(n.elem(x), 1);
  n.out(n.div(x, n.select(n.compare(Predicate::EQ, length, zero), one, length)));
}

// (x - mean) / (sqrt(mean x^2 - mean^2) + 1e-9)
static void meanVarianceNorm(Node &n) {
  Value x = n.in(0);
  Ints axes = n.axes(n.intsAttr("axes").value_or(Ints{0, 2, 3}), n.rank(x));
  Value mean = n.reduce(ReduceKind::Mean, x, axes);
  Value centered = n.sub(x, mean);
  Value variance = n.reduce(ReduceKind::Mean, n.mul(centered, centered), axes);
  n.out(n.div(centered, n.add(n.create<SqrtOp>(variance), 1e-9)));
}

void onnx_import::addNormOps(OpTable &t) {
  t.add(kOnnx, "LayerNormalization", norm<NormKind::Layer>);
  t.add(kOnnx, "RMSNormalization", norm<NormKind::RMS>);
  // ONNX Runtime registers this one in both domains.
  t.add(kOnnx, "SimplifiedLayerNormalization", norm<NormKind::RMS>);
  t.add(kMicrosoft, "SimplifiedLayerNormalization", norm<NormKind::RMS>);
  t.add(kMicrosoft, "LayerNormalization", norm<NormKind::Layer>);
  t.add(kOnnx, "BatchNormalization", batchNorm);
  t.add(kOnnx, "InstanceNormalization", instanceNorm);
  t.add(kOnnx, "GroupNormalization", groupNorm);
  t.add(kOnnx, "LpNormalization", lpNorm);
  t.add(kOnnx, "MeanVarianceNormalization", meanVarianceNorm);
}
