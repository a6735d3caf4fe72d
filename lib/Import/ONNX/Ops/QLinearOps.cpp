// ONNX Runtime's operators on quantized values: dequantize, compute, quantize.
// Only QGemm accumulates integers, as its bias is one.
#include "OpTable.h"
#include "Ops/QuantBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// Of one element, or as it is.
static Value asScalar(Node &n, Value v) {
  if (!v || n.failed())
    return v;
  Dims dims = n.dims(v);
  return dims.size() == 1 && dims[0].isConstant(1) ? n.reshape(v, {}) : v;
}

/// The value of inputs i (integers), i + 1 (scale) and i + 2 (zero point).
static Value real(Node &n, unsigned i) {
  return n.create<DequantizeOp>(n.in(i), asScalar(n, n.in(i + 1)), asScalar(n, n.opt(i + 2)));
}

/// `x` by the scale in input i and the zero point in i + 1; `type` where there is none.
static void finish(Node &n, Value x, unsigned i, mlir::Type type) {
  Value zero = asScalar(n, n.opt(i + 1));
  n.out(quantizeTo(n, x, asScalar(n, n.in(i)), zero, zero ? n.elem(zero) : type));
}

template <typename Op> static void binary(Node &n) {
  finish(n, n.create<Op>(real(n, 0), real(n, 3)), 6, n.elem(n.in(0)));
}

static void sigmoid(Node &n) { finish(n, n.create<SigmoidOp>(real(n, 0)), 3, n.elem(n.in(0))); }

static void leakyRelu(Node &n) {
  finish(n, n.create<LeakyReluOp>(real(n, 0), n.f64(n.floatAttr("alpha", 0.01f))), 3, n.elem(n.in(0)));
}

static void softmax(Node &n) {
  Value x = real(n, 0);
  int64_t axis = n.axis(n.intAttr("axis", -1), n.rank(x));
  if (n.failed())
    return;
  if (n.intAttr("opset", 13) < 13 && axis != n.rank(x) - 1)
    return n.unsupported("over several dimensions");
  finish(n, n.create<SoftmaxOp>(x, axis, /*log=*/false), 3, n.elem(n.in(0)));
}

// scale, zero point, then three inputs per part.
static void concat(Node &n) {
  llvm::SmallVector<Value> parts;
  if (n.numInputs() < 5 || (n.numInputs() - 2) % 3)
    return n.error("expected a scale, a zero point, and values with scale and zero point each");
  for (unsigned i = 2; i < n.numInputs(); i += 3)
    parts.push_back(real(n, i));
  if (n.failed())
    return;
  finish(n, n.concat(parts, n.axis(n.intAttr("axis", 0), n.rank(parts[0]))), 0, n.elem(n.in(2)));
}

static void where(Node &n) { finish(n, n.select(n.in(0), real(n, 1), real(n, 4)), 7, n.elem(n.in(1))); }

static void reduceMean(Node &n) {
  Value x = real(n, 0);
  Ints axes = n.intsAttr("axes").value_or(Ints());
  if (axes.empty())
    axes = llvm::to_vector(llvm::seq<int64_t>(0, n.rank(x)));
  axes = n.axes(axes, n.rank(x));
  if (!n.failed())
    finish(n, n.reduce(ReduceKind::Mean, x, axes, n.boolAttr("keepdims", true)), 3, n.elem(n.in(0)));
}

static void globalAveragePool(Node &n) {
  Value x = real(n, 0);
  int64_t rank = n.rank(x), first = n.boolAttr("channels_last", false) ? 1 : 2;
  if (!n.failed() && rank < 3)
    return n.error("expected an input of rank 3 or more");
  Ints axes = llvm::to_vector(llvm::seq<int64_t>(first, first + rank - 2));
  if (!n.failed())
    finish(n, n.reduce(ReduceKind::Mean, x, axes), 3, n.elem(n.in(0)));
}

// alpha A B + C, where C is an integer in steps of alpha scaleA scaleB. A result
// without a scale is real.
static void gemm(Node &n) {
  Value a = n.in(0), b = n.in(3), c = n.opt(6);
  if (!n.failed() && (n.rank(a) != 2 || n.rank(b) != 2))
    return n.error("expected matrices");
  if (n.boolAttr("transA", false))
    a = n.swapLast(a);
  if (n.boolAttr("transB", false))
    b = n.swapLast(b);
  Value product = integerProduct(n, a, asScalar(n, n.opt(2)), b, asScalar(n, n.opt(5)));
  if (c)
    product = n.add(product, c);
  Value scale = n.mul(asScalar(n, n.in(1)), asScalar(n, n.in(4)));
  double alpha = n.floatAttr("alpha", 1.0f);
  if (alpha != 1.0)
    scale = n.mul(scale, alpha);
  if (n.failed())
    return;
  Value result = n.mul(n.cast(product, n.elem(scale)), scale);
  if (!n.has(7))
    return n.out(result);
  finish(n, result, 7, n.elem(n.in(0)));
}

void onnx_import::addQLinearOps(OpTable &t) {
  t.add(kMicrosoft, "QGemm", gemm);
  t.add(kMicrosoft, "QLinearAdd", binary<AddOp>);
  t.add(kMicrosoft, "QLinearConcat", concat);
  t.add(kMicrosoft, "QLinearGlobalAveragePool", globalAveragePool);
  t.add(kMicrosoft, "QLinearLeakyRelu", leakyRelu);
  t.add(kMicrosoft, "QLinearMul", binary<MulOp>);
  t.add(kMicrosoft, "QLinearReduceMean", reduceMean);
  t.add(kMicrosoft, "QLinearSigmoid", sigmoid);
  t.add(kMicrosoft, "QLinearSoftmax", softmax);
  t.add(kMicrosoft, "QLinearWhere", where);
}
