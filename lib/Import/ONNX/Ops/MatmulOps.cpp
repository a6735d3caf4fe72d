// Matrix products.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

static void matmul(Node &n) { n.out(n.create<MatMulOp>(n.in(0), n.in(1))); }

// alpha A B + beta C; null after an error.
static Value gemmResult(Node &n) {
  Value a = n.in(0), b = n.in(1), c = n.opt(2);
  double alpha = n.floatAttr("alpha", 1.0f), beta = n.floatAttr("beta", 1.0f);
  if (!n.failed() && (n.rank(a) != 2 || n.rank(b) != 2))
    n.error("expected matrices");
  if (n.failed())
    return {};
  if (n.boolAttr("transA", false))
    a = n.swapLast(a);
  if (n.boolAttr("transB", false))
    b = n.swapLast(b);
  Value product = n.create<MatMulOp>(a, b);
  if (alpha != 1.0)
    product = n.mul(product, alpha);
  if (c && beta != 0.0)
    product = n.add(product, beta == 1.0 ? c : n.mul(c, beta));
  return product;
}

static void gemm(Node &n) { n.out(gemmResult(n)); }

// A Gemm and an activation, whose own attributes are called activation_alpha etc.
static void fusedGemm(Node &n) {
  Value x = gemmResult(n);
  std::string kind = n.stringAttr("activation", "");
  double alpha = n.floatAttr("activation_alpha", kind == "HardSigmoid" ? 0.2f : 0.01f);
  if (n.failed())
    return;
  mlir::Type type = n.elem(x);
  if (kind.empty())
    return n.out(x);
  if (kind == "Relu")
    return n.out(n.create<ReluOp>(x));
  if (kind == "Tanh")
    return n.out(n.create<TanhOp>(x));
  if (kind == "Sigmoid")
    return n.out(n.create<SigmoidOp>(x));
  if (kind == "Softplus")
    return n.out(n.create<SoftplusOp>(x));
  if (kind == "LeakyRelu")
    return n.out(n.create<LeakyReluOp>(x, n.f64(alpha)));
  if (kind == "HardSigmoid") {
    Value line = n.add(n.mul(x, alpha), n.floatAttr("activation_beta", 0.5f));
    return n.out(n.create<ClipOp>(line, n.scalar(type, 0), n.scalar(type, 1)));
  }
  n.unsupported("with activation '" + llvm::Twine(kind) + "'",
                "Relu, Tanh, Sigmoid, Softplus, LeakyRelu and HardSigmoid are supported");
}

/// Swaps the batch dimensions that com.microsoft.FusedMatMul keeps before the last
/// one: [a, M, b, K] stands for [a, b, M, K].
static Value withBatchFirst(Node &n, Value x) {
  int64_t rank = n.rank(x);
  if (n.failed() || rank < 3)
    return x;
  Ints perm;
  for (int64_t i = 1; i < rank - 1; ++i)
    perm.push_back(i);
  perm.append({0, rank - 1});
  return n.transpose(x, perm);
}

static void fusedMatMul(Node &n) {
  Value a = n.in(0), b = n.in(1);
  if (n.boolAttr("transBatchA", false))
    a = withBatchFirst(n, a);
  if (n.boolAttr("transBatchB", false))
    b = withBatchFirst(n, b);
  if (n.boolAttr("transA", false) && n.rank(a) > 1)
    a = n.swapLast(a);
  if (n.boolAttr("transB", false) && n.rank(b) > 1)
    b = n.swapLast(b);
  Value product = n.create<MatMulOp>(a, b);
  double alpha = n.floatAttr("alpha", 1.0f);
  n.out(alpha == 1.0 ? product : n.mul(product, alpha));
}

void onnx_import::addMatmulOps(OpTable &t) {
  t.add(kOnnx, "MatMul", matmul);
  t.add(kOnnx, "Gemm", gemm);
  t.add(kMicrosoft, "FusedGemm", fusedGemm);
  t.add(kMicrosoft, "FusedMatMul", fusedMatMul);
  t.add(kMicrosoft, "TransposeMatMul", fusedMatMul);
}
