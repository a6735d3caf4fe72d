// Bits of integers, inverse trigonometric functions, and random bits.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

template <typename Fn> Result zipInts(ArrayRef<Tensor> in, Fn fn) {
  llvm::Expected<Dims> dims = broadcastShapes({in[0].getDims(), in[1].getDims()});
  if (!dims)
    return dims.takeError();
  Result a = broadcastTo(in[0], *dims), b = broadcastTo(in[1], *dims);
  if (!a || !b)
    return a ? b.takeError() : (llvm::consumeError(b.takeError()), a.takeError());
  for (auto [x, y] : llvm::zip(a->mutableInts(), b->ints()))
    x = wrapToType(a->getElementType(), fn(x, y));
  return a;
}

Result evaluateShift(const Tensor &a, const Tensor &b, bool left) {
  int64_t width = a.getElementType().getIntOrFloatBitWidth();
  bool isUnsigned = a.isUnsigned();
  return zipInts({a, b}, [&](int64_t x, int64_t count) -> int64_t {
    bool out = count < 0 || count >= width; // an unsigned count beyond 2^63 is negative here
    if (left)
      return out ? 0 : static_cast<int64_t>(static_cast<uint64_t>(x) << count);
    if (out)
      return isUnsigned || x >= 0 ? 0 : -1;
    return isUnsigned ? static_cast<int64_t>(static_cast<uint64_t>(x) >> count) : x >> count;
  });
}

Result evaluateRandomBits(RandomBitsOp op, const SymbolBindings &bindings) {
  auto dims = requireDims(op.getType(), bindings);
  if (!dims)
    return dims.takeError();
  Result result = Tensor::create(getElementTypeOrSelf(op.getType()), *dims);
  if (!result)
    return result;
  uint64_t state = static_cast<uint64_t>(op.getSeed());
  for (int64_t &out : result->mutableInts()) {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    out = static_cast<int64_t>(z ^ (z >> 31));
  }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateBits(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<AcosOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::acos(x); }); })
      .Case<AsinOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::asin(x); }); })
      .Case<AtanOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::atan(x); }); })
      .Case<AcoshOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::acosh(x); }); })
      .Case<AsinhOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::asinh(x); }); })
      .Case<AtanhOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::atanh(x); }); })
      .Case<BitwiseAndOp>([&](auto) { return zipInts(in, [](int64_t a, int64_t b) { return a & b; }); })
      .Case<BitwiseOrOp>([&](auto) { return zipInts(in, [](int64_t a, int64_t b) { return a | b; }); })
      .Case<BitwiseXorOp>([&](auto) { return zipInts(in, [](int64_t a, int64_t b) { return a ^ b; }); })
      .Case<BitwiseNotOp>([&](auto) -> Result {
        Tensor result = in[0];
        for (int64_t &x : result.mutableInts())
          x = wrapToType(in[0].getElementType(), ~x);
        return result;
      })
      .Case<ShiftLeftOp>([&](auto) { return evaluateShift(in[0], in[1], true); })
      .Case<ShiftRightOp>([&](auto) { return evaluateShift(in[0], in[1], false); })
      .Case<BitcastOp>([&](BitcastOp bitcast) -> Result {
        return Tensor::fromBytes(getElementTypeOrSelf(bitcast.getType()), in[0].getDims(), in[0].toBytes());
      })
      .Case<RandomBitsOp>([&](RandomBitsOp random) { return evaluateRandomBits(random, bindings); })
      .Default([](Operation *) { return std::nullopt; });
}
