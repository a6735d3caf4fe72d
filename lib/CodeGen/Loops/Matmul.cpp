// Matrix products and convolution, one sum per element.
#include "Emitter.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

S Emitter::emitContraction(Value lhs, ArrayRef<Index> lhsIndices, Value rhs,
                           llvm::function_ref<SmallVector<Index>(const Index &)> rhsAt, ArrayRef<Index> indices) {
  SymExpr extent = lm::getDims(lhs).back();
  Elem elem = computeElem(elemOfTensor(lhs));
  Row row = rowOf(lhs, lhsIndices, lhsIndices.size() - 1, false);
  if (costOf(lhs) > 8) { // every column needs it again
    ArrayRef<Index> kept = lhsIndices.drop_back();
    std::string key = "lhs" + std::to_string(reinterpret_cast<uintptr_t>(lhs.getAsOpaquePointer()));
    for (const Index &index : kept)
      key += "," + index.key();
    Cached state = rowState(key, placeFor(kept), [&] {
      Cached made;
      made.row = stage(extent, elem, row);
      return made;
    });
    if (state.row)
      row = [this, staged = *state.row](const Index &k) { return loadRow(staged, k); };
  }
  S result;
  b.atLevel(placeForReduction(indices), [&] {
    result = reduce({extent}, {b.constant(elem, int64_t(0))},
                    [&](ArrayRef<Index> at, ArrayRef<S> sum) {
                      S x = row(at[0]), y = emit(rhs, rhsAt(at[0]));
                      return SmallVector<S>{b.op(Opcode::Add, {sum[0], b.op(Opcode::Mul, {x, y})})};
                    },
                    [&](ArrayRef<S> x, ArrayRef<S> y) { return SmallVector<S>{b.op(Opcode::Add, {x[0], y[0]})}; })[0];
  });
  return result;
}

S Emitter::emitConv(lm::ConvOp op, ArrayRef<Index> indices) {
  SmallVector<SymExpr> input = lm::getDims(op.getInput()), weight = lm::getDims(op.getWeight()), extents;
  size_t spatial = input.size() - 2;
  Elem elem = computeElem(elemOfTensor(op.getInput()));
  SymExpr perGroup = SymExpr::floorDiv(weight[0], static_cast<int64_t>(op.getGroups()));
  Index group = op.getGroups() == 1 ? Index(0) : divMod(indices[1], perGroup).first;
  extents.push_back(weight[1]);
  for (size_t i = 0; i < spatial; ++i)
    extents.push_back(weight[2 + i]);
  S zero = b.constant(elem, int64_t(0)), result;
  b.atLevel(placeForReduction(indices), [&] {
    auto body = [&](ArrayRef<Index> at, ArrayRef<S> sum) {
      SmallVector<Index> from{indices[0], group * weight[1] + at[0]}, weights{indices[1]};
      weights.append(at.begin(), at.end());
      S inside;
      auto require = [&](S condition) { inside = inside ? b.op(Opcode::And, {inside, condition}) : condition; };
      for (size_t i = 0; i < spatial; ++i) {
        int64_t low = op.getPads()[i], high = op.getPads()[spatial + i];
        from.push_back(indices[2 + i] * SymExpr(op.getStrides()[i]) + at[1 + i] * SymExpr(op.getDilations()[i]) -
                       Index(low));
        if (low > 0)
          require(b.op(Opcode::Ge, {valueOf(from.back()), b.index(0)}));
        if (high > 0)
          require(b.op(Opcode::Lt, {valueOf(from.back()), b.size(input[2 + i])}));
      }
      S x = inside ? guard(inside, elem, [&] { return emit(op.getInput(), from); }, [&] { return zero; })
                   : emit(op.getInput(), from);
      return SmallVector<S>{b.op(Opcode::Add, {sum[0], b.op(Opcode::Mul, {x, emit(op.getWeight(), weights)})})};
    };
    result = reduce(extents, {zero}, body, [&](ArrayRef<S> x, ArrayRef<S> y) {
      return SmallVector<S>{b.op(Opcode::Add, {x[0], y[0]})};
    })[0];
  });
  if (op.getBias())
    result = b.op(Opcode::Add, {result, emit(op.getBias(), {indices[1]})});
  return result;
}

std::optional<S> Emitter::emitMatmuls(Operation *op, ArrayRef<Index> indices) {
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::MatMulOp>([&](lm::MatMulOp matmul) {
        Value lhs = matmul.getLhs(), rhs = matmul.getRhs();
        SmallVector<SymExpr> left = lm::getDims(lhs), right = lm::getDims(rhs), dims = lm::getDims(matmul.getResult());
        bool row = left.size() == 1, column = right.size() == 1;
        size_t lead = indices.size() - !row - !column;
        // The leading dimensions of both, and of the result, align at their ends.
        auto leading = [&](ArrayRef<SymExpr> own) {
          SmallVector<Index> result;
          size_t count = own.size() < 2 ? 0 : own.size() - 2;
          for (size_t i = 0; i < count; ++i) {
            size_t at = lead - count + i;
            if (own[i].isConstant(1))
              result.push_back(Index(0));
            else if (own[i].getConstant() || own[i] == dims[at] || isAtLeast(own[i], 2))
              result.push_back(indices[at]);
            else
              result.push_back(indices[at] * SymExpr::min(own[i] - SymExpr(1), 1));
          }
          return result;
        };
        SmallVector<Index> leftAt = leading(left), rightLead = leading(right);
        if (!row)
          leftAt.push_back(indices[lead]);
        leftAt.push_back(Index(0));
        return emitContraction(lhs, leftAt, rhs, [&](const Index &k) {
          SmallVector<Index> at = rightLead;
          at.push_back(k);
          if (!column)
            at.push_back(indices.back());
          return at;
        }, indices);
      })
      .Case<lm::LinearOp>([&](lm::LinearOp linear) {
        SmallVector<Index> leftAt(indices.drop_back());
        leftAt.push_back(Index(0));
        S result = emitContraction(linear.getInput(), leftAt, linear.getWeight(), [&](const Index &k) {
          return linear.getTransposeWeight() ? SmallVector<Index>{indices.back(), k}
                                             : SmallVector<Index>{k, indices.back()};
        }, indices);
        if (linear.getBias())
          result = b.op(Opcode::Add, {result, emit(linear.getBias(), {indices.back()})});
        return result;
      })
      .Case<lm::ConvOp>([&](lm::ConvOp conv) { return emitConv(conv, indices); })
      .Default([](Operation *) { return std::nullopt; });
}
