// Matrix products.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

static void matmul(Node &n) { n.out(n.create<MatMulOp>(n.in(0), n.in(1))); }

// alpha A B + beta C
static void gemm(Node &n) {
  Value a = n.in(0), b = n.in(1), c = n.opt(2);
  double alpha = n.floatAttr("alpha", 1.0f), beta = n.floatAttr("beta", 1.0f);
  if (!n.failed() && (n.rank(a) != 2 || n.rank(b) != 2))
    return n.error("expected matrices");
  if (n.boolAttr("transA", false))
    a = n.swapLast(a);
  if (n.boolAttr("transB", false))
    b = n.swapLast(b);
  Value product = n.create<MatMulOp>(a, b);
  if (alpha != 1.0)
    product = n.mul(product, alpha);
  if (c && beta != 0.0)
    product = n.add(product, beta == 1.0 ? c : n.mul(c, beta));
  n.out(product);
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
  t.add(kMicrosoft, "FusedMatMul", fusedMatMul);
  t.add(kMicrosoft, "TransposeMatMul", fusedMatMul);
}
