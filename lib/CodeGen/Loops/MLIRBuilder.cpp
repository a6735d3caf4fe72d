// Structure and memory of the MLIR back end; arithmetic is in MLIRArith.cpp.
#include "MLIRBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace llmopt::loops;
using llmopt::cpu::Size;

MLIRBuilder::MLIRBuilder(llvm::StringRef name, ModuleOp into, const cpu::TargetInfo &target)
    : kb(into, target), b(kb.builder), loc(kb.loc), name(name) {
  kb.beginKernel(name);
  frames.push_back({b.getInsertionBlock(), nullptr, -1});
}

void MLIRBuilder::finish() {
  insertAt(0);
  kb.finish();
}

// ---- placement

void MLIRBuilder::insertAt(int32_t level) {
  Frame &frame = frames[realLevel(level)];
  if (frame.openChild)
    b.setInsertionPoint(frame.openChild);
  else
    b.setInsertionPointToEnd(frame.block);
}

void MLIRBuilder::pushFrame(Operation *op, Block *block) {
  Frame &parent = frames[realLevel(frames.size() - 1)];
  outerChild.push_back(parent.openChild);
  parent.openChild = op;
  frames.push_back({block, nullptr, -1});
}

void MLIRBuilder::openMask() {
  int32_t top = frames.size() - 1;
  frames.push_back({nullptr, nullptr, realLevel(top)});
}

void MLIRBuilder::suspend(int32_t level) {
  suspended.emplace_back(frames.begin() + level + 1, frames.end());
  frames.truncate(level + 1);
}

void MLIRBuilder::resume() { frames.append(suspended.pop_back_val()); }

// ---- types

Type MLIRBuilder::elementType(Elem elem) {
  switch (elem) {
  case Elem::F16:
    return b.getF16Type();
  case Elem::BF16:
    return b.getBF16Type();
  case Elem::F32:
    return b.getF32Type();
  case Elem::F64:
    return b.getF64Type();
  default:
    return b.getIntegerType(bitWidth(elem));
  }
}

Type MLIRBuilder::typeOf(S s) {
  Type element = elementType(s.elem);
  return s.vec ? VectorType::get({kLanes}, element) : element;
}

/// What a load or store moves: bytes for booleans, 16-bit integers for bf16
/// (which has no instructions of its own).
Type MLIRBuilder::memoryType(Elem elem, bool vec) {
  Type element = elem == Elem::Bool   ? b.getI8Type()
                 : elem == Elem::BF16 ? b.getI16Type()
                                      : elementType(elem);
  return vec ? VectorType::get({kLanes}, element) : element;
}

// ---- leaves

int32_t MLIRBuilder::createConstant(S result, double f, int64_t i) {
  insertAt(0);
  Type type = typeOf(result);
  TypedAttr attr = isFloat(result.elem)
                       ? TypedAttr(b.getFloatAttr(type, f))
                       : TypedAttr(b.getIntegerAttr(type, llvm::APInt(type.getIntOrFloatBitWidth(), i, true, true)));
  return add(arith::ConstantOp::create(b, loc, attr));
}

int32_t MLIRBuilder::createDim(int64_t index, const SymExpr &) {
  insertAt(0);
  return add(kb.size(Size::dim(index)).value);
}

int32_t MLIRBuilder::createSplat(S value, S result) {
  insertAt(result.level);
  return add(vector::BroadcastOp::create(b, loc, typeOf(result), get(value)));
}

int32_t MLIRBuilder::createLaneIds(S result) {
  insertAt(0);
  SmallVector<int64_t> ids;
  for (int64_t i = 0; i < kLanes; ++i)
    ids.push_back(i);
  auto type = cast<VectorType>(typeOf(result));
  return add(arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, llvm::ArrayRef<int64_t>(ids))));
}

int32_t MLIRBuilder::createTile() { return add(kb.tile.value); }

// ---- memory

Value MLIRBuilder::base(const Buffer &buffer) {
  switch (buffer.kind) {
  case Buffer::Arg:
    return kb.arg(buffer.index).value;
  case Buffer::Table:
    return LLVM::AddressOfOp::create(b, loc, kb.ptr(), tables[buffer.index]);
  case Buffer::Scratch:
    break;
  }
  OpBuilder::InsertPoint here = b.saveInsertionPoint();
  Value offset = get(size(buffer.offset));
  b.restoreInsertionPoint(here);
  return kb.at(kb.scratch, kb.wrap(offset), b.getI8Type()).value;
}

int32_t MLIRBuilder::createLoad(const Buffer &buffer, Access access, S offset, S mask, S result) {
  insertAt(result.level);
  Value pointer = base(buffer);
  Type element = memoryType(buffer.elem, false), type = memoryType(buffer.elem, result.vec);
  Value raw;
  unsigned alignment = elemBytes(buffer.elem);
  if (access == Access::Gather) {
    auto pointers = VectorType::get({kLanes}, kb.ptr());
    Value at = LLVM::GEPOp::create(b, loc, pointers, element, pointer, ValueRange{get(offset)});
    Value on = mask ? get(mask)
                    : Value(arith::ConstantOp::create(
                          b, loc, DenseElementsAttr::get(VectorType::get({kLanes}, b.getI1Type()), true)));
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
    raw = LLVM::masked_gather::create(b, loc, type, at, on, ValueRange{zero}, b.getI32IntegerAttr(alignment));
  } else {
    Value at = kb.at(kb.wrap(pointer), kb.wrap(get(offset)), element).value;
    if (mask) {
      Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
      raw = LLVM::MaskedLoadOp::create(b, loc, type, at, get(mask), zero, alignment);
    } else {
      raw = LLVM::LoadOp::create(b, loc, type, at, alignment);
    }
  }
  return add(afterLoad(raw, buffer.elem, result.vec));
}

void MLIRBuilder::createStore(const Buffer &buffer, Access access, S offset, S value, S, int32_t level) {
  insertAt(level);
  Value pointer = base(buffer), raw = beforeStore(get(value), buffer.elem, value.vec);
  Type element = memoryType(buffer.elem, false);
  unsigned alignment = elemBytes(buffer.elem);
  if (access == Access::Gather) {
    auto pointers = VectorType::get({kLanes}, kb.ptr());
    Value at = LLVM::GEPOp::create(b, loc, pointers, element, pointer, ValueRange{get(offset)});
    Value on =
        arith::ConstantOp::create(b, loc, DenseElementsAttr::get(VectorType::get({kLanes}, b.getI1Type()), true));
    LLVM::masked_scatter::create(b, loc, raw, at, on, b.getI32IntegerAttr(alignment));
    return;
  }
  Value at = kb.at(kb.wrap(pointer), kb.wrap(get(offset)), element).value;
  LLVM::StoreOp::create(b, loc, raw, at, alignment);
}

int64_t MLIRBuilder::createTable(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(kb.module.getBody());
  std::string symbol = (name + "_table" + llvm::Twine(tables.size())).str();
  Type element = memoryType(elem, false);
  int64_t count = std::max(floats.size(), ints.size());
  auto shape = RankedTensorType::get({count}, element);
  DenseElementsAttr attr;
  if (auto type = dyn_cast<FloatType>(element)) {
    SmallVector<llvm::APFloat> contents;
    bool inexact;
    for (double f : floats) {
      contents.emplace_back(f);
      contents.back().convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &inexact);
    }
    attr = DenseElementsAttr::get(shape, contents);
  } else {
    SmallVector<llvm::APInt> contents;
    for (int64_t i : ints)
      contents.emplace_back(element.getIntOrFloatBitWidth(), i, true, true);
    attr = DenseElementsAttr::get(shape, contents);
  }
  LLVM::GlobalOp::create(b, loc, LLVM::LLVMArrayType::get(element, count), /*isConstant=*/true,
                         LLVM::Linkage::Private, symbol, attr, /*alignment=*/64);
  tables.push_back(symbol);
  return tables.size() - 1;
}

int32_t MLIRBuilder::createLaneMove(S vector, int64_t lane, bool extract, S result) {
  insertAt(result.level);
  if (extract)
    return add(vector::ExtractOp::create(b, loc, get(vector), lane));
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < kLanes; ++i)
    order.push_back(i ^ lane);
  return add(vector::ShuffleOp::create(b, loc, get(vector), get(vector), order));
}

// ---- control

void MLIRBuilder::openLoop(LoopKind kind, S lo, S hi, ArrayRef<S> initial, S &variable,
                           llvm::MutableArrayRef<S> carried, llvm::StringRef) {
  insertAt(frames.size() - 1);
  SmallVector<Value> start;
  for (S s : initial)
    start.push_back(get(s));
  Value step = kb.i(kind == LoopKind::Lanes ? kLanes : 1).value;
  auto op = scf::ForOp::create(b, loc, get(lo), get(hi), step, start);
  // A loop without carried values has a terminator already; it is made again
  // when the loop is closed.
  if (!op.getBody()->empty())
    op.getBody()->back().erase();
  variable.id = add(op.getInductionVar());
  for (auto [s, value] : llvm::zip(carried, op.getRegionIterArgs()))
    s.id = add(value);
  pushFrame(op, op.getBody());
}

void MLIRBuilder::yield(ArrayRef<S> yielded) {
  insertAt(frames.size() - 1);
  SmallVector<Value> operands;
  for (S s : yielded)
    operands.push_back(get(s));
  scf::YieldOp::create(b, loc, operands);
}

void MLIRBuilder::closeLoop(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) {
  yield(yielded);
  frames.pop_back();
  Frame &parent = frames[realLevel(frames.size() - 1)];
  Operation *op = parent.openChild;
  parent.openChild = outerChild.pop_back_val();
  for (auto [s, value] : llvm::zip(results, op->getResults()))
    s.id = add(value);
}

void MLIRBuilder::openBranch(S condition, ArrayRef<S> results) {
  insertAt(frames.size() - 1);
  SmallVector<Type> types;
  for (S s : results)
    types.push_back(typeOf(s));
  auto op = scf::IfOp::create(b, loc, types, get(condition), /*addThenBlock=*/true, /*addElseBlock=*/true);
  for (Block *block : {op.thenBlock(), op.elseBlock()})
    if (!block->empty())
      block->back().erase();
  pushFrame(op, op.thenBlock());
}

void MLIRBuilder::openElse(ArrayRef<S> yielded) {
  yield(yielded);
  auto op = cast<scf::IfOp>(frames.back().block->getParentOp());
  frames.back() = {op.elseBlock(), nullptr, -1};
}

void MLIRBuilder::closeBranch(ArrayRef<S> yielded, llvm::MutableArrayRef<S> results) { closeLoop(yielded, results); }
