// Operations that move elements: all of them are arithmetic on indices.
#include "Emitter.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

/// One of a few values that are known when shapes are bound.
S Emitter::emitSymbols(ArrayRef<SymExpr> values, Elem elem, const Index &at) {
  std::optional<int64_t> known = at.isConstant() ? at.constant.getConstant() : std::nullopt;
  if (known && *known >= 0 && *known < (int64_t)values.size())
    return cast(b.size(values[*known]), elem);
  S position = valueOf(at), result = b.size(values.empty() ? SymExpr(0) : values.back());
  for (int64_t i = (int64_t)values.size() - 2; i >= 0; --i)
    result = b.op(Opcode::Select, {b.op(Opcode::Eq, {position, b.index(i)}), b.size(values[i]), result});
  return cast(result, elem);
}

S Emitter::emitConstant(lm::ConstantOp op, ArrayRef<Index> indices) {
  auto type = ::mlir::cast<RankedTensorType>(op.getType());
  Elem elem = *elemOf(type.getElementType());
  if (isSmallFloat(elem))
    elem = Elem::F32;
  Index at = linearize(indices, lm::getDims(type));
  if (auto symbols = dyn_cast<lm::SymValuesAttr>(op.getValue()))
    return emitSymbols(lm::getExprs(symbols), elem, at);
  auto dense = mlir::cast<DenseElementsAttr>(op.getValue());
  auto toDouble = [](llvm::APFloat value) {
    bool inexact;
    value.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &inexact);
    return value.convertToDouble();
  };
  auto toInt = [&](const llvm::APInt &value) -> int64_t {
    return loops::isUnsigned(elem) ? value.getZExtValue() : value.getSExtValue();
  };
  std::optional<int64_t> known = at.isConstant() ? at.constant.getConstant() : std::nullopt;
  if (dense.isSplat() || (known && *known >= 0 && *known < dense.getNumElements())) {
    int64_t i = dense.isSplat() ? 0 : *known;
    if (isFloat(elem))
      return real(computeElem(elem), toDouble(*(dense.value_begin<llvm::APFloat>() + i)));
    return b.constant(elem, toInt(*(dense.value_begin<llvm::APInt>() + i)));
  }
  auto it = tables.find(op);
  if (it == tables.end()) {
    SmallVector<double> floats;
    SmallVector<int64_t> ints;
    if (isFloat(elem))
      for (const llvm::APFloat &value : dense.getValues<llvm::APFloat>())
        floats.push_back(toDouble(value));
    else
      for (const llvm::APInt &value : dense.getValues<llvm::APInt>())
        ints.push_back(toInt(value));
    // f16 and bf16 values are exact in f32, the type of computation.
    it = tables.try_emplace(op, b.table(computeElem(elem), floats, ints)).first;
  }
  Address address = addressOf(at);
  return b.load(it->second, address.access, address.offset);
}

/// Operands `first` and on, of which the first starts at `offset`.
S Emitter::emitConcat(lm::ConcatOp op, ArrayRef<Index> indices, size_t first, const SymExpr &offset) {
  Value operand = op.getInputs()[first];
  int64_t axis = op.getAxis();
  SmallVector<Index> inner(indices);
  inner[axis] = indices[axis] - Index(offset);
  if (first + 1 == op.getInputs().size())
    return emit(operand, inner);
  SymExpr end = offset + lm::getDims(operand)[axis];
  if (lm::getDims(operand)[axis].isConstant(0))
    return emitConcat(op, indices, first + 1, end);
  std::optional<SymExpr> low = minimumOf(indices[axis]), high = maximumOf(indices[axis]);
  if (high && isAtLeast(end - SymExpr(1), *high))
    return emit(operand, inner);
  if (low && isAtLeast(*low, end))
    return emitConcat(op, indices, first + 1, end);
  S result;
  b.atLevel(placeFor(indices), [&] {
    S condition = b.op(Opcode::Lt, {valueOf(indices[axis]), b.size(end)});
    result = guard(condition, computeElem(elemOfTensor(operand)), [&] { return emit(operand, inner); },
                   [&] { return emitConcat(op, indices, first + 1, end); });
  });
  return result;
}

S Emitter::emitPad(lm::PadOp op, ArrayRef<Index> indices) {
  SmallVector<SymExpr> dims = lm::getDims(op.getInput()), low = lm::getExprs(op.getLow()),
                       high = lm::getExprs(op.getHigh());
  SmallVector<Index> inner(indices);
  bool padded = false;
  for (size_t i = 0; i < dims.size(); ++i) {
    inner[i] = indices[i] - Index(low[i]);
    padded |= !low[i].isConstant(0) || !high[i].isConstant(0);
  }
  if (!padded)
    return emit(op.getInput(), inner);
  SmallVector<Index> zeros(::mlir::cast<RankedTensorType>(op.getValue().getType()).getRank());
  S filler = emit(op.getValue(), zeros), result;
  b.atLevel(placeFor(indices), [&] {
    S inside;
    auto require = [&](S condition) { inside = inside ? b.op(Opcode::And, {inside, condition}) : condition; };
    for (size_t i = 0; i < dims.size(); ++i) {
      if (!low[i].isConstant(0))
        require(b.op(Opcode::Ge, {valueOf(inner[i]), b.index(0)}));
      if (!high[i].isConstant(0))
        require(b.op(Opcode::Lt, {valueOf(inner[i]), b.size(dims[i])}));
    }
    result = guard(inside, filler.elem, [&] { return emit(op.getInput(), inner); }, [&] { return filler; });
  });
  return result;
}

std::optional<S> Emitter::emitShape(Operation *op, ArrayRef<Index> indices) {
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::ConstantOp>([&](lm::ConstantOp constant) { return emitConstant(constant, indices); })
      .Case<lm::ShapeOp>(
          [&](lm::ShapeOp shape) { return emitSymbols(lm::getDims(shape.getInput()), Elem::I64, indices[0]); })
      .Case<lm::ReshapeOp>([&](lm::ReshapeOp reshape) {
        SmallVector<SymExpr> from = lm::getDims(reshape.getInput()), to = lm::getDims(reshape.getType());
        SmallVector<Index> inner(from.size());
        for (const ReshapeGroup &group : matchReshape(from, to)) {
          SmallVector<Index> own;
          SmallVector<SymExpr> ownDims;
          for (size_t j : group.to) {
            own.push_back(indices[j]);
            ownDims.push_back(to[j]);
          }
          Index rest = linearize(own, ownDims);
          // The outermost dimension that is not 1 takes what is left.
          size_t outermost = 0;
          while (outermost + 1 < group.from.size() && from[group.from[outermost]].isConstant(1))
            ++outermost;
          for (size_t k = group.from.size(); k-- > 0;) {
            if (k == outermost) {
              inner[group.from[k]] = rest;
              break;
            }
            std::tie(rest, inner[group.from[k]]) = divMod(rest, from[group.from[k]]);
          }
        }
        return emit(reshape.getInput(), inner);
      })
      .Case<lm::BroadcastOp>([&](lm::BroadcastOp broadcast) {
        return emitBroadcast(broadcast.getInput(), indices, lm::getDims(broadcast.getType()));
      })
      .Case<lm::TransposeOp>([&](lm::TransposeOp transpose) {
        SmallVector<Index> inner(indices.size());
        for (auto [i, p] : llvm::enumerate(transpose.getPerm()))
          inner[p] = indices[i];
        return emit(transpose.getInput(), inner);
      })
      .Case<lm::ConcatOp>([&](lm::ConcatOp concat) { return emitConcat(concat, indices, 0, 0); })
      .Case<lm::SliceOp>([&](lm::SliceOp slice) {
        SmallVector<SymExpr> starts = lm::getExprs(slice.getStarts());
        SmallVector<Index> inner;
        for (size_t i = 0; i < indices.size(); ++i)
          inner.push_back(indices[i] * SymExpr(slice.getSteps()[i]) + Index(starts[i]));
        return emit(slice.getInput(), inner);
      })
      .Case<lm::PadOp>([&](lm::PadOp pad) { return emitPad(pad, indices); })
      .Case<lm::WindowsOp>([&](lm::WindowsOp windows) {
        size_t rank = lm::getDims(windows.getInput()).size();
        SmallVector<Index> inner(indices.take_front(rank));
        for (auto [i, axis] : llvm::enumerate(windows.getAxes()))
          inner[axis] = indices[axis] * SymExpr(windows.getStrides()[i]) +
                        indices[rank + i] * SymExpr(windows.getDilations()[i]);
        return emit(windows.getInput(), inner);
      })
      .Case<lm::IotaOp>([&](lm::IotaOp iota) {
        return cast(valueOf(indices[iota.getAxis()]), *elemOf(getElementTypeOrSelf(iota.getType())));
      })
      .Case<lm::TriluOp>([&](lm::TriluOp trilu) {
        size_t rank = indices.size();
        S column = valueOf(indices[rank - 1]), row = valueOf(indices[rank - 2]);
        int64_t diagonal = std::clamp<int64_t>(trilu.getDiagonal(), -(int64_t(1) << 40), int64_t(1) << 40);
        S limit = b.op(Opcode::IAdd, {row, b.index(diagonal)});
        S kept = b.op(trilu.getUpper() ? Opcode::Ge : Opcode::Le, {column, limit});
        S value = emit(trilu.getInput(), indices);
        return b.op(Opcode::Select, {kept, value, b.constant(value.elem, int64_t(0))});
      })
      .Default([](Operation *) { return std::nullopt; });
}
