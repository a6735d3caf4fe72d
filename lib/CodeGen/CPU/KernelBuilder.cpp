// Values, memory and control flow for kernel generators.
#include "llmopt/CodeGen/CPU/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace llmopt::cpu {

Type V::elementType() const { return getElementTypeOrSelf(value.getType()); }
bool V::isFloat() const { return isa<FloatType>(elementType()); }

namespace {

constexpr auto contract = arith::FastMathFlags::contract;

/// The type of `like` with another element type.
Type withElement(Type like, Type element) {
  if (auto vector = dyn_cast<VectorType>(like))
    return VectorType::get(vector.getShape(), element);
  return element;
}

/// Splats the scalar of a scalar-vector pair.
void unify(V &a, V &b) {
  if (isa<VectorType>(a.type()) && !isa<VectorType>(b.type()))
    b = a.kb->splat(b, a.type());
  else if (isa<VectorType>(b.type()) && !isa<VectorType>(a.type()))
    a = a.kb->splat(a, b.type());
}

template <typename FloatOp, typename IntOp> V binary(V a, V b) {
  unify(a, b);
  KernelBuilder &kb = *a.kb;
  if (a.isFloat())
    return kb.wrap(
        FloatOp::create(kb.builder, kb.loc, a.value, b.value, contract));
  return kb.wrap(IntOp::create(kb.builder, kb.loc, a.value, b.value));
}

template <typename IntOp> V integer(V a, V b) {
  unify(a, b);
  KernelBuilder &kb = *a.kb;
  return kb.wrap(IntOp::create(kb.builder, kb.loc, a.value, b.value));
}

V compare(V a, V b, arith::CmpFPredicate fp, arith::CmpIPredicate ip) {
  unify(a, b);
  KernelBuilder &kb = *a.kb;
  if (a.isFloat())
    return kb.wrap(
        arith::CmpFOp::create(kb.builder, kb.loc, fp, a.value, b.value));
  return kb.wrap(
      arith::CmpIOp::create(kb.builder, kb.loc, ip, a.value, b.value));
}

unsigned elementBytes(Type type) {
  Type element = getElementTypeOrSelf(type);
  if (isa<LLVM::LLVMPointerType>(element))
    return 8;
  return std::max(1u, element.getIntOrFloatBitWidth() / 8);
}

} // namespace

V operator+(V a, V b) { return binary<arith::AddFOp, arith::AddIOp>(a, b); }
V operator-(V a, V b) { return binary<arith::SubFOp, arith::SubIOp>(a, b); }
V operator*(V a, V b) { return binary<arith::MulFOp, arith::MulIOp>(a, b); }
V operator/(V a, V b) { return binary<arith::DivFOp, arith::DivUIOp>(a, b); }
V operator%(V a, V b) { return integer<arith::RemUIOp>(a, b); }
V operator&(V a, V b) { return integer<arith::AndIOp>(a, b); }
V operator|(V a, V b) { return integer<arith::OrIOp>(a, b); }
V operator^(V a, V b) { return integer<arith::XOrIOp>(a, b); }
V operator<<(V a, V b) { return integer<arith::ShLIOp>(a, b); }
V operator>>(V a, V b) { return integer<arith::ShRSIOp>(a, b); }
V operator-(V a) {
  KernelBuilder &kb = *a.kb;
  return a.isFloat()
             ? kb.wrap(arith::NegFOp::create(kb.builder, kb.loc, a.value))
             : kb.like(a, 0) - a;
}
V operator<(V a, V b) {
  return compare(a, b, arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt);
}
V operator<=(V a, V b) {
  return compare(a, b, arith::CmpFPredicate::OLE, arith::CmpIPredicate::sle);
}
V operator>(V a, V b) {
  return compare(a, b, arith::CmpFPredicate::OGT, arith::CmpIPredicate::sgt);
}
V operator>=(V a, V b) {
  return compare(a, b, arith::CmpFPredicate::OGE, arith::CmpIPredicate::sge);
}
V operator==(V a, V b) {
  return compare(a, b, arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq);
}
V operator!=(V a, V b) {
  return compare(a, b, arith::CmpFPredicate::UNE, arith::CmpIPredicate::ne);
}

KernelBuilder::KernelBuilder(ModuleOp module, const TargetInfo &target)
    : target(target), module(module), builder(module.getContext()),
      loc(builder.getUnknownLoc()) {
  module.getContext()
      ->loadDialect<arith::ArithDialect, func::FuncDialect, scf::SCFDialect,
                    vector::VectorDialect, math::MathDialect,
                    LLVM::LLVMDialect>();
}

Type KernelBuilder::ptr() {
  return LLVM::LLVMPointerType::get(builder.getContext());
}

// ---- functions

bool KernelBuilder::hasFunction(llvm::StringRef name) {
  return module.lookupSymbol<func::FuncOp>(name) != nullptr;
}

Values KernelBuilder::beginFunction(llvm::StringRef name, TypeRange arguments) {
  builder.setInsertionPointToEnd(module.getBody());
  function = func::FuncOp::create(builder, loc, name,
                                  builder.getFunctionType(arguments, {}));
  function.setPrivate();
  Block *entry = function.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  Values values;
  for (BlockArgument argument : entry->getArguments())
    values.push_back(wrap(argument));
  argCache.clear();
  dimCache.clear();
  return values;
}

void KernelBuilder::beginKernel(llvm::StringRef name) {
  Values arguments = beginFunction(name, {ptr(), ptr(), i64(), ptr()});
  function.setPublic();
  argsPointer = arguments[0];
  dimsPointer = arguments[1];
  tile = arguments[2];
  scratch = arguments[3];
}

void KernelBuilder::finish() { func::ReturnOp::create(builder, loc); }

void KernelBuilder::call(llvm::StringRef name, llvm::ArrayRef<V> arguments) {
  SmallVector<Value> operands;
  for (V a : arguments)
    operands.push_back(a.value);
  func::CallOp::create(builder, loc, name, TypeRange{}, operands);
}

V KernelBuilder::arg(int64_t index) {
  // Loaded in the entry block so that every use is dominated.
  if (index >= (int64_t)argCache.size())
    argCache.resize(index + 1);
  if (!argCache[index]) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&function.getBody().front());
    argCache[index] = load(at(argsPointer, index, ptr()), ptr());
  }
  return argCache[index];
}

V KernelBuilder::size(Size s) {
  if (!s.isDim)
    return i(s.value);
  if (s.value >= (int64_t)dimCache.size())
    dimCache.resize(s.value + 1);
  if (!dimCache[s.value]) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&function.getBody().front());
    dimCache[s.value] = load(at(dimsPointer, s.value, i64()), i64());
  }
  return dimCache[s.value];
}

// ---- constants

V KernelBuilder::constant(Type type, double value) {
  auto element = cast<FloatType>(getElementTypeOrSelf(type));
  TypedAttr attr = builder.getFloatAttr(element, value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return wrap(arith::ConstantOp::create(builder, loc, attr));
}

V KernelBuilder::intConstant(Type type, int64_t value) {
  TypedAttr attr = builder.getIntegerAttr(getElementTypeOrSelf(type), value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return wrap(arith::ConstantOp::create(builder, loc, attr));
}

V KernelBuilder::i(int64_t value) { return intConstant(i64(), value); }
V KernelBuilder::f(double value) { return constant(f32(), value); }
V KernelBuilder::splatConstant(double value) { return constant(vec(), value); }

// ---- arithmetic

V KernelBuilder::fma(V a, V b, V c) {
  unify(a, c);
  unify(b, c);
  unify(a, b);
  unify(a, c);
  if (!target.hasFma)
    return a * b + c;
  return wrap(math::FmaOp::create(builder, loc, a.value, b.value, c.value));
}

V KernelBuilder::roundedProduct(V a, V b) {
  unify(a, b);
  return wrap(arith::MulFOp::create(builder, loc, a.value, b.value));
}

V KernelBuilder::minimum(V a, V b) { return select(a < b, a, b); }
V KernelBuilder::maximum(V a, V b) { return select(a > b, a, b); }

V KernelBuilder::abs(V a) {
  Type bits = builder.getIntegerType(a.elementType().getIntOrFloatBitWidth());
  V asInt = bitcast(a, bits);
  int64_t mask = bits.getIntOrFloatBitWidth() == 64 ? INT64_MAX : INT32_MAX;
  return bitcast(asInt & like(asInt, mask), a.elementType());
}

V KernelBuilder::copySign(V magnitude, V sign) {
  unify(magnitude, sign);
  Type bits =
      builder.getIntegerType(magnitude.elementType().getIntOrFloatBitWidth());
  V m = bitcast(magnitude, bits), s = bitcast(sign, bits);
  bool wide = bits.getIntOrFloatBitWidth() == 64;
  V low = like(m, wide ? INT64_MAX : INT32_MAX),
    high = like(m, wide ? INT64_MIN : INT32_MIN);
  return bitcast((m & low) | (s & high), magnitude.elementType());
}

V KernelBuilder::sqrt(V a) {
  return wrap(math::SqrtOp::create(builder, loc, a.value));
}

V KernelBuilder::ceilDiv(V a, int64_t b) {
  return b == 1 ? a : (a + (b - 1)) / b;
}

V KernelBuilder::select(V condition, V a, V b) {
  unify(a, b);
  if (isa<VectorType>(condition.type()))
    unify(condition, a), unify(condition, b);
  return wrap(
      arith::SelectOp::create(builder, loc, condition.value, a.value, b.value));
}

V KernelBuilder::bitcast(V a, Type element) {
  return wrap(arith::BitcastOp::create(
      builder, loc, withElement(a.type(), element), a.value));
}

V KernelBuilder::convert(V a, Type element) {
  Type from = a.elementType();
  if (from == element)
    return a;
  Type type = withElement(a.type(), element);
  bool wider = element.getIntOrFloatBitWidth() > from.getIntOrFloatBitWidth();
  if (isa<FloatType>(from) && isa<FloatType>(element))
    return wrap(
        wider
            ? arith::ExtFOp::create(builder, loc, type, a.value).getResult()
            : arith::TruncFOp::create(builder, loc, type, a.value).getResult());
  if (isa<FloatType>(from))
    return wrap(arith::FPToSIOp::create(builder, loc, type, a.value));
  if (isa<FloatType>(element))
    return wrap(arith::SIToFPOp::create(builder, loc, type, a.value));
  return wrap(
      wider ? arith::ExtSIOp::create(builder, loc, type, a.value).getResult()
            : arith::TruncIOp::create(builder, loc, type, a.value).getResult());
}

V KernelBuilder::toFloat(V a, Type element, bool isSigned) {
  Type type = withElement(a.type(), element);
  return wrap(
      isSigned
          ? arith::SIToFPOp::create(builder, loc, type, a.value).getResult()
          : arith::UIToFPOp::create(builder, loc, type, a.value).getResult());
}

V KernelBuilder::extendUnsigned(V a, Type element) {
  return wrap(arith::ExtUIOp::create(builder, loc,
                                     withElement(a.type(), element), a.value));
}

V KernelBuilder::splat(V scalar) { return splat(scalar, vecOf(scalar.type())); }
V KernelBuilder::splat(V scalar, Type vectorType) {
  Type type =
      VectorType::get(cast<VectorType>(vectorType).getShape(), scalar.type());
  return wrap(vector::BroadcastOp::create(builder, loc, type, scalar.value));
}

V KernelBuilder::shuffle(V a, V b, llvm::ArrayRef<int64_t> order) {
  return wrap(vector::ShuffleOp::create(builder, loc, a.value, b.value, order));
}

V KernelBuilder::extract(V vector, int64_t lane) {
  return wrap(vector::ExtractOp::create(builder, loc, vector.value, lane));
}

template <typename Combine> static V reduceTree(V vector, Combine combine) {
  KernelBuilder &kb = *vector.kb;
  int64_t width = cast<VectorType>(vector.type()).getDimSize(0);
  while (width > 1) {
    width /= 2;
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < width; ++lane) {
      low.push_back(lane);
      high.push_back(width + lane);
    }
    vector = combine(kb.shuffle(vector, vector, low),
                     kb.shuffle(vector, vector, high));
  }
  return kb.extract(vector, 0);
}

V KernelBuilder::reduceAdd(V vector) {
  return reduceTree(vector, [](V a, V b) { return a + b; });
}
V KernelBuilder::reduceMax(V vector) {
  return reduceTree(vector, [this](V a, V b) { return maximum(a, b); });
}

V KernelBuilder::laneIndex() {
  SmallVector<int64_t> values;
  for (int64_t lane = 0; lane < lanes(); ++lane)
    values.push_back(lane);
  auto type = cast<VectorType>(vecOf(i64()));
  return wrap(arith::ConstantOp::create(
      builder, loc,
      DenseElementsAttr::get(type, llvm::ArrayRef<int64_t>(values))));
}

V KernelBuilder::laneIndex32() {
  SmallVector<int32_t> values;
  for (int64_t lane = 0; lane < lanes(); ++lane)
    values.push_back(lane);
  auto type = cast<VectorType>(vecOf(i32()));
  return wrap(arith::ConstantOp::create(
      builder, loc,
      DenseElementsAttr::get(type, llvm::ArrayRef<int32_t>(values))));
}

V KernelBuilder::firstLanes(V count) {
  V clamped = minimum(count, i(lanes()));
  return laneIndex32() < splat(convert(clamped, i32()));
}

// ---- memory

V KernelBuilder::at(V pointer, V offset, Type element) {
  if (!element)
    element = f32();
  return wrap(LLVM::GEPOp::create(builder, loc, ptr(), element, pointer.value,
                                  ValueRange{offset.value},
                                  LLVM::GEPNoWrapFlags::inbounds));
}

V KernelBuilder::at(V pointer, int64_t offset, Type element) {
  return offset == 0 ? pointer : at(pointer, i(offset), element);
}

V KernelBuilder::load(V pointer, Type type) {
  if (!type)
    type = f32();
  return wrap(LLVM::LoadOp::create(builder, loc, type, pointer.value,
                                   elementBytes(type)));
}

V KernelBuilder::loadMasked(V pointer, V mask, V passThrough) {
  if (!passThrough)
    passThrough = splatConstant(0);
  return wrap(LLVM::MaskedLoadOp::create(
      builder, loc, passThrough.type(), pointer.value, mask.value,
      passThrough.value, elementBytes(passThrough.type())));
}

void KernelBuilder::store(V value, V pointer) {
  LLVM::StoreOp::create(builder, loc, value.value, pointer.value,
                        elementBytes(value.type()));
}

void KernelBuilder::storeMasked(V value, V pointer, V mask) {
  LLVM::MaskedStoreOp::create(
      builder, loc, value.value, pointer.value, mask.value,
      builder.getI32IntegerAttr(elementBytes(value.type())));
}

void KernelBuilder::prefetch(V pointer, int locality, bool toWrite) {
  LLVM::Prefetch::create(builder, loc, pointer.value, /*rw=*/toWrite, /*hint=*/locality, /*cache=*/1);
}

// ---- control flow

void KernelBuilder::loop(V lo, V hi, int64_t step,
                         llvm::function_ref<void(V)> body) {
  loop(lo, hi, step, {}, [&](V iv, llvm::ArrayRef<V>) {
    body(iv);
    return Values{};
  });
}

Values
KernelBuilder::loop(V lo, V hi, int64_t step, llvm::ArrayRef<V> init,
                    llvm::function_ref<Values(V, llvm::ArrayRef<V>)> body) {
  SmallVector<Value> initial;
  for (V v : init)
    initial.push_back(v.value);
  auto forOp = scf::ForOp::create(builder, loc, lo.value, hi.value,
                                  i(step).value, initial);
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(forOp.getBody());
    if (init.empty() && !forOp.getBody()->empty())
      builder.setInsertionPoint(forOp.getBody()->getTerminator());
    Values carried;
    for (Value v : forOp.getRegionIterArgs())
      carried.push_back(wrap(v));
    Values next = body(wrap(forOp.getInductionVar()), carried);
    if (!init.empty()) {
      SmallVector<Value> yielded;
      for (V v : next)
        yielded.push_back(v.value);
      scf::YieldOp::create(builder, loc, yielded);
    }
  }
  Values results;
  for (Value v : forOp.getResults())
    results.push_back(wrap(v));
  return results;
}

void KernelBuilder::ifThen(V condition, llvm::function_ref<void()> then,
                           llvm::function_ref<void()> otherwise) {
  auto ifOp = scf::IfOp::create(builder, loc, condition.value,
                                static_cast<bool>(otherwise));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(ifOp.thenBlock()->getTerminator());
  then();
  if (otherwise) {
    builder.setInsertionPoint(ifOp.elseBlock()->getTerminator());
    otherwise();
  }
}

Values KernelBuilder::ifThenElse(V condition, TypeRange types,
                                 llvm::function_ref<Values()> then,
                                 llvm::function_ref<Values()> otherwise) {
  auto ifOp = scf::IfOp::create(builder, loc, types, condition.value, true);
  auto fill = [&](Block *block, llvm::function_ref<Values()> body) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(block);
    SmallVector<Value> yielded;
    for (V v : body())
      yielded.push_back(v.value);
    scf::YieldOp::create(builder, loc, yielded);
  };
  fill(ifOp.thenBlock(), then);
  fill(ifOp.elseBlock(), otherwise);
  Values results;
  for (Value v : ifOp.getResults())
    results.push_back(wrap(v));
  return results;
}

void KernelBuilder::forVectors(V count, llvm::function_ref<void(V, V)> body) {
  V full = (count / lanes()) * lanes();
  loop(i(0), full, lanes(), [&](V offset) { body(offset, V{}); });
  ifThen(full < count, [&] { body(full, firstLanes(count - full)); });
}

} // namespace llmopt::cpu
