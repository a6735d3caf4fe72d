// What only training steps use.
#include "EvalOps.h"

#include "llmopt/Support/Philox.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

static Result evaluateDropout(DropoutOp op, ArrayRef<Tensor> in) {
  Tensor result = in[0];
  double probability = in[1].floats()[0];
  auto key = philoxKey(static_cast<uint64_t>(in[2].ints()[0]));
  auto step = static_cast<uint32_t>(in[3].ints()[0]), id = static_cast<uint32_t>(op.getId());
  std::array<uint32_t, 4> words{};
  for (auto [i, x] : llvm::enumerate(result.mutableFloats())) {
    uint64_t block = i / 4;
    if (i % 4 == 0)
      words = philox({uint32_t(block), uint32_t(block >> 32), id, step}, key);
    bool drops = (words[i % 4] >> 8) * 0x1p-24 < probability;
    x = drops ? 0 : roundToType(result.getElementType(), x / (1 - probability));
  }
  return result;
}

std::optional<Result> eval::evaluateTraining(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<DropoutOp>([&](DropoutOp dropout) { return evaluateDropout(dropout, in); })
      .Default([](Operation *) { return std::nullopt; });
}
