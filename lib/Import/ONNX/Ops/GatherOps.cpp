// Operators that pick elements by index.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

static void gather(Node &n) {
  Value x = n.in(0);
  n.out(n.create<GatherOp>(x, n.in(1), n.axis(n.intAttr("axis", 0), n.rank(x))));
}

static void gatherElements(Node &n) {
  Value x = n.in(0);
  n.out(n.create<GatherElementsOp>(x, n.in(1), n.axis(n.intAttr("axis", 0), n.rank(x))));
}

static void gatherND(Node &n) { n.out(n.create<GatherNDOp>(n.in(0), n.in(1), n.intAttr("batch_dims", 0))); }

// The index along `axis` equals the wanted one; a negative one counts from the end.
static void oneHot(Node &n) {
  Value indices = n.in(0), depth = n.in(1), choices = n.in(2);
  int64_t rank = n.rank(indices) + 1, axis = n.axis(n.intAttr("axis", -1), rank);
  if (!n.failed() && n.isFloat(depth))
    depth = n.cast(depth, n.b.getI64Type());
  Dims count = n.values(depth, "the depth");
  if (n.failed())
    return;
  if (count.size() != 1 || n.rank(choices) != 1)
    return n.error("expected one depth, and two values");
  mlir::Type i64 = n.b.getI64Type();
  Dims dims = n.dims(indices), wide = dims;
  dims.insert(dims.begin() + axis, SymExpr(1));
  wide.insert(wide.begin() + axis, count[0]);
  Value wanted = n.reshape(n.cast(indices, i64), dims);
  Value size = n.cast(n.reshape(depth, {}), i64), zero = n.scalar(i64, 0);
  wanted = n.select(n.compare(Predicate::LT, wanted, zero), n.add(wanted, size), wanted);
  Value hit = n.compare(Predicate::EQ, n.iota(i64, wide, axis), wanted);
  Value off = n.reshape(n.slice(choices, 0, 0, 1), {});
  Value on = n.reshape(n.slice(choices, 0, 1, 1), {});
  n.out(n.select(hit, on, off));
}

void onnx_import::addGatherOps(OpTable &t) {
  t.add(kOnnx, "Gather", gather);
  t.add(kOnnx, "GatherElements", gatherElements);
  t.add(kOnnx, "GatherND", gatherND);
  t.add(kOnnx, "OneHot", oneHot);
}
