// Arithmetic of the MLIR back end. Floats carry the `contract` flag only.
#include "MLIRBuilder.h"

#include "llmopt/CodeGen/CPU/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace llmopt::loops;

static constexpr auto kContract = arith::FastMathFlags::contract;

int32_t MLIRBuilder::createOp(Opcode op, ArrayRef<S> operands, S result) {
  insertAt(result.level);
  SmallVector<Value> in;
  for (S s : operands)
    in.push_back(get(s));
  return add(emit(op, in, result, operands[op == Opcode::Select ? 1 : 0].elem));
}

static std::optional<arith::CmpFPredicate> floatPredicate(Opcode op) {
  switch (op) {
  case Opcode::Eq:
    return arith::CmpFPredicate::OEQ;
  case Opcode::Ne:
    return arith::CmpFPredicate::UNE;
  case Opcode::Lt:
    return arith::CmpFPredicate::OLT;
  case Opcode::Le:
    return arith::CmpFPredicate::OLE;
  case Opcode::Gt:
    return arith::CmpFPredicate::OGT;
  case Opcode::Ge:
    return arith::CmpFPredicate::OGE;
  default:
    return std::nullopt;
  }
}

static arith::CmpIPredicate intPredicate(Opcode op, bool isUnsigned) {
  switch (op) {
  case Opcode::Eq:
    return arith::CmpIPredicate::eq;
  case Opcode::Ne:
    return arith::CmpIPredicate::ne;
  case Opcode::Lt:
    return isUnsigned ? arith::CmpIPredicate::ult : arith::CmpIPredicate::slt;
  case Opcode::Le:
    return isUnsigned ? arith::CmpIPredicate::ule : arith::CmpIPredicate::sle;
  case Opcode::Gt:
    return isUnsigned ? arith::CmpIPredicate::ugt : arith::CmpIPredicate::sgt;
  default:
    return isUnsigned ? arith::CmpIPredicate::uge : arith::CmpIPredicate::sge;
  }
}

Value MLIRBuilder::emit(Opcode op, ArrayRef<Value> in, S result, Elem from) {
  bool real = isFloat(from), uns = isUnsigned(from);
  if (std::optional<arith::CmpFPredicate> predicate = floatPredicate(op)) {
    if (real)
      return arith::CmpFOp::create(b, loc, *predicate, in[0], in[1]);
    return arith::CmpIOp::create(b, loc, intPredicate(op, uns), in[0], in[1]);
  }
  auto noWrap = arith::IntegerOverflowFlags::nsw;
  switch (op) {
  case Opcode::Add:
    return real ? Value(arith::AddFOp::create(b, loc, in[0], in[1], kContract))
                : Value(arith::AddIOp::create(b, loc, in[0], in[1]));
  case Opcode::Sub:
    return real ? Value(arith::SubFOp::create(b, loc, in[0], in[1], kContract))
                : Value(arith::SubIOp::create(b, loc, in[0], in[1]));
  case Opcode::Mul:
    return real ? Value(arith::MulFOp::create(b, loc, in[0], in[1], kContract))
                : Value(arith::MulIOp::create(b, loc, in[0], in[1]));
  case Opcode::Div:
    if (real)
      return arith::DivFOp::create(b, loc, in[0], in[1], kContract);
    return uns ? Value(arith::DivUIOp::create(b, loc, in[0], in[1]))
               : Value(arith::DivSIOp::create(b, loc, in[0], in[1]));
  case Opcode::Rem:
    return uns ? Value(arith::RemUIOp::create(b, loc, in[0], in[1]))
               : Value(arith::RemSIOp::create(b, loc, in[0], in[1]));
  case Opcode::IAdd:
    return arith::AddIOp::create(b, loc, in[0], in[1], noWrap);
  case Opcode::IMul:
    return arith::MulIOp::create(b, loc, in[0], in[1], noWrap);
  case Opcode::IDiv:
    return arith::DivUIOp::create(b, loc, in[0], in[1]);
  case Opcode::IRem:
    return arith::RemUIOp::create(b, loc, in[0], in[1]);
  case Opcode::And:
    return arith::AndIOp::create(b, loc, in[0], in[1]);
  case Opcode::Or:
    return arith::OrIOp::create(b, loc, in[0], in[1]);
  case Opcode::Xor:
    return arith::XOrIOp::create(b, loc, in[0], in[1]);
  case Opcode::ShiftLeft:
    return arith::ShLIOp::create(b, loc, in[0], in[1]);
  case Opcode::ShiftRight:
    return uns ? Value(arith::ShRUIOp::create(b, loc, in[0], in[1]))
               : Value(arith::ShRSIOp::create(b, loc, in[0], in[1]));
  case Opcode::Not: {
    Value ones = arith::ConstantOp::create(
        b, loc,
        result.vec ? TypedAttr(DenseElementsAttr::get(cast<VectorType>(in[0].getType()), true))
                   : TypedAttr(b.getBoolAttr(true)));
    return arith::XOrIOp::create(b, loc, in[0], ones);
  }
  case Opcode::Neg:
    if (real)
      return arith::NegFOp::create(b, loc, in[0], kContract);
    return arith::SubIOp::create(b, loc, arith::ConstantOp::create(b, loc, b.getZeroAttr(in[0].getType())), in[0]);
  case Opcode::Min:
    if (real)
      return arith::MinimumFOp::create(b, loc, in[0], in[1]);
    return uns ? Value(arith::MinUIOp::create(b, loc, in[0], in[1]))
               : Value(arith::MinSIOp::create(b, loc, in[0], in[1]));
  case Opcode::Max:
    if (real)
      return arith::MaximumFOp::create(b, loc, in[0], in[1]);
    return uns ? Value(arith::MaxUIOp::create(b, loc, in[0], in[1]))
               : Value(arith::MaxSIOp::create(b, loc, in[0], in[1]));
  case Opcode::Select:
    return arith::SelectOp::create(b, loc, in[0], in[1], in[2]);
  case Opcode::Cast:
    return emitCast(in[0], from, result);
  case Opcode::Truncate:
    return isUnsigned(result.elem) ? Value(arith::FPToUIOp::create(b, loc, typeOf(result), in[0]))
                                   : Value(arith::FPToSIOp::create(b, loc, typeOf(result), in[0]));
  case Opcode::ToBits:
    return kb.bitcast(kb.wrap(in[0]), b.getI32Type()).value;
  case Opcode::FromBits:
    return kb.bitcast(kb.wrap(in[0]), b.getF32Type()).value;
  case Opcode::RoundF16:
  case Opcode::RoundBF16: {
    Elem memory = op == Opcode::RoundF16 ? Elem::F16 : Elem::BF16;
    return afterLoad(beforeStore(in[0], memory, result.vec), memory, result.vec);
  }
  case Opcode::Fma:
    return kb.fma(kb.wrap(in[0]), kb.wrap(in[1]), kb.wrap(in[2])).value;
  case Opcode::Abs:
    return math::AbsFOp::create(b, loc, in[0]);
  case Opcode::Sqrt:
    return math::SqrtOp::create(b, loc, in[0]);
  case Opcode::Floor:
    return math::FloorOp::create(b, loc, in[0]);
  case Opcode::Ceil:
    return math::CeilOp::create(b, loc, in[0]);
  case Opcode::Round:
    return math::RoundEvenOp::create(b, loc, in[0]);
  case Opcode::Trunc:
    return math::TruncOp::create(b, loc, in[0]);
  default:
    return emitMath(op, in);
  }
}

Value MLIRBuilder::emitMath(Opcode op, ArrayRef<Value> in) {
  cpu::V x = kb.wrap(in[0]);
  switch (op) {
  case Opcode::Exp:
    return cpu::emitExp(kb, x).value;
  case Opcode::ExpNonPositive:
    return cpu::emitExpNonPositive(kb, x).value;
  case Opcode::Log:
    return cpu::emitLog(kb, x).value;
  case Opcode::Sin:
    return cpu::emitSin(kb, x).value;
  case Opcode::Cos:
    return cpu::emitCos(kb, x).value;
  case Opcode::Erf:
    return cpu::emitErf(kb, x).value;
  case Opcode::Tanh:
    return cpu::emitTanh(kb, x).value;
  case Opcode::Sigmoid:
    return cpu::emitSigmoid(kb, x).value;
  case Opcode::Pow:
    return cpu::emitPow(kb, x, kb.wrap(in[1])).value;
  case Opcode::Atan:
    return cpu::emitAtan(kb, x).value;
  default:
    break;
  }
  llvm_unreachable("an operation without arithmetic");
}

Value MLIRBuilder::emitCast(Value in, Elem from, S result) {
  Type type = typeOf(result);
  if (isFloat(from)) // to a float: the others are composed (Conversions.cpp)
    return bitWidth(result.elem) > bitWidth(from) ? Value(arith::ExtFOp::create(b, loc, type, in))
                                                  : Value(arith::TruncFOp::create(b, loc, type, in));
  if (isFloat(result.elem))
    return isUnsigned(from) ? Value(arith::UIToFPOp::create(b, loc, type, in))
                            : Value(arith::SIToFPOp::create(b, loc, type, in));
  unsigned to = bitWidth(result.elem), have = bitWidth(from);
  if (to == have)
    return in;
  if (to < have)
    return arith::TruncIOp::create(b, loc, type, in);
  return isUnsigned(from) ? Value(arith::ExtUIOp::create(b, loc, type, in))
                          : Value(arith::ExtSIOp::create(b, loc, type, in));
}

/// bf16 is widened and rounded with integers: LLVM would call a library for it.
Value MLIRBuilder::afterLoad(Value raw, Elem memory, bool vec) {
  S wide;
  wide.elem = computeElem(memory);
  wide.vec = vec;
  switch (memory) {
  case Elem::Bool: {
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(raw.getType()));
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, raw, zero);
  }
  case Elem::F16:
    return arith::ExtFOp::create(b, loc, typeOf(wide), raw);
  case Elem::BF16: {
    cpu::V bits = kb.extendUnsigned(kb.wrap(raw), b.getI32Type());
    return kb.bitcast(bits << 16, b.getF32Type()).value;
  }
  default:
    return raw;
  }
}

Value MLIRBuilder::beforeStore(Value value, Elem memory, bool vec) {
  Type type = memoryType(memory, vec);
  switch (memory) {
  case Elem::Bool:
    return arith::ExtUIOp::create(b, loc, type, value);
  case Elem::F16:
    return arith::TruncFOp::create(b, loc, type, value);
  case Elem::BF16: {
    cpu::V x = kb.wrap(value), bits = kb.bitcast(x, b.getI32Type());
    cpu::V rounded = bits + int64_t(0x7FFF) + ((bits >> 16) & 1);
    cpu::V quiet = bits | int64_t(0x00400000);
    return kb.convert(kb.select(x == x, rounded, quiet) >> 16, b.getI16Type()).value;
  }
  default:
    return value;
  }
}
