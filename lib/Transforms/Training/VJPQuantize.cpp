// Gradients through quantization that stays in floats.
#include "VJPRules.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

/// g where the integer behind the result was not saturated, else 0.
static LogicalResult fakeQuantizeVJP(FakeQuantizeOp op, Value g, const VJPContext &c) {
  Value x = op.getInput();
  if (!c.isActive(x))
    return success();
  Type element = getElementTypeOrSelf(x);
  auto storage = cast<IntegerType>(op.getStorage());
  bool isUnsigned = storage.isUnsigned();
  double low = isUnsigned ? 0 : -double(1 << (storage.getWidth() - 1)) + (op.getNarrowRange() ? 1 : 0);
  double high = double(1 << (isUnsigned ? storage.getWidth() : storage.getWidth() - 1)) - 1;
  Value q = c.create<RoundOp>(c.div(x, op.getScale()));
  if (op.getZeroPoint())
    q = c.add(q, c.create<CastOp>(op.getZeroPoint(), element));
  Value within = c.create<AndOp>(c.create<CompareOp>(Predicate::GE, q, c.scalar(low, element)),
                                 c.create<CompareOp>(Predicate::LE, q, c.scalar(high, element)));
  c.accumulate(x, c.create<WhereOp>(within, g, c.scalar(0.0, element)));
  return success();
}

LogicalResult llmopt::applyQuantizeVJP(Operation *op, Value g, const VJPContext &c) {
  auto fake = dyn_cast<FakeQuantizeOp>(op);
  return fake ? fakeQuantizeVJP(fake, g, c) : failure();
}
