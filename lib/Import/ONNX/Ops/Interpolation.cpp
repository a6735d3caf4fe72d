#include "Interpolation.h"

#include "Spatial.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

Near onnx_import::elementsNear(Node &n, Value position, const SymExpr &first, const SymExpr &count) {
  Dims dims = n.dims(position);
  dims.push_back(1);
  mlir::Type type = n.elem(position);
  Value wide = n.reshape(position, dims);
  Value start = n.cast(sizeScalar(n, first), type);
  Value place = n.add(n.create<FloorOp>(wide), n.add(n.iota(type, {count}, 0), start));
  return {place, n.create<AbsOp>(n.sub(wide, place))};
}

Value onnx_import::linearWeight(Node &n, Value distance) {
  mlir::Type type = n.elem(distance);
  return n.create<ReluOp>(n.sub(n.scalar(type, 1), distance));
}

Value onnx_import::cubicWeight(Node &n, Value d, double a) {
  mlir::Type type = n.elem(d);
  Value square = n.mul(d, d);
  Value inner = n.add(n.mul(n.add(n.mul(d, a + 2), -(a + 3)), square), 1);
  Value outer = n.mul(n.add(n.mul(n.add(n.mul(d, a), -5 * a), d), 8 * a), d);
  outer = n.add(outer, -4 * a);
  Value tail = n.select(n.compare(Predicate::LT, d, n.scalar(type, 2)), outer, n.scalar(type, 0));
  return n.select(n.compare(Predicate::LE, d, n.scalar(type, 1)), inner, tail);
}

Value onnx_import::asIndex(Node &n, Value place, const SymExpr &size) {
  mlir::Type i64 = n.b.getI64Type();
  return n.create<ClipOp>(n.cast(place, i64), n.scalar(i64, 0), sizeScalar(n, size - SymExpr(1)));
}

Value onnx_import::isInside(Node &n, Value place, const SymExpr &size) {
  mlir::Type type = n.elem(place);
  return n.create<AndOp>(n.compare(Predicate::GE, place, n.scalar(type, 0)),
                         n.compare(Predicate::LT, place, n.cast(sizeScalar(n, size), type)));
}

Value onnx_import::readTaps(Node &n, Value x, llvm::ArrayRef<TapAxis> axes) {
  Dims dims = n.dims(x);
  if (n.failed() || axes.empty() || dims.size() != axes.size() + 2)
    return {};
  // The taps of dimension d at their place among the taps of all dimensions.
  auto spread = [&](Value v, size_t d, bool withChannel) {
    Dims own = n.dims(v), wide(own.begin(), own.end() - 1);
    if (withChannel)
      wide.insert(wide.begin() + 1, SymExpr(1));
    for (size_t i = 0; i < axes.size(); ++i)
      wide.push_back(i == d ? own.back() : SymExpr(1));
    return n.reshape(v, wide);
  };
  Value flat;
  for (auto [d, axis] : llvm::enumerate(axes)) {
    Value own = spread(axis.index, d, false);
    flat = flat ? n.add(n.mul(flat, sizeScalar(n, dims[2 + d])), own) : own;
  }
  Dims all = n.dims(flat);
  if (n.failed())
    return {};
  SymExpr count = product(llvm::ArrayRef<SymExpr>(all).drop_front());
  Value index = n.broadcast(n.reshape(flat, {all[0], 1, count}), {all[0], dims[1], count});
  Value image = n.reshape(x, {dims[0], dims[1], product(llvm::ArrayRef<SymExpr>(dims).drop_front(2))});
  Dims result{all[0], dims[1]};
  result.append(all.begin() + 1, all.end());
  Value taps = n.reshape(n.create<GatherElementsOp>(image, index, 2), result);
  for (auto [d, axis] : llvm::enumerate(axes)) {
    if (axis.inside)
      taps = n.select(spread(axis.inside, d, true), taps, n.scalar(n.elem(x), 0));
    if (axis.weight)
      taps = n.mul(taps, spread(n.cast(axis.weight, n.elem(x)), d, true));
  }
  return taps;
}
