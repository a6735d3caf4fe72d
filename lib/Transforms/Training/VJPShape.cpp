// Gradients of operations that move elements.
#include "VJPRules.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// g where elements start, start + step, .. of a dimension were taken, as if all from
/// `start` (the lowest) to the last one had been; zeros between.
Value spread(Value g, int64_t axis, int64_t step, SymExpr &start, const VJPContext &c) {
  SmallVector<SymExpr> dims = getDims(g), zeros(dims.size(), SymExpr(0));
  SymExpr count = dims[axis];
  if (step < 0) {
    SmallVector<SymExpr> last = zeros;
    last[axis] = count - SymExpr(1);
    start += last[axis] * SymExpr(step);
    SmallVector<int64_t> steps(dims.size(), 1);
    steps[axis] = -1;
    g = c.create<SliceOp>(g, last, dims, steps);
    step = -step;
  }
  if (step == 1)
    return g;
  // [.., n, ..] -> [.., n, 1, ..] -> [.., n, step, ..] -> [.., n step, ..]
  SmallVector<SymExpr> split = dims, none(dims.size() + 1, SymExpr(0)), more = none;
  split.insert(split.begin() + axis + 1, SymExpr(1));
  more[axis + 1] = step - 1;
  g = c.reshape(g, split);
  split[axis + 1] = step;
  MLIRContext *context = g.getContext();
  Type element = getElementTypeOrSelf(g);
  g = c.create<PadOp>(getTensorType(split, element), g, c.scalar(0.0, element), getSymValues(context, none),
                      getSymValues(context, more));
  dims[axis] = count * SymExpr(step);
  g = c.reshape(g, dims);
  dims[axis] = dims[axis] - SymExpr(step - 1);
  return c.create<SliceOp>(g, zeros, dims);
}

LogicalResult sliceVJP(SliceOp slice, Value g, const VJPContext &c) {
  // Put the slice back into a frame of zeros.
  SmallVector<SymExpr> dims = getDims(slice.getInput()), low = getExprs(slice.getStarts()), high;
  for (auto [axis, step] : llvm::enumerate(slice.getSteps()))
    if (step != 1)
      g = spread(g, axis, step, low[axis], c);
  for (auto [dim, size, start] : llvm::zip(dims, getDims(g), low))
    high.push_back(dim - start - size);
  MLIRContext *context = slice.getContext();
  Value zero = c.scalar(0.0, getElementTypeOrSelf(g));
  c.accumulate(slice.getInput(), c.create<PadOp>(slice.getInput().getType(), g, zero, getSymValues(context, low),
                                                 getSymValues(context, high)));
  return success();
}

/// The operand's part goes back to it, the sum of the border to the value.
LogicalResult padVJP(PadOp pad, Value g, const VJPContext &c) {
  SmallVector<SymExpr> dims = getDims(pad.getInput()), low = getExprs(pad.getLow());
  Value inner = c.create<SliceOp>(g, low, dims);
  c.accumulate(pad.getInput(), inner);
  if (c.isActive(pad.getValue())) {
    auto total = [&](Value v) { return c.sum(v, llvm::to_vector(llvm::seq<int64_t>(0, dims.size())), false); };
    c.accumulate(pad.getValue(), c.sub(total(g), total(inner)));
  }
  return success();
}

LogicalResult concatVJP(ConcatOp concat, Value g, const VJPContext &c) {
  int64_t axis = concat.getAxis();
  SymExpr position(0);
  for (Value input : concat.getInputs()) {
    SmallVector<SymExpr> sizes = getDims(input), starts(sizes.size(), SymExpr(0));
    starts[axis] = position;
    position += sizes[axis];
    if (c.isActive(input))
      c.accumulate(input, c.create<SliceOp>(g, starts, sizes));
  }
  return success();
}

} // namespace

LogicalResult llmopt::applyShapeVJP(Operation *op, Value g, const VJPContext &c) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<ReshapeOp>([&](ReshapeOp reshape) {
        c.accumulate(reshape.getInput(), c.reshape(g, getDims(reshape.getInput())));
        return success();
      })
      .Case<BroadcastOp>([&](BroadcastOp broadcast) {
        c.accumulate(broadcast.getInput(), g); // accumulate sums what was repeated
        return success();
      })
      .Case<TransposeOp>([&](TransposeOp transpose) {
        SmallVector<int64_t> inverse(transpose.getPerm().size());
        for (auto [i, p] : llvm::enumerate(transpose.getPerm()))
          inverse[p] = i;
        c.accumulate(transpose.getInput(), c.transpose(g, inverse));
        return success();
      })
      .Case<SliceOp>([&](SliceOp slice) { return sliceVJP(slice, g, c); })
      .Case<PadOp>([&](PadOp pad) { return padVJP(pad, g, c); })
      .Case<TriluOp>([&](TriluOp trilu) {
        c.accumulate(trilu.getInput(), c.create<TriluOp>(g, trilu.getDiagonalAttr(), trilu.getUpperAttr()));
        return success();
      })
      .Case<ConcatOp>([&](ConcatOp concat) { return concatVJP(concat, g, c); })
      .Default([](Operation *) { return failure(); });
}
