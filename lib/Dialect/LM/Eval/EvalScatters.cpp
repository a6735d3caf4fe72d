// Scatters: updates in row-major order, one rounding when all are done.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

double combine(ScatterKind kind, double old, double update) {
  switch (kind) {
  case ScatterKind::None:
    return update;
  case ScatterKind::Add:
    return old + update;
  case ScatterKind::Mul:
    return old * update;
  case ScatterKind::Max:
    return std::isnan(old) || old > update ? old : update;
  case ScatterKind::Min:
    return std::isnan(old) || old < update ? old : update;
  }
  llvm_unreachable("kind of scatter");
}

int64_t combine(ScatterKind kind, int64_t old, int64_t update, bool isUnsigned, bool isBool) {
  bool less = isUnsigned ? static_cast<uint64_t>(old) < static_cast<uint64_t>(update) : old < update;
  switch (kind) {
  case ScatterKind::None:
    return update;
  case ScatterKind::Add:
    return isBool ? old | update : static_cast<int64_t>(static_cast<uint64_t>(old) + static_cast<uint64_t>(update));
  case ScatterKind::Mul:
    return static_cast<int64_t>(static_cast<uint64_t>(old) * static_cast<uint64_t>(update));
  case ScatterKind::Max:
    return less ? update : old;
  case ScatterKind::Min:
    return less ? old : update;
  }
  llvm_unreachable("kind of scatter");
}

class Scatter {
public:
  Scatter(ScatterKind kind, const Tensor &input, const Tensor &updates) : result(input), updates(updates), kind(kind) {}

  void apply(int64_t to, int64_t from) {
    if (result.isFloat()) {
      double &slot = result.mutableFloats()[to];
      slot = combine(kind, slot, updates.floats()[from]);
      return;
    }
    int64_t &slot = result.mutableInts()[to];
    Type type = result.getElementType();
    slot = wrapToType(type, combine(kind, slot, updates.ints()[from], result.isUnsigned(), type.isInteger(1)));
  }
  Result finish() {
    if (result.isFloat())
      for (double &value : result.mutableFloats())
        value = roundToType(result.getElementType(), value);
    return result;
  }

private:
  Tensor result;
  const Tensor &updates;
  ScatterKind kind;
};

Result evaluateScatterElements(ScatterElementsOp op, const Tensor &input, const Tensor &indices,
                               const Tensor &updates) {
  int64_t axis = op.getAxis();
  if (indices.getDims() != updates.getDims())
    return fail("expected updates of {0}, but got {1}", text(indices.getDims()), text(updates.getDims()));
  Scatter scatter(op.getKind(), input, updates);
  if (llvm::Error error = forIndicesAlong(axis, indices, input.getDims(),
                                          [&](int64_t n, int64_t to) { scatter.apply(to, n); }))
    return std::move(error);
  return scatter.finish();
}

Result evaluateScatterND(ScatterNDOp op, const Tensor &input, const Tensor &indices, const Tensor &updates) {
  int64_t tuple = indices.getDims().back();
  Dims dims(indices.getDims().drop_back());
  dims.append(input.getDims().begin() + tuple, input.getDims().end());
  if (updates.getDims() != ArrayRef<int64_t>(dims))
    return fail("expected updates of {0}, but got {1}", text(dims), text(updates.getDims()));
  Scatter scatter(op.getKind(), input, updates);
  Dims strides = rowMajorStrides(input.getDims());
  int64_t run = *countElements(input.getDims().drop_front(tuple));
  int64_t tuples = *countElements(indices.getDims().drop_back());
  for (int64_t n = 0; n < tuples; ++n) {
    int64_t to = 0;
    for (int64_t t = 0; t < tuple; ++t) {
      llvm::Expected<int64_t> index = indexAt(indices, n * tuple + t, input.getDim(t));
      if (!index)
        return index.takeError();
      to += *index * strides[t];
    }
    for (int64_t i = 0; i < run; ++i)
      scatter.apply(to + i, n * run + i);
  }
  return scatter.finish();
}

} // namespace

std::optional<Result> eval::evaluateScatters(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<ScatterElementsOp>(
          [&](ScatterElementsOp scatter) { return evaluateScatterElements(scatter, in[0], in[1], in[2]); })
      .Case<ScatterNDOp>([&](ScatterNDOp scatter) { return evaluateScatterND(scatter, in[0], in[1], in[2]); })
      .Default([](Operation *) { return std::nullopt; });
}
