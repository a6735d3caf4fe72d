// Elementwise operations, most of which ONNX has as they are.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

namespace {

/// The operator that has the same operands and no attributes.
template <typename Op> const char *const onnxName = nullptr;
template <> const char *const onnxName<NegOp> = "Neg";
template <> const char *const onnxName<AbsOp> = "Abs";
template <> const char *const onnxName<ExpOp> = "Exp";
template <> const char *const onnxName<LogOp> = "Log";
template <> const char *const onnxName<SqrtOp> = "Sqrt";
template <> const char *const onnxName<ReciprocalOp> = "Reciprocal";
template <> const char *const onnxName<SinOp> = "Sin";
template <> const char *const onnxName<CosOp> = "Cos";
template <> const char *const onnxName<ErfOp> = "Erf";
template <> const char *const onnxName<TanhOp> = "Tanh";
template <> const char *const onnxName<SigmoidOp> = "Sigmoid";
template <> const char *const onnxName<SoftplusOp> = "Softplus";
template <> const char *const onnxName<ReluOp> = "Relu";
template <> const char *const onnxName<SignOp> = "Sign";
template <> const char *const onnxName<FloorOp> = "Floor";
template <> const char *const onnxName<CeilOp> = "Ceil";
template <> const char *const onnxName<RoundOp> = "Round";
template <> const char *const onnxName<NotOp> = "Not";
template <> const char *const onnxName<IsNaNOp> = "IsNaN";
template <> const char *const onnxName<AcosOp> = "Acos";
template <> const char *const onnxName<AsinOp> = "Asin";
template <> const char *const onnxName<AtanOp> = "Atan";
template <> const char *const onnxName<AcoshOp> = "Acosh";
template <> const char *const onnxName<AsinhOp> = "Asinh";
template <> const char *const onnxName<AtanhOp> = "Atanh";
template <> const char *const onnxName<AddOp> = "Add";
template <> const char *const onnxName<SubOp> = "Sub";
template <> const char *const onnxName<MulOp> = "Mul";
template <> const char *const onnxName<DivOp> = "Div";
template <> const char *const onnxName<PowOp> = "Pow";
template <> const char *const onnxName<MinOp> = "Min";
template <> const char *const onnxName<MaxOp> = "Max";
template <> const char *const onnxName<AndOp> = "And";
template <> const char *const onnxName<OrOp> = "Or";
template <> const char *const onnxName<XorOp> = "Xor";
template <> const char *const onnxName<WhereOp> = "Where";
template <> const char *const onnxName<BitwiseAndOp> = "BitwiseAnd";
template <> const char *const onnxName<BitwiseOrOp> = "BitwiseOr";
template <> const char *const onnxName<BitwiseXorOp> = "BitwiseXor";
template <> const char *const onnxName<BitwiseNotOp> = "BitwiseNot";

} // namespace

/// The same operands, no attributes.
template <typename Op> static void same(OpWriter &w) {
  Names inputs;
  for (mlir::Value operand : w.op->getOperands())
    inputs.push_back(w.in(operand));
  w.out(w.node(onnxName<Op>, inputs));
}

static void leakyRelu(OpWriter &w) {
  w.out(w.node("LeakyRelu", {w.in(0)}, {{"alpha", w.as<LeakyReluOp>().getAlpha().convertToDouble()}}));
}

static void elu(OpWriter &w) {
  w.out(w.node("Elu", {w.in(0)}, {{"alpha", w.as<EluOp>().getAlpha().convertToDouble()}}));
}

static void isInf(OpWriter &w) {
  auto op = w.as<IsInfOp>();
  w.out(w.node("IsInf", {w.in(0)},
               {{"detect_negative", op.getDetectNegative()}, {"detect_positive", op.getDetectPositive()}},
               w.elem(op.getInput()).getIntOrFloatBitWidth() >= 32 ? 10 : 20));
}

static void castTo(OpWriter &w) {
  auto op = w.as<CastOp>();
  mlir::Type type = w.elem(op.getResult());
  llvm::SmallVector<Attr> attrs = {{"to", int64_t(getDataType(type))}};
  int64_t since = std::max(getOpsetOf(type), getOpsetOf(w.elem(op.getInput())));
  if (!op.getSaturate())
    attrs.push_back({"saturate", 0});
  if (op.getRounding() != Rounding::Nearest)
    attrs.push_back({"round_mode", op.getRounding() == Rounding::Up ? "up" : "down"});
  else if (mlir::isa<mlir::Float8E8M0FNUType>(type))
    attrs.push_back({"round_mode", "nearest"});
  w.out(w.node("Cast", {w.in(0)}, attrs, since));
}

static void compare(OpWriter &w) {
  static constexpr const char *names[] = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"};
  auto op = w.as<CompareOp>();
  w.out(w.node(names[static_cast<unsigned>(op.getPredicate())], {w.in(0), w.in(1)}));
}

static void mod(OpWriter &w) {
  auto op = w.as<ModOp>();
  if (llvm::isa<mlir::FloatType>(w.elem(op.getLhs())) && !op.getFmod())
    return w.error("lm.mod of floats with the sign of the divisor has no ONNX form");
  w.out(w.node("Mod", {w.in(0), w.in(1)}, {{"fmod", op.getFmod()}}));
}

static void clip(OpWriter &w) {
  auto op = w.as<ClipOp>();
  w.out(w.node("Clip", {w.in(op.getInput()), op.getMin() ? w.asScalar(op.getMin()) : Name(),
                        op.getMax() ? w.asScalar(op.getMax()) : Name()}));
}

template <bool left> static void shift(OpWriter &w) {
  mlir::Type type = w.elem(w.op->getResult(0));
  if (!type.isUnsignedInteger())
    return w.error(w.op->getName().getStringRef() + " of signed integers has no ONNX form");
  w.out(w.node("BitShift", {w.in(0), w.in(1)}, {{"direction", left ? "LEFT" : "RIGHT"}}));
}

static void bitcast(OpWriter &w) {
  w.out(w.node("BitCast", {w.in(0)}, {{"to", int64_t(getDataType(w.elem(w.op->getResult(0))))}}, 26));
}

template <typename... Op> static void addSame(OpTable &t) { (t.add<Op>(same<Op>), ...); }

void onnx_export::addElementwiseOps(OpTable &t) {
  addSame<NegOp, AbsOp, ExpOp, LogOp, SqrtOp, ReciprocalOp, SinOp, CosOp, ErfOp, TanhOp, SigmoidOp, SoftplusOp, ReluOp,
          SignOp, FloorOp, CeilOp, RoundOp, NotOp, IsNaNOp>(t);
  addSame<AcosOp, AsinOp, AtanOp, AcoshOp, AsinhOp, AtanhOp>(t);
  addSame<AddOp, SubOp, MulOp, DivOp, PowOp, MinOp, MaxOp, AndOp, OrOp, XorOp, WhereOp>(t);
  addSame<BitwiseAndOp, BitwiseOrOp, BitwiseXorOp, BitwiseNotOp>(t);
  t.add<LeakyReluOp>(leakyRelu);
  t.add<EluOp>(elu);
  t.add<IsInfOp>(isInf);
  t.add<CastOp>(castTo);
  t.add<CompareOp>(compare);
  t.add<ModOp>(mod);
  t.add<ClipOp>(clip);
  t.add<ShiftLeftOp>(shift<true>);
  t.add<ShiftRightOp>(shift<false>);
  t.add<BitcastOp>(bitcast);
}
