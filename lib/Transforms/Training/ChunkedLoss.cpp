// A language model's loss, forward and backward in one loop over pieces of the tokens:
// logits are by far the largest values of such a model.
#include "Losses.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

Value integer(const VJPContext &c, const SymExpr &value) {
  auto type = RankedTensorType::get({1}, c.builder.getI64Type());
  return c.reshape(c.create<ConstantOp>(getSymbolicAttr(type, {value})), {});
}

/// labels [B, S] -> [B S]: for each token the label of the next one, -100 for the last.
Value shiftLabels(Value labels, const VJPContext &c) {
  SmallVector<SymExpr> dims = getDims(labels), shorter{dims[0], dims[1] - SymExpr(1)};
  Value next = c.create<SliceOp>(labels, ArrayRef<SymExpr>{0, 1}, shorter);
  MLIRContext *context = labels.getContext();
  Value padded = c.create<PadOp>(labels.getType(), next, integer(c, -100), getSymValues(context, {0, 0}),
                                 getSymValues(context, {0, 1}));
  return c.reshape(padded, {dims[0] * dims[1]});
}

} // namespace

FailureOr<ChunkedLoss> llmopt::buildChunkedCausal(LinearOp head, int64_t chunk, const LossInputs &inputs,
                                                  llvm::function_ref<bool(Value)> isTrained, const VJPContext &c) {
  OpBuilder &builder = c.builder;
  Value hidden = head.getInput();
  SmallVector<SymExpr> dims = getDims(hidden), logits = getDims(head.getResult());
  SymExpr tokens = dims[0] * dims[1], width = dims[2], trips = SymExpr::ceilDiv(tokens, chunk);
  Type f32 = builder.getF32Type(), i64 = builder.getI64Type();
  Value labels = inputs.label("labels", getTensorType({dims[0], dims[1]}, i64), logits.back());
  Value smoothing = inputs.hyper("label_smoothing", 0);
  Value next = shiftLabels(labels, c), rows = c.reshape(hidden, {tokens, width});

  // States: the loss, how many labels count, then gradients of what is trained.
  SmallVector<Value> trained;
  for (Value operand : {head.getWeight(), head.getBias()})
    if (operand && isTrained(operand))
      trained.push_back(operand);
  SmallVector<Value> inits(2, c.scalar(0, f32));
  for (Value operand : trained)
    inits.push_back(c.create<BroadcastOp>(c.scalar(0, f32), getDims(operand)));
  SmallVector<Type> types = llvm::to_vector(ValueRange(inits).getTypes());
  types.push_back(getTensorType({trips, chunk, width}, f32));
  auto loop = LoopOp::create(builder, c.loc, types, integer(c, trips), Value(), inits, ArrayRef<bool>{false});
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&loop.getBody());
  Value number = block->addArgument(RankedTensorType::get({}, i64), c.loc);
  SmallVector<Value> states;
  for (Value init : inits)
    states.push_back(block->addArgument(init.getType(), c.loc));

  // Tokens behind the last one are it again, without a label.
  Value first = c.mul(number, integer(c, chunk));
  Value at = c.add(c.create<IotaOp>(getTensorType({chunk}, i64), 0), first), count = integer(c, tokens);
  Value exists = c.create<CompareOp>(Predicate::LT, at, count);
  at = c.create<MinOp>(at, c.sub(count, integer(c, 1)));
  Value piece = c.create<GatherOp>(rows, at, uint64_t(0)), label = c.create<GatherOp>(next, at, uint64_t(0));
  label = c.create<WhereOp>(exists, label, integer(c, -100));
  Value scores = c.create<LinearOp>(piece, head.getWeight(), head.getBias(), head.getTransposeWeightAttr());
  Loss part = buildCrossEntropy(scores, label, smoothing, c);
  SmallVector<Value> targets{piece};
  targets.append(trained);
  FailureOr<SmallVector<Value>> gradients = buildGradients(builder, part.sum, targets);
  if (failed(gradients))
    return failure();
  auto always = RankedTensorType::get({}, builder.getI1Type());
  SmallVector<Value> yielded{c.create<ConstantOp>(DenseElementsAttr::get(always, true)), c.add(states[0], part.sum),
                             c.add(states[1], part.weight)};
  for (size_t i = 0; i < trained.size(); ++i)
    yielded.push_back(c.add(states[i + 2], (*gradients)[i + 1]));
  yielded.push_back(gradients->front());
  YieldOp::create(builder, c.loc, yielded);

  builder.setInsertionPointAfter(loop);
  Value flat = c.reshape(loop.getResults().back(), {trips * SymExpr(chunk), width});
  flat = c.create<SliceOp>(flat, ArrayRef<SymExpr>{0, 0}, ArrayRef<SymExpr>{tokens, width});
  ChunkedLoss result{{loop.getResult(0), loop.getResult(1)}, {{hidden, c.reshape(flat, dims)}}};
  for (auto [i, operand] : llvm::enumerate(trained))
    result.gradients.push_back({operand, loop.getResult(i + 2)});
  return result;
}
