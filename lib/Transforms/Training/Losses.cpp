#include "Losses.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// Labels of this value have no part in the loss (PyTorch's ignore_index).
constexpr int64_t kIgnored = -100;

class LossBuilder {
public:
  LossBuilder(Value predictions, const LossInputs &inputs, const VJPContext &context, std::string &error)
      : x(predictions), dims(getDims(predictions)), inputs(inputs), c(context), error(error) {}

  FailureOr<Loss> build(StringRef kind) {
    if (kind == "cross_entropy") {
      if (dims.size() < 2)
        return wrong("logits [batch, .., classes]");
      Value labels = inputs.label("labels", integers(ArrayRef(dims).drop_back()), dims.back());
      return crossEntropy(x, labels, inputs.hyper("label_smoothing", 0));
    }
    if (kind == "causal")
      return causal();
    if (kind == "bce" || kind == "mse")
      return perElement(kind == "bce");
    if (kind == "span")
      return span();
    if (kind == "kl")
      return distil();
    if (kind == "contrastive")
      return contrastive();
    error = "expected a loss cross_entropy, causal, bce, mse, span, kl or contrastive, but got " + kind.str();
    return failure();
  }

  /// -sum_j q_j log softmax(logits)_j with q = (1 - e) onehot + e / C, over rows whose
  /// label counts.
  Loss crossEntropy(Value logits, Value labels, Value smoothing) {
    SmallVector<SymExpr> rows = getDims(labels), column = rows, classes(rows.size(), SymExpr(1));
    int64_t last = rows.size();
    column.push_back(1);
    classes.push_back(getDims(logits).back());
    Value zero = c.scalar(0, f32()), logProbability = logSoftmax(logits);
    Value ids = c.create<IotaOp>(getTensorType(classes, c.builder.getI64Type()), last);
    Value hit = c.create<CompareOp>(Predicate::EQ, c.reshape(labels, column), ids);
    Value row = c.sum(c.create<WhereOp>(hit, logProbability, zero), {last}, /*keepdims=*/false);
    if (smoothing) {
      Value even = c.mean(logProbability, {last}, /*keepdims=*/false);
      row = c.add(row, c.mul(smoothing, c.sub(even, row)));
    }
    Value counts = c.create<NotOp>(c.create<CompareOp>(Predicate::EQ, labels, number(kIgnored)));
    return {c.neg(sumAll(c.create<WhereOp>(counts, row, zero))), sumAll(c.create<CastOp>(counts, f32()))};
  }

private:
  FailureOr<Loss> wrong(const char *wanted) {
    llvm::raw_string_ostream os(error);
    os << "expected " << wanted << " as the first output, but got " << x.getType();
    return failure();
  }

  Type f32() { return c.builder.getF32Type(); }
  Type integers(ArrayRef<SymExpr> shape) { return getTensorType(shape, c.builder.getI64Type()); }
  Value number(int64_t value) {
    return c.create<ConstantOp>(
        DenseElementsAttr::get(RankedTensorType::get({}, c.builder.getI64Type()), c.builder.getI64IntegerAttr(value)));
  }
  Value logSoftmax(Value logits) {
    return c.create<SoftmaxOp>(logits, c.builder.getI64IntegerAttr(getDims(logits).size() - 1),
                               c.builder.getBoolAttr(true));
  }
  Value sumAll(Value value) {
    return c.sum(value, llvm::to_vector(llvm::seq<int64_t>(0, getDims(value).size())), /*keepdims=*/false);
  }

  FailureOr<Loss> causal() {
    if (dims.size() != 3)
      return wrong("logits [batch, sequence, vocabulary]");
    Value labels = inputs.label("labels", integers({dims[0], dims[1]}), dims[2]);
    SymExpr length = dims[1] - SymExpr(1);
    Value before = c.create<SliceOp>(x, ArrayRef<SymExpr>{0, 0, 0}, ArrayRef<SymExpr>{dims[0], length, dims[2]});
    Value next = c.create<SliceOp>(labels, ArrayRef<SymExpr>{0, 1}, ArrayRef<SymExpr>{dims[0], length});
    return crossEntropy(before, next, inputs.hyper("label_smoothing", 0));
  }

  FailureOr<Loss> perElement(bool binary) {
    if (dims.empty())
      return wrong("predictions [batch, ..]");
    Value y = inputs.label("labels", getTensorType(dims, f32()), std::nullopt), terms;
    if (binary) { // max(x, 0) - x y + log(1 + e^-|x|)
      Value soft = c.create<SoftplusOp>(c.neg(c.create<AbsOp>(x)));
      terms = c.add(c.sub(c.create<ReluOp>(x), c.mul(x, y)), soft);
    } else {
      Value difference = c.sub(x, y);
      terms = c.mul(difference, difference);
    }
    Value ones = c.create<BroadcastOp>(c.scalar(1, f32()), dims);
    return Loss{sumAll(terms), sumAll(ones)};
  }

  FailureOr<Loss> span() {
    if (dims.size() != 3 || !dims[2].isConstant(2))
      return wrong("logits [batch, sequence, 2]");
    Loss total;
    for (int64_t i = 0; i < 2; ++i) {
      const char *name = i == 0 ? "start_positions" : "end_positions";
      Value labels = inputs.label(name, integers({dims[0]}), dims[1]);
      Value logits = c.create<SliceOp>(x, ArrayRef<SymExpr>{0, 0, i}, ArrayRef<SymExpr>{dims[0], dims[1], 1});
      Loss part = crossEntropy(c.reshape(logits, {dims[0], dims[1]}), labels, Value());
      total = i ? Loss{c.add(total.sum, part.sum), c.add(total.weight, part.weight)} : part;
    }
    return total;
  }

  FailureOr<Loss> distil() {
    if (dims.size() < 2)
      return wrong("logits [batch, .., classes]");
    int64_t last = dims.size() - 1;
    Value teacher = inputs.label("teacher_logits", getTensorType(dims, f32()), std::nullopt);
    Value temperature = inputs.hyper("temperature", 1), square = c.mul(temperature, temperature);
    Value wanted = logSoftmax(c.div(teacher, temperature)), given = logSoftmax(c.div(x, temperature));
    Value rows = c.sum(c.mul(c.create<ExpOp>(wanted), c.sub(wanted, given)), {last}, /*keepdims=*/false);
    Value ones = c.create<BroadcastOp>(c.scalar(1, f32()), ArrayRef(dims).drop_back());
    return Loss{c.mul(square, sumAll(rows)), sumAll(ones)};
  }

  FailureOr<Loss> contrastive() {
    if (dims.size() != 2)
      return wrong("embeddings [batch, width]");
    SymExpr batch = dims[0];
    Value labels = inputs.label("labels", integers({batch}), std::nullopt);
    Value temperature = inputs.hyper("temperature", 0.05), zero = c.scalar(0, f32());
    Value length = c.create<SqrtOp>(c.add(c.sum(c.mul(x, x), {1}, /*keepdims=*/true), 1e-12));
    Value unit = c.div(x, length);
    auto equal = [&](Value column, Value row) {
      return c.create<CompareOp>(Predicate::EQ, c.reshape(column, {batch, 1}), c.reshape(row, {1, batch}));
    };
    Value rows = c.create<IotaOp>(integers({batch}), 0);
    Value self = equal(rows, rows);
    Value similarity = c.div(c.matmul(unit, c.transposeMatrix(unit)), temperature);
    // Finite: 0 times its logarithm must be 0.
    Value logProbability = logSoftmax(c.create<WhereOp>(self, c.scalar(-1e30, f32()), similarity));
    Value counts = c.create<NotOp>(c.create<CompareOp>(Predicate::EQ, labels, number(kIgnored)));
    Value pairs = c.create<AndOp>(c.create<NotOp>(self), equal(labels, labels));
    pairs = c.create<AndOp>(pairs, c.reshape(counts, {batch, 1}));
    Value partners = c.sum(c.create<CastOp>(pairs, f32()), {1}, /*keepdims=*/false);
    Value perRow = c.sum(c.create<WhereOp>(pairs, logProbability, zero), {1}, /*keepdims=*/false);
    perRow = c.div(perRow, c.create<MaxOp>(partners, c.scalar(1, f32())));
    Value anchors = c.create<CompareOp>(Predicate::GT, partners, zero);
    return Loss{c.neg(sumAll(perRow)), sumAll(c.create<CastOp>(anchors, f32()))};
  }

  Value x;
  SmallVector<SymExpr> dims;
  const LossInputs &inputs;
  const VJPContext &c;
  std::string &error;
};

} // namespace

FailureOr<Loss> llmopt::buildLoss(StringRef kind, Value predictions, const LossInputs &inputs,
                                  const VJPContext &context, std::string &error) {
  if (!getElementTypeOrSelf(predictions).isF32()) {
    llvm::raw_string_ostream(error) << "expected an f32 output to train, but got " << predictions.getType();
    return failure();
  }
  return LossBuilder(predictions, inputs, context, error).build(kind);
}

Loss llmopt::buildCrossEntropy(Value logits, Value labels, Value smoothing, const VJPContext &context) {
  std::string error;
  LossInputs none;
  return LossBuilder(logits, none, context, error).crossEntropy(logits, labels, smoothing);
}
