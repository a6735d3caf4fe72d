// Determinants.
#include "Spatial.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// Steps of the elimination are written out.
static constexpr int64_t kMaxOrder = 64;

// Gaussian elimination with row pivoting; each step leaves a matrix [.., m - 1, m - 1]
// (the Schur complement of the pivot) and a factor, the pivot with the sign of its row.
static void det(Node &n) {
  Value x = n.in(0);
  Dims dims = n.dims(x);
  int64_t order = n.staticDim(x, std::max<int64_t>(n.rank(x), 1) - 1, "the order of the matrix");
  if (!n.failed() && (dims.size() < 2 || (dims[dims.size() - 2] - dims.back()).getConstant().value_or(0) != 0))
    n.error("expected square matrices");
  if (!n.failed())
    n.requireEqual(dims[dims.size() - 2], dims.back(), "rows");
  if (!n.failed() && order > kMaxOrder)
    n.unsupported("of order " + llvm::Twine(order), "orders up to 64 work");
  if (n.failed())
    return;
  mlir::Type type = n.elem(x), i64 = n.b.getI64Type();
  Dims lead(dims.begin(), dims.end() - 2);
  SymExpr batch = product(lead);
  Value rest = n.reshape(x, {batch, SymExpr(order), SymExpr(order)}), result = n.filled(type, 1, {batch, 1, 1});
  for (int64_t m = order; m > 1 && !n.failed(); --m) {
    Value column = n.create<AbsOp>(n.reshape(n.slice(rest, 2, 0, 1), {batch, SymExpr(m)}));
    Value at = n.create<ArgReduceOp>(column, 1, /*keepdims=*/true, /*smallest=*/false, /*last=*/false);
    Value row = n.create<GatherNDOp>(rest, n.reshape(at, {batch, 1, 1}), 1); // [batch, 1, m]
    // The rows that stay: those behind the pivot's move up.
    Value numbers = n.iota(i64, {SymExpr(1), SymExpr(m - 1)}, 1);
    Value behind = n.compare(Predicate::GE, numbers, at);
    Value kept = n.select(behind, n.add(numbers, 1), numbers);
    Value others = n.create<GatherNDOp>(rest, n.reshape(kept, {batch, SymExpr(m - 1), 1}), 1);
    Value pivot = n.slice(row, 2, 0, 1), zero = n.scalar(type, 0), one = n.scalar(type, 1);
    Value odd = n.compare(Predicate::EQ, n.create<ModOp>(at, n.scalar(i64, 2), false), n.scalar(i64, 1));
    Value sign = n.select(n.reshape(odd, {batch, 1, 1}), n.scalar(type, -1), one);
    result = n.mul(result, n.mul(pivot, sign));
    Value safe = n.select(n.compare(Predicate::EQ, pivot, zero), one, pivot);
    Value factors = n.div(n.slice(others, 2, 0, 1), safe);
    rest = n.sub(n.slice(others, 2, 1, m - 1), n.mul(factors, n.slice(row, 2, 1, m - 1)));
  }
  if (order > 0)
    result = n.mul(result, rest);
  n.out(n.reshape(result, lead));
}

void onnx_import::addLinearAlgebraOps(OpTable &t) { t.add(kOnnx, "Det", det); }
