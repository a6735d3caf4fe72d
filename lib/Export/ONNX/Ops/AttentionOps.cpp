// lm.attention: ONNX's Attention where it means the same, else its steps.
//
// Attention starts causal masks at the first key, knows no key lengths, and engines
// differ in what a row without any key gives (the standard changed its mind between
// opsets). So it is written where every row sees a key; everything else becomes its
// steps, which also keeps such models in older operator sets.
#include "OpTable.h"

#include <limits>

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

namespace {

struct Attention {
  Attention(OpWriter &w) : w(w), op(w.as<AttentionOp>()) {
    query = w.dims(op.getQuery());
    key = w.dims(op.getKey());
    type = w.elem(op.getQuery());
    heads = op.getNumHeads();
    kvHeads = op.getKvNumHeads();
  }

  bool isStandard();
  void emitStandard();
  void emitSteps();
  /// Whether query may see key, [.., Sq, Sk]; empty where all may.
  Name visible();
  /// Each of the kv heads (dimension 1 of rank 4) once per query head. Dimensions 2
  /// and 3 are (-1, `width`), or the other way around.
  Name repeatHeads(Name x, int64_t width, bool widthFirst);

  OpWriter &w;
  AttentionOp op;
  Dims query, key;
  mlir::Type type;
  int64_t heads, kvHeads;
};

} // namespace

bool Attention::isStandard() { return op.getMaskKind() == MaskKind::None && (!op.getCausal() || query[1] == key[1]); }

void Attention::emitStandard() {
  w.out(w.node("Attention", {w.in(op.getQuery()), w.in(op.getKey()), w.in(op.getValue())},
               {{"q_num_heads", heads},
                {"kv_num_heads", kvHeads},
                {"scale", op.getScale().convertToDouble()},
                {"is_causal", op.getCausal()}},
               23));
}

Name Attention::visible() {
  Name keep;
  auto both = [&](Name other) { keep = keep.empty() ? other : w.node("And", {keep, other}); };
  mlir::Type i64 = mlir::IntegerType::get(w.op->getContext(), 64);
  if (op.getMaskKind() == MaskKind::Boolean)
    both(w.in(op.getMask()));
  if (op.getMaskKind() == MaskKind::KeyLengths) {
    Name lengths = w.reshape(w.cast(w.in(op.getMask()), i64), {-1, 1, 1, 1});
    both(w.node("Less", {w.iota(key[1], 3, 4), lengths}));
  }
  if (op.getCausal()) {
    Name row = w.iota(query[1], 2, 4);
    SymExpr offset = key[1] - query[1];
    if (!offset.isConstant(0))
      row = w.add(row, w.sizes(offset));
    both(w.node("LessOrEqual", {w.iota(key[1], 3, 4), row}));
  }
  return keep;
}

Name Attention::repeatHeads(Name x, int64_t width, bool widthFirst) {
  int64_t group = heads / kvHeads;
  if (group == 1)
    return x;
  Name wide = w.node("Expand", {w.node("Unsqueeze", {x, w.ints({2})}), w.ints({1, 1, group, 1, 1})});
  return w.reshape(wide, widthFirst ? Ints{0, heads, width, -1} : Ints{0, heads, -1, width});
}

void Attention::emitSteps() {
  std::optional<int64_t> queryWidth = query[2].getConstant(), valueWidth = w.dims(op.getValue())[2].getConstant();
  if (!queryWidth || !valueWidth)
    return w.error("expected static head sizes of lm.attention");
  int64_t size = *queryWidth / heads, valueSize = *valueWidth / kvHeads;
  Name q = w.transpose(w.reshape(w.in(op.getQuery()), {0, 0, heads, size}), {0, 2, 1, 3});
  Name k = w.transpose(w.reshape(w.in(op.getKey()), {0, 0, kvHeads, size}), {0, 2, 3, 1});
  Name v = w.transpose(w.reshape(w.in(op.getValue()), {0, 0, kvHeads, valueSize}), {0, 2, 1, 3});
  Name scores = w.node("MatMul", {q, repeatHeads(k, size, true)});
  double scale = op.getScale().convertToDouble();
  if (scale != 1)
    scores = w.mul(scores, w.scalar(type, scale));
  if (op.getMaskKind() == MaskKind::Additive)
    scores = w.add(scores, w.in(op.getMask()));

  // The lowest number instead of -inf: a row of nothing else attends to all keys.
  double blocked = -std::numeric_limits<double>::infinity();
  if (op.getFullyMasked() == FullyMasked::Source)
    blocked = llvm::APFloat::getLargest(llvm::cast<mlir::FloatType>(type).getFloatSemantics(), /*Negative=*/true)
                  .convertToDouble();
  if (Name keep = visible(); !keep.empty())
    scores = w.node("Where", {keep, scores, w.scalar(type, blocked)});
  Name weights = w.node("Softmax", {scores}, {{"axis", -1}});
  if (op.getFullyMasked() == FullyMasked::Zero) {
    // As PyTorch writes it.
    weights = w.node("Where", {w.node("IsNaN", {weights}), w.scalar(type, 0), weights});
  }
  Name result = w.node("MatMul", {weights, repeatHeads(v, valueSize, false)});
  w.out(w.reshape(w.transpose(result, {0, 2, 1, 3}), {0, 0, heads * valueSize}));
}

static void attention(OpWriter &w) {
  Attention attention(w);
  attention.isStandard() ? attention.emitStandard() : attention.emitSteps();
}

void onnx_export::addAttentionOps(OpTable &t) { t.add<AttentionOp>(attention); }
