// Bits, and inverse trigonometric functions.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

template <typename Op> static void unary(Node &n) { n.out(n.create<Op>(n.in(0))); }
template <typename Op> static void binary(Node &n) { n.out(n.create<Op>(n.in(0), n.in(1))); }

static void bitShift(Node &n) {
  std::string direction = n.stringAttr("direction", "");
  if (direction == "LEFT")
    return binary<ShiftLeftOp>(n);
  if (direction == "RIGHT")
    return binary<ShiftRightOp>(n);
  n.error("expected direction to be LEFT or RIGHT, but got '" + printable(direction) + "'");
}

static void bitCast(Node &n) {
  std::string error;
  mlir::Type type = onnx_import::getElementType(n.b.getContext(), n.intAttr("to", 0), error);
  if (!type)
    return n.unsupported("to: " + error);
  Value x = n.in(0);
  n.out(n.elem(x) == type ? x : n.create<BitcastOp>(x, type));
}

void onnx_import::addBitOps(OpTable &t) {
  t.add(kOnnx, "Acos", unary<AcosOp>);
  t.add(kOnnx, "Asin", unary<AsinOp>);
  t.add(kOnnx, "Atan", unary<AtanOp>);
  t.add(kOnnx, "Acosh", unary<AcoshOp>);
  t.add(kOnnx, "Asinh", unary<AsinhOp>);
  t.add(kOnnx, "Atanh", unary<AtanhOp>);
  t.add(kOnnx, "BitwiseAnd", binary<BitwiseAndOp>);
  t.add(kOnnx, "BitwiseOr", binary<BitwiseOrOp>);
  t.add(kOnnx, "BitwiseXor", binary<BitwiseXorOp>);
  t.add(kOnnx, "BitwiseNot", unary<BitwiseNotOp>);
  t.add(kOnnx, "BitShift", bitShift);
  t.add(kOnnx, "BitCast", bitCast);
}
