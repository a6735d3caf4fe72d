// LSTM, GRU and RNN: one lm.loop per direction. Products with the input are taken
// for all steps at once in front of it; what is left inside is the product with the
// state and elementwise operations, which the plan fuses.
#include "../OpTable.h"
#include "LoopBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

namespace {

struct Activation {
  std::string name;
  double alpha = 0, beta = 0;
};

/// What all three have in common, for one direction.
struct Layer {
  Node &n;
  int64_t gates;
  SymExpr hidden;
  bool reverse = false;
  double clip = 0; // 0: none
  std::vector<Activation> activations;
  SymExpr steps, batch;
  Value inputs;        // [T, B, gates hidden]: X W^T, with biases
  Value recurrent;     // [hidden, gates hidden]: R^T
  Value lengths;       // [B, 1] i64, or null
  Value recurrentBias; // [gates hidden], where it is not part of `inputs`
  Value peepholes;     // [3 hidden]
  bool flag = false;   // linear_before_reset, input_forget

  /// Columns of gate `g` of [.., gates hidden].
  Value gate(Value all, int64_t g, int64_t count = 1) const {
    return n.slice(all, n.rank(all) - 1, SymExpr(g) * hidden, SymExpr(count) * hidden);
  }
  Value activate(size_t which, Value x, bool clipped = true) const;
  using Cell = llvm::SmallVector<Value> (*)(const Layer &, Value x, llvm::ArrayRef<Value> states);
  llvm::SmallVector<Value> run(llvm::ArrayRef<Value> inits, Cell cell) const;
};

} // namespace

//===- Activations -----------------------------------------------------------------===//

/// Whether the function has alpha and beta, with ONNX's defaults; false for an
/// unknown one.
static bool getDefaults(llvm::StringRef name, std::optional<double> &alpha, std::optional<double> &beta) {
  if (name == "relu" || name == "tanh" || name == "sigmoid" || name == "softsign" || name == "softplus")
    return true;
  if (name == "leakyrelu")
    return alpha = 0.01, true;
  if (name == "thresholdedrelu" || name == "elu")
    return alpha = 1.0, true;
  if (name == "hardsigmoid")
    return alpha = 0.2, beta = 0.5, true;
  if (name == "affine")
    return alpha = 1.0, beta = 0.0, true;
  if (name == "scaledtanh")
    return alpha = 1.0, beta = 1.0, true;
  return false;
}

Value Layer::activate(size_t which, Value x, bool clipped) const {
  const Activation &f = activations[which];
  mlir::Type type = n.elem(x);
  if (clip > 0 && clipped)
    x = n.create<ClipOp>(x, n.scalar(type, -clip), n.scalar(type, clip));
  if (f.name == "tanh")
    return n.create<TanhOp>(x);
  if (f.name == "sigmoid")
    return n.create<SigmoidOp>(x);
  if (f.name == "relu")
    return n.create<ReluOp>(x);
  if (f.name == "softplus")
    return n.create<SoftplusOp>(x);
  if (f.name == "softsign")
    return n.div(x, n.add(n.create<AbsOp>(x), 1));
  if (f.name == "leakyrelu")
    return n.create<LeakyReluOp>(x, n.f64(f.alpha));
  if (f.name == "elu")
    return n.create<EluOp>(x, n.f64(f.alpha));
  if (f.name == "thresholdedrelu")
    return n.select(n.compare(Predicate::GT, x, n.scalar(type, f.alpha)), x, n.scalar(type, 0));
  if (f.name == "affine")
    return n.add(n.mul(x, f.alpha), f.beta);
  if (f.name == "scaledtanh")
    return n.mul(n.create<TanhOp>(n.mul(x, f.beta)), f.alpha);
  return n.create<ClipOp>(n.add(n.mul(x, f.alpha), f.beta), n.scalar(type, 0), n.scalar(type, 1)); // hardsigmoid
}

/// The activations of all directions, `each` per direction.
static std::vector<Activation> readActivations(Node &n, llvm::ArrayRef<const char *> defaults, int64_t directions) {
  std::vector<Activation> list;
  const onnx::AttributeProto *names = n.attr("activations");
  size_t count = defaults.size() * directions;
  if (names && static_cast<size_t>(names->strings_size()) != count) {
    n.error("expected " + llvm::Twine(count) + " activations, but got " + llvm::Twine(names->strings_size()));
    return {};
  }
  const onnx::AttributeProto *alphas = n.attr("activation_alpha"), *betas = n.attr("activation_beta");
  // Functions take the values in order, those without any none.
  int nextAlpha = 0, nextBeta = 0;
  for (size_t i = 0; i < count; ++i) {
    Activation f;
    f.name = llvm::StringRef(names ? names->strings(static_cast<int>(i)) : defaults[i % defaults.size()]).lower();
    std::optional<double> alpha, beta;
    if (!getDefaults(f.name, alpha, beta)) {
      n.unsupported("with the activation '" + printable(f.name) + "'",
                    "Tanh, Sigmoid, Relu, LeakyRelu, ThresholdedRelu, HardSigmoid, ScaledTanh, Affine, Elu, Softsign "
                    "and Softplus are");
      return {};
    }
    if (alpha)
      f.alpha = alphas && nextAlpha < alphas->floats_size() ? alphas->floats(nextAlpha++) : *alpha;
    if (beta)
      f.beta = betas && nextBeta < betas->floats_size() ? betas->floats(nextBeta++) : *beta;
    list.push_back(f);
  }
  return list;
}

//===- Cells -----------------------------------------------------------------------===//

// H = f(X W^T + H R^T + Wb + Rb)
static llvm::SmallVector<Value> rnnCell(const Layer &l, Value x, llvm::ArrayRef<Value> states) {
  Node &n = l.n;
  return {l.activate(0, n.add(x, n.create<MatMulOp>(states[0], l.recurrent)))};
}

// Gates z, r, h. H = (1 - z) h + z H
static llvm::SmallVector<Value> gruCell(const Layer &l, Value x, llvm::ArrayRef<Value> states) {
  Node &n = l.n;
  Value h = states[0], one = n.scalar(n.elem(h), 1), hidden;
  Value zr, product;
  if (l.flag) { // one product for all gates: the reset comes behind it
    product = n.create<MatMulOp>(h, l.recurrent);
    zr = n.add(l.gate(x, 0, 2), l.gate(product, 0, 2));
  } else {
    zr = n.add(l.gate(x, 0, 2), n.create<MatMulOp>(h, l.gate(l.recurrent, 0, 2)));
  }
  Value z = l.activate(0, l.gate(zr, 0)), r = l.activate(0, l.gate(zr, 1));
  if (l.flag) {
    Value own = l.gate(product, 2);
    if (l.recurrentBias)
      own = n.add(own, l.gate(l.recurrentBias, 2));
    hidden = n.mul(r, own);
  } else {
    hidden = n.create<MatMulOp>(n.mul(r, h), l.gate(l.recurrent, 2));
  }
  hidden = l.activate(1, n.add(l.gate(x, 2), hidden));
  return {n.add(n.mul(n.sub(one, z), hidden), n.mul(z, h))};
}

// Gates i, o, f, c; peepholes i, o, f.
static llvm::SmallVector<Value> lstmCell(const Layer &l, Value x, llvm::ArrayRef<Value> states) {
  Node &n = l.n;
  Value h = states[0], c = states[1];
  Value all = n.add(x, n.create<MatMulOp>(h, l.recurrent));
  auto peep = [&](Value gate, int64_t which, Value cell) {
    return l.peepholes ? n.add(gate, n.mul(cell, l.gate(l.peepholes, which))) : gate;
  };
  Value i = l.activate(0, peep(l.gate(all, 0), 0, c));
  Value f = l.flag ? n.sub(n.scalar(n.elem(i), 1), i) : l.activate(0, peep(l.gate(all, 2), 2, c));
  Value next = n.add(n.mul(f, c), n.mul(i, l.activate(1, l.gate(all, 3))));
  Value o = l.activate(0, peep(l.gate(all, 1), 1, next));
  // ONNX Runtime clips gates, not the cell on its way out.
  return {n.mul(o, l.activate(2, next, /*clipped=*/false)), next};
}

//===- Layers ----------------------------------------------------------------------===//

/// The last states, then Y [T, B, hidden].
llvm::SmallVector<Value> Layer::run(llvm::ArrayRef<Value> inits, Cell cell) const {
  LoopSpec spec;
  spec.trips = steps;
  spec.inits.assign(inits.begin(), inits.end());
  spec.stateNames = {"H", "C"};
  spec.reverseRows = {reverse};
  return buildLoop(n, spec, [&](Value iteration, llvm::ArrayRef<Value> states) -> std::optional<LoopStep> {
    Value time = iteration;
    if (reverse)
      time = n.sub(n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {steps - SymExpr(1)})),
                   iteration);
    LoopStep step;
    step.states = cell(*this, n.create<GatherOp>(inputs, time, 0), states);
    if (n.failed())
      return std::nullopt;
    Value row = step.states[0];
    if (lengths) { // beyond its end a sequence keeps its state, and gives zeros
      Value inside = n.compare(Predicate::LT, time, lengths);
      for (auto [next, before] : llvm::zip(step.states, states))
        next = n.select(inside, next, before);
      row = n.select(inside, row, n.scalar(n.elem(row), 0));
    }
    step.rows = {row};
    return step;
  });
}

/// The part of one direction, its dimensions in the symbols of R and X.
static Value pick(Node &n, Value v, int64_t direction, llvm::ArrayRef<SymExpr> dims) {
  return v ? n.reshape(n.slice(v, 0, direction, 1), dims) : Value();
}

namespace {
struct Kind {
  int64_t gates;
  llvm::ArrayRef<const char *> activations;
  Layer::Cell cell;
  size_t states;
};
} // namespace

static void recurrent(Node &n, const Kind &kind) {
  Value x = n.in(0), w = n.in(1), r = n.in(2), bias = n.opt(3), lengths = n.opt(4);
  if (n.failed())
    return;
  bool batchFirst = n.intAttr("layout", 0) != 0;
  std::string direction = n.stringAttr("direction", "forward");
  int64_t directions = direction == "bidirectional" ? 2 : 1;
  if (direction != "forward" && direction != "reverse" && directions == 1)
    return n.error("expected a direction of forward, reverse or bidirectional, but got '" + printable(direction) + "'");
  if (n.rank(x) != 3 || n.rank(w) != 3 || n.rank(r) != 3)
    return n.error("expected X, W and R of rank 3");
  const SymExpr hidden = n.dims(r)[2], width = SymExpr(kind.gates) * hidden;
  if (int64_t given = n.intAttr("hidden_size", 0); given && hidden.getConstant().value_or(given) != given)
    return n.error("expected hidden_size to be that of R, " + hidden.str() + ", but got " + llvm::Twine(given));
  for (Value v : {w, r}) {
    Dims dims = n.dims(v);
    if (dims[0].getConstant().value_or(directions) != directions || (dims[1] - width).getConstant().value_or(0) != 0)
      return n.error("expected W and R of " + llvm::Twine(directions) + " x " + width.str() + " rows, but got " +
                     dims[0].str() + " x " + dims[1].str());
  }
  std::vector<Activation> activations = readActivations(n, kind.activations, directions);
  if (batchFirst)
    x = n.transpose(x, {1, 0, 2});
  if (n.failed())
    return;
  SymExpr steps = n.dims(x)[0], batch = n.dims(x)[1];
  mlir::Type type = n.elem(x);
  if (lengths)
    lengths = n.cast(n.reshape(lengths, {batch, 1}), n.b.getI64Type());

  llvm::SmallVector<Value> outputs, last[2];
  for (int64_t d = 0; d < directions && !n.failed(); ++d) {
    Layer l{n, kind.gates, hidden};
    l.reverse = d == 1 || direction == "reverse";
    l.clip = n.floatAttr("clip", 0);
    size_t each = kind.activations.size();
    l.activations.assign(activations.begin() + d * each, activations.begin() + (d + 1) * each);
    l.steps = steps;
    l.batch = batch;
    l.lengths = lengths;
    l.flag = n.boolAttr(kind.cell == lstmCell ? "input_forget" : "linear_before_reset", false);
    l.recurrent = n.swapLast(pick(n, r, d, {width, hidden}));
    l.inputs = n.create<MatMulOp>(x, n.swapLast(pick(n, w, d, {width, n.dims(w)[2]})));
    if (bias) {
      Value own = pick(n, bias, d, {SymExpr(2) * width});
      Value first = n.slice(own, 0, 0, width), second = n.slice(own, 0, width, width);
      if (kind.cell == gruCell && l.flag) {
        // The bias of the hidden gate is scaled by the reset gate.
        l.recurrentBias = second;
        Value kept = n.concat({n.slice(second, 0, 0, SymExpr(2) * hidden), n.filled(type, 0, {hidden})}, 0);
        l.inputs = n.add(l.inputs, n.add(first, kept));
      } else {
        l.inputs = n.add(l.inputs, n.add(first, second));
      }
    }
    if (kind.cell == lstmCell && n.has(7))
      l.peepholes = pick(n, n.in(7), d, {SymExpr(3) * hidden});
    llvm::SmallVector<Value> inits;
    for (size_t s = 0; s < kind.states; ++s) {
      Value init = n.opt(5 + s);
      if (init && batchFirst)
        init = n.transpose(init, {1, 0, 2});
      inits.push_back(init ? pick(n, init, d, {batch, hidden}) : n.filled(type, 0, {batch, hidden}));
    }
    llvm::SmallVector<Value> results = l.run(inits, kind.cell);
    if (results.size() != kind.states + 1)
      return n.poison();
    Dims y{steps, 1, batch, hidden}, state{1, batch, hidden};
    outputs.push_back(n.reshape(results.back(), y));
    for (size_t s = 0; s < kind.states; ++s)
      last[s].push_back(n.reshape(results[s], state));
  }
  if (n.failed())
    return;
  Value y = n.concat(outputs, 1);
  n.out(0, batchFirst ? n.transpose(y, {2, 0, 1, 3}) : y);
  for (size_t s = 0; s < kind.states; ++s) {
    Value state = n.concat(last[s], 0);
    n.out(1 + s, batchFirst ? n.transpose(state, {1, 0, 2}) : state);
  }
}

static void rnn(Node &n) {
  static constexpr const char *activations[] = {"Tanh"};
  recurrent(n, {1, activations, rnnCell, 1});
}

static void gru(Node &n) {
  static constexpr const char *activations[] = {"Sigmoid", "Tanh"};
  recurrent(n, {3, activations, gruCell, 1});
}

static void lstm(Node &n) {
  static constexpr const char *activations[] = {"Sigmoid", "Tanh", "Tanh"};
  recurrent(n, {4, activations, lstmCell, 2});
}

void onnx_import::addRecurrentOps(OpTable &t) {
  t.add(kOnnx, "RNN", rnn, 7);
  t.add(kOnnx, "GRU", gru, 7);
  t.add(kOnnx, "LSTM", lstm, 7);
}
