// Operators that pick elements by index.
#include "OpTable.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Matchers.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

// Indices of data are brought into range when they are read; constant ones that are
// not in it are a broken model. Inside of branches nobody may ever read them.
static void checkIndices(Node &n, Value x, Value indices, int64_t axis) {
  static constexpr int64_t kMaxChecked = 1 << 16;
  mlir::DenseIntElementsAttr constant;
  if (n.failed() || !llvm::isa_and_nonnull<mlir::func::FuncOp>(n.b.getInsertionBlock()->getParentOp()) ||
      !mlir::matchPattern(indices, mlir::m_Constant(&constant)) || constant.getNumElements() > kMaxChecked)
    return;
  std::optional<int64_t> size = n.dims(x)[axis].getConstant();
  if (!size)
    return;
  for (const llvm::APInt &value : constant) {
    int64_t index = value.getSExtValue();
    if (index < -*size || index >= *size)
      return n.error("expected indices from -" + llvm::Twine(*size) + " to " + llvm::Twine(*size - 1) + ", but got " +
                     llvm::Twine(index));
  }
}

static void gather(Node &n) {
  Value x = n.in(0), indices = n.in(1);
  int64_t axis = n.axis(n.intAttr("axis", 0), n.rank(x));
  checkIndices(n, x, indices, axis);
  n.out(n.create<GatherOp>(x, indices, axis));
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
