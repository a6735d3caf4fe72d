// Elementwise arithmetic, comparison and logic: one lm operation each, or a few.
#include "OpTable.h"

#include "mlir/IR/BuiltinAttributes.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

template <typename Op> static void unary(Node &n) { n.out(n.create<Op>(n.in(0))); }

/// Before opset 7, operands broadcast only with `broadcast=1`, and then the second
/// one starts at dimension `axis` of the first.
static Value alignedSecond(Node &n) {
  Value x = n.in(0), y = n.in(1);
  if (n.opset() >= 7 || !n.boolAttr("broadcast", false) || !n.attr("axis") || n.failed())
    return y;
  int64_t axis = n.axis(n.intAttr("axis", 0), n.rank(x));
  Dims dims = n.dims(y);
  while (axis + static_cast<int64_t>(dims.size()) < n.rank(x))
    dims.push_back(1);
  return n.reshape(y, dims);
}

template <typename Op> static void binary(Node &n) {
  Value y = alignedSecond(n);
  n.out(n.create<Op>(n.in(0), y));
}

template <Predicate predicate> static void comparison(Node &n) {
  Value y = alignedSecond(n);
  n.out(n.compare(predicate, n.in(0), y));
}

template <typename Op> static Value fold(Node &n) {
  Value result = n.in(0);
  for (unsigned i = 1; i < n.numInputs(); ++i)
    result = n.create<Op>(result, n.in(i));
  return result;
}
template <typename Op> static void variadic(Node &n) { n.out(fold<Op>(n)); }

static void mean(Node &n) { n.out(n.mul(fold<AddOp>(n), 1.0 / std::max(1u, n.numInputs()))); }

static void power(Node &n) {
  Value y = alignedSecond(n);
  n.out(n.create<PowOp>(n.in(0), y));
}

static void modulo(Node &n) { n.out(n.create<ModOp>(n.in(0), n.in(1), n.boolAttr("fmod", false))); }

// Integers need no rounding, and lm.floor takes floats only.
template <typename Op> static void rounding(Node &n) {
  Value x = n.in(0);
  n.out(n.isFloat(x) ? n.create<Op>(x) : x);
}

static void isInf(Node &n) {
  n.out(n.create<IsInfOp>(n.in(0), n.boolAttr("detect_negative", true), n.boolAttr("detect_positive", true)));
}

static void where(Node &n) { n.out(n.select(n.in(0), n.in(1), n.in(2))); }

// Limits were attributes before opset 11.
static void clip(Node &n) {
  Value x = n.in(0), low = n.opt(1), high = n.opt(2);
  if (n.opset() < 11) {
    if (n.attr("min"))
      low = n.scalar(n.elem(x), n.floatAttr("min", 0));
    if (n.attr("max"))
      high = n.scalar(n.elem(x), n.floatAttr("max", 0));
  }
  n.out(low || high ? n.create<ClipOp>(x, low, high) : x);
}

/// `saturate` and `round_mode` matter to floats of eight bits only.
static Value castAsAsked(Node &n, Value x, mlir::Type type) {
  if (n.failed() || !x || n.elem(x) == type)
    return x;
  Rounding rounding = Rounding::Nearest;
  if (llvm::isa<mlir::Float8E8M0FNUType>(type)) {
    std::string mode = n.stringAttr("round_mode", "up");
    std::optional<Rounding> known = symbolizeRounding(mode);
    if (!known) {
      n.error("expected a round_mode of up, down or nearest, but got '" + printable(mode) + "'");
      return {};
    }
    rounding = *known;
  }
  return n.create<CastOp>(withElementType(x.getType(), type), x, n.boolAttr("saturate", true), rounding);
}

static void castTo(Node &n) {
  std::string error;
  mlir::Type type = onnx_import::getElementType(n.b.getContext(), n.intAttr("to", 0), error);
  if (!type)
    return n.unsupported("to: " + error);
  n.out(castAsAsked(n, n.in(0), type));
}

// Before opset 6, `to` was the name of a type.
static void castToName(Node &n) {
  std::string error, name = n.stringAttr("to", "");
  onnx::TensorProto::DataType type;
  if (!onnx::TensorProto::DataType_Parse(name, &type))
    return n.error("unknown element type '" + printable(name) + "'");
  mlir::Type element = onnx_import::getElementType(n.b.getContext(), type, error);
  if (!element)
    return n.unsupported("to: " + error);
  n.out(n.cast(n.in(0), element));
}

static void castLike(Node &n) {
  Value like = n.in(1);
  n.out(castAsAsked(n, n.in(0), n.elem(like)));
}

static void tangent(Node &n) { n.out(n.div(n.create<SinOp>(n.in(0)), n.create<CosOp>(n.in(0)))); }

// (e^x + sign e^-x) / 2
template <int sign> static void hyperbolic(Node &n) {
  Value x = n.in(0);
  Value up = n.create<ExpOp>(x), down = n.create<ExpOp>(n.create<NegOp>(x));
  n.out(n.mul(sign > 0 ? n.add(up, down) : n.sub(up, down), 0.5));
}

void onnx_import::addElementwiseOps(OpTable &t) {
  t.add(kOnnx, "Neg", unary<NegOp>);
  t.add(kOnnx, "Abs", unary<AbsOp>);
  t.add(kOnnx, "Exp", unary<ExpOp>);
  t.add(kOnnx, "Log", unary<LogOp>);
  t.add(kOnnx, "Sqrt", unary<SqrtOp>);
  t.add(kOnnx, "Reciprocal", unary<ReciprocalOp>);
  t.add(kOnnx, "Sin", unary<SinOp>);
  t.add(kOnnx, "Cos", unary<CosOp>);
  t.add(kOnnx, "Tan", tangent);
  t.add(kOnnx, "Sinh", hyperbolic<-1>);
  t.add(kOnnx, "Cosh", hyperbolic<1>);
  t.add(kOnnx, "Erf", unary<ErfOp>);
  t.add(kOnnx, "Sign", unary<SignOp>);
  t.add(kOnnx, "Floor", rounding<FloorOp>);
  t.add(kOnnx, "Ceil", rounding<CeilOp>);
  t.add(kOnnx, "Round", rounding<RoundOp>);
  t.add(kOnnx, "Not", unary<NotOp>);
  t.add(kOnnx, "IsNaN", unary<IsNaNOp>);
  t.add(kOnnx, "IsInf", isInf);
  t.add(kOnnx, "Add", binary<AddOp>);
  t.add(kOnnx, "Sub", binary<SubOp>);
  t.add(kOnnx, "Mul", binary<MulOp>);
  t.add(kOnnx, "Div", binary<DivOp>);
  t.add(kOnnx, "Pow", power);
  t.add(kOnnx, "Mod", modulo);
  t.add(kOnnx, "And", binary<AndOp>);
  t.add(kOnnx, "Or", binary<OrOp>);
  t.add(kOnnx, "Xor", binary<XorOp>);
  t.add(kOnnx, "Equal", comparison<Predicate::EQ>);
  t.add(kOnnx, "Less", comparison<Predicate::LT>);
  t.add(kOnnx, "LessOrEqual", comparison<Predicate::LE>);
  t.add(kOnnx, "Greater", comparison<Predicate::GT>);
  t.add(kOnnx, "GreaterOrEqual", comparison<Predicate::GE>);
  t.add(kOnnx, "Sum", variadic<AddOp>);
  t.add(kOnnx, "Max", variadic<MaxOp>);
  t.add(kOnnx, "Min", variadic<MinOp>);
  t.add(kOnnx, "Mean", mean);
  t.add(kOnnx, "Where", where);
  t.add(kOnnx, "Clip", clip);
  t.add(kOnnx, "Cast", castToName, 1, 5);
  t.add(kOnnx, "Cast", castTo, 6);
  t.add(kOnnx, "CastLike", castLike);
}
