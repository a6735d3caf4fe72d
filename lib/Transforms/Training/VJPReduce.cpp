// Gradients of reductions and softmax.
#include "VJPRules.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// `value`, a result of reducing `axes` of `input`, with the axes back as 1.
Value keepAxes(const VJPContext &c, Value value, Value input, ArrayRef<int64_t> axes) {
  SmallVector<SymExpr> dims = getDims(input);
  for (int64_t axis : axes)
    dims[axis] = 1;
  return c.reshape(value, dims);
}

LogicalResult reduceVJP(ReduceOp reduce, Value g, const VJPContext &c) {
  Value x = reduce.getInput();
  Value kept = keepAxes(c, g, x, reduce.getAxes());
  SmallVector<SymExpr> dims = getDims(x);
  switch (reduce.getKind()) {
  case ReduceKind::Sum:
    c.accumulate(x, c.create<BroadcastOp>(kept, dims));
    return success();
  case ReduceKind::Mean: {
    // Multiplying by the mean of ones divides by the count, static or not.
    Value ones = c.create<BroadcastOp>(c.scalar(1.0, getElementTypeOrSelf(x)), dims);
    Value count = c.sum(ones, reduce.getAxes(), /*keepdims=*/true);
    c.accumulate(x, c.create<BroadcastOp>(c.div(kept, count), dims));
    return success();
  }
  case ReduceKind::SumSquare:
    c.accumulate(x, c.mul(kept, c.mul(x, 2.0)));
    return success();
  case ReduceKind::Max:
  case ReduceKind::Min: { // equal shares for all that are equal
    Value taken = c.create<CastOp>(c.create<CompareOp>(Predicate::EQ, x, keepAxes(c, reduce, x, reduce.getAxes())),
                                   getElementTypeOrSelf(x));
    c.accumulate(x, c.mul(taken, c.div(kept, c.sum(taken, reduce.getAxes(), /*keepdims=*/true))));
    return success();
  }
  case ReduceKind::L1:
    c.accumulate(x, c.mul(kept, c.create<SignOp>(x)));
    return success();
  case ReduceKind::L2:
    c.accumulate(x, c.mul(c.div(kept, keepAxes(c, reduce, x, reduce.getAxes())), x));
    return success();
  case ReduceKind::LogSum:
    kept = c.div(kept, c.create<ExpOp>(keepAxes(c, reduce, x, reduce.getAxes())));
    c.accumulate(x, c.create<BroadcastOp>(kept, dims));
    return success();
  case ReduceKind::LogSumExp:
    c.accumulate(x, c.mul(kept, c.create<ExpOp>(c.sub(x, keepAxes(c, reduce, x, reduce.getAxes())))));
    return success();
  case ReduceKind::Prod:
    return failure();
  }
  return failure();
}

LogicalResult softmaxVJP(SoftmaxOp softmax, Value g, const VJPContext &c) {
  Value y = softmax.getResult();
  int64_t axis = softmax.getAxis();
  if (softmax.getLog()) // g - softmax(x) sum g
    c.accumulate(softmax.getInput(), c.sub(g, c.mul(c.create<ExpOp>(y), c.sum(g, {axis}, true))));
  else // y (g - sum g y)
    c.accumulate(softmax.getInput(), c.mul(y, c.sub(g, c.sum(c.mul(g, y), {axis}, true))));
  return success();
}

} // namespace

LogicalResult llmopt::applyReduceVJP(Operation *op, Value g, const VJPContext &c) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<ReduceOp>([&](ReduceOp reduce) { return reduceVJP(reduce, g, c); })
      .Case<CumSumOp>([&](CumSumOp sum) { // every element goes into the sums behind it
        c.accumulate(sum.getInput(), c.create<CumSumOp>(g, sum.getAxisAttr(), sum.getExclusiveAttr(),
                                                        c.builder.getBoolAttr(!sum.getReverse())));
        return success();
      })
      .Case<SoftmaxOp>([&](SoftmaxOp softmax) { return softmaxVJP(softmax, g, c); })
      .Default([](Operation *) { return failure(); });
}
