// Activations. Those without an operation of their own are written with others.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

template <typename Op> static void unary(Node &n) { n.out(n.create<Op>(n.in(0))); }

static void leakyRelu(Node &n) { n.out(n.create<LeakyReluOp>(n.in(0), n.f64(n.floatAttr("alpha", 0.01f)))); }

static void elu(Node &n) { n.out(n.create<EluOp>(n.in(0), n.f64(n.floatAttr("alpha", 1.0f)))); }

// gamma elu(x)
static void selu(Node &n) {
  double alpha = n.floatAttr("alpha", n.opset() < 6 ? 1.6732f : 1.67326319217681884765625f);
  double gamma = n.floatAttr("gamma", n.opset() < 6 ? 1.0507f : 1.05070102214813232421875f);
  n.out(n.mul(n.create<EluOp>(n.in(0), n.f64(alpha)), gamma));
}

// max(0, x) + min(0, alpha (exp(x / alpha) - 1)) = alpha elu_1(x / alpha)
static void celu(Node &n) {
  double alpha = n.floatAttr("alpha", 1.0f);
  Value scaled = n.div(n.in(0), n.scalar(n.elem(n.in(0)), alpha));
  n.out(n.mul(n.create<EluOp>(scaled, n.f64(1.0)), alpha));
}

static Value clipTo(Node &n, Value x, double low, double high) {
  return n.create<ClipOp>(x, n.scalar(n.elem(x), low), n.scalar(n.elem(x), high));
}

static void hardSigmoid(Node &n) {
  double alpha = n.floatAttr("alpha", 0.2f), beta = n.floatAttr("beta", 0.5f);
  n.out(clipTo(n, n.add(n.mul(n.in(0), alpha), beta), 0, 1));
}

static void hardSwish(Node &n) { n.out(n.mul(n.in(0), clipTo(n, n.add(n.mul(n.in(0), 1.0f / 6), 0.5), 0, 1))); }

static void softsign(Node &n) { n.out(n.div(n.in(0), n.add(n.create<AbsOp>(n.in(0)), 1.0))); }

static void mish(Node &n) { n.out(n.mul(n.in(0), n.create<TanhOp>(n.create<SoftplusOp>(n.in(0))))); }

static void swish(Node &n) {
  double alpha = n.floatAttr("alpha", 1.0f);
  Value scaled = alpha == 1.0 ? n.in(0) : n.mul(n.in(0), alpha);
  n.out(n.mul(n.in(0), n.create<SigmoidOp>(scaled)));
}

// swish(a) b
static void swiGlu(Node &n) {
  Value gate = n.in(0);
  double alpha = n.floatAttr("alpha", 1.0f);
  Value scaled = alpha == 1.0 ? gate : n.mul(gate, alpha);
  n.out(n.mul(n.mul(gate, n.create<SigmoidOp>(scaled)), n.in(1)));
}

static void gelu(Node &n) {
  std::string form = n.stringAttr("approximate", "none");
  if (form != "none" && form != "tanh")
    return n.error("expected approximate to be none or tanh, but got '" + printable(form) + "'");
  n.out(n.create<GeluOp>(form == "tanh" ? GeluKind::Tanh : GeluKind::Erf, n.in(0)));
}

static void thresholdedRelu(Node &n) {
  Value x = n.in(0), zero = n.scalar(n.elem(x), 0);
  Value limit = n.scalar(n.elem(x), n.floatAttr("alpha", 1.0f));
  n.out(n.select(n.compare(Predicate::GT, x, limit), x, zero));
}

static void shrink(Node &n) {
  Value x = n.in(0);
  double bias = n.floatAttr("bias", 0.0f), lambda = n.floatAttr("lambd", 0.5f);
  mlir::Type type = n.elem(x);
  Value below = n.compare(Predicate::LT, x, n.scalar(type, -lambda));
  Value above = n.compare(Predicate::GT, x, n.scalar(type, lambda));
  n.out(n.select(below, n.add(x, bias), n.select(above, n.sub(x, n.scalar(type, bias)), n.scalar(type, 0))));
}

// The slope of one channel dimension (before opset 7) follows the batch.
static void pRelu(Node &n) {
  Value x = n.in(0), slope = n.in(1);
  if (n.failed())
    return;
  if (n.opset() < 7 && n.rank(slope) == 1 && n.rank(x) > 2) {
    Dims dims = n.dims(slope);
    dims.resize(n.rank(x) - 1, SymExpr(1));
    slope = n.reshape(slope, dims);
  }
  Value negative = n.compare(Predicate::LT, x, n.scalar(n.elem(x), 0));
  n.out(n.select(negative, n.mul(slope, x), x));
}

/// Before opset 13, these worked on a matrix [dims before axis, dims from axis].
static Value flattenedFrom(Node &n, Value x, int64_t axis) {
  Dims dims = n.dims(x);
  llvm::ArrayRef<SymExpr> all(dims);
  return n.reshape(x, {product(all.take_front(axis)), product(all.drop_front(axis))});
}

template <bool log> static void softmax(Node &n) {
  Value x = n.in(0);
  int64_t axis = n.axis(n.intAttr("axis", n.opset() < 13 ? 1 : -1), std::max<int64_t>(n.rank(x), 1));
  if (n.failed())
    return;
  if (n.opset() >= 13 || axis == n.rank(x) - 1)
    return n.out(n.create<SoftmaxOp>(x, axis, log));
  n.out(n.reshape(n.create<SoftmaxOp>(flattenedFrom(n, x, axis), 1, log), n.dims(x)));
}

// 1 at the first largest element, else 0.
static Value hardmaxOver(Node &n, Value x, int64_t axis) {
  Value best = n.create<ArgReduceOp>(x, axis, /*keepdims=*/true, /*smallest=*/false, /*last=*/false);
  Value index = n.iota(n.b.getI64Type(), n.dims(x), axis);
  return n.cast(n.compare(Predicate::EQ, index, best), n.elem(x));
}

static void hardmax(Node &n) {
  Value x = n.in(0);
  int64_t axis = n.axis(n.intAttr("axis", n.opset() < 13 ? 1 : -1), std::max<int64_t>(n.rank(x), 1));
  if (n.failed())
    return;
  if (n.opset() >= 13 || axis == n.rank(x) - 1)
    return n.out(hardmaxOver(n, x, axis));
  n.out(n.reshape(hardmaxOver(n, flattenedFrom(n, x, axis), 1), n.dims(x)));
}

void onnx_import::addActivationOps(OpTable &t) {
  t.add(kOnnx, "Relu", unary<ReluOp>);
  t.add(kOnnx, "Tanh", unary<TanhOp>);
  t.add(kOnnx, "Sigmoid", unary<SigmoidOp>);
  t.add(kOnnx, "Softplus", unary<SoftplusOp>);
  t.add(kOnnx, "LeakyRelu", leakyRelu);
  t.add(kOnnx, "Elu", elu);
  t.add(kOnnx, "Selu", selu);
  t.add(kOnnx, "Celu", celu);
  t.add(kOnnx, "HardSigmoid", hardSigmoid);
  t.add(kOnnx, "HardSwish", hardSwish);
  t.add(kOnnx, "Softsign", softsign);
  t.add(kOnnx, "Mish", mish);
  t.add(kOnnx, "Swish", swish);
  t.add(kOnnx, "SwiGLU", swiGlu);
  t.add(kOnnx, "Gelu", gelu);
  t.add(kOnnx, "ThresholdedRelu", thresholdedRelu);
  t.add(kOnnx, "Shrink", shrink);
  t.add(kOnnx, "PRelu", pRelu);
  t.add(kOnnx, "Softmax", softmax<false>);
  t.add(kOnnx, "LogSoftmax", softmax<true>);
  t.add(kOnnx, "Hardmax", hardmax);
}
