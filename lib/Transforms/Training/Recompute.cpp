// Values that the backward pass needs, computed again there instead of kept.
//
// Everything in front of the loss is the forward pass, everything behind it the
// backward pass. A value that is not kept is computed again right before its first use
// behind the loss, from values that are kept (Chen et al. 2016, "Training deep nets with
// sublinear memory cost", for whole layers).
#include "llmopt/Transforms/Training/Passes.h"

#include "mlir/IR/IRMapping.h"

namespace llmopt {
#define GEN_PASS_DEF_RECOMPUTEPASS
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// What a symbol counts for where sizes are compared.
constexpr int64_t kSymbolSize = 64;
/// A cut may hold this many times what the narrowest holds.
constexpr double kNarrow = 1.5; // masks cross all layers

/// Operations that cost about as much as reading their operands.
bool isCheap(Operation *op) {
  return isa<GeluOp, NormOp, ReluOp, SigmoidOp, TanhOp, AddOp, SubOp, MulOp, DivOp, NegOp, CastOp, WhereOp, CompareOp,
             NotOp, ReshapeOp, TransposeOp, BroadcastOp, SliceOp>(op);
}

class Recompute {
public:
  explicit Recompute(func::FuncOp function) : function(function) {}

  LogicalResult run(StringRef mode) {
    Block &block = function.getBody().front();
    Operation *loss = block.getTerminator()->getOperand(0).getDefiningOp();
    if (!loss || loss->getBlock() != &block)
      return function.emitError("expected a loss that the function computes");
    for (Operation &op : block) {
      (isBehind ? backward : forward).push_back(&op);
      isBehind |= &op == loss;
    }
    order.reserve(forward.size());
    for (auto [i, op] : llvm::enumerate(forward))
      order[op] = i;
    if (mode == "layers")
      keepCuts();
    else
      keepWhatIsNotFree();
    for (Operation *op : backward)
      for (OpOperand &operand : op->getOpOperands())
        if (Value again = materialize(operand.get(), op); again != operand.get())
          operand.set(again);
    return success();
  }

private:
  bool isForward(Value value) const {
    Operation *op = value.getDefiningOp();
    return op && order.count(op);
  }
  /// Constants, weights and what is made of them alone are there at any time.
  bool isRoot(Value value) const {
    Operation *op = value.getDefiningOp();
    return !op || isa<ConstantOp, WeightOp>(op);
  }
  bool isUsedBehind(Value value) const {
    return llvm::any_of(value.getUsers(), [&](Operation *user) { return !order.count(user); });
  }

  /// Keeps all but cheap results whose operands are there anyway.
  void keepWhatIsNotFree() {
    DenseSet<Value> free;
    for (Operation *op : forward)
      for (Value result : op->getResults()) {
        bool isFree = op->getNumResults() == 1 && isCheap(op) && isMemoryEffectFree(op) &&
                      llvm::all_of(op->getOperands(), [&](Value operand) {
                        return isRoot(operand) || free.contains(operand) || isUsedBehind(operand);
                      });
        if (isFree)
          free.insert(result);
        else
          kept.insert(result);
      }
  }

  static int64_t sizeOf(Value value) {
    int64_t size = 1;
    for (const SymExpr &dim : getDims(value)) {
      std::optional<int64_t> n = dim.evaluate([](StringRef) { return std::optional<int64_t>(kSymbolSize); });
      size *= n.value_or(kSymbolSize);
    }
    return size;
  }

  /// Keeps what crosses the narrow places of the forward pass: in a transformer, one
  /// tensor between blocks. The rest is computed again, a block at a time.
  void keepCuts() {
    std::vector<int64_t> crossing(forward.size() + 1, 0);
    std::vector<std::pair<Value, std::pair<size_t, size_t>>> ranges;
    for (auto [i, op] : llvm::enumerate(forward))
      for (Value result : op->getResults()) {
        size_t last = i;
        for (Operation *user : result.getUsers())
          if (auto it = order.find(user); it != order.end())
            last = std::max<size_t>(last, it->second);
        if (isRoot(result) || last == i)
          continue;
        ranges.push_back({result, {i, last}});
        for (size_t p = i + 1; p <= last; ++p)
          crossing[p] += sizeOf(result);
      }
    // What comes before and behind the layers is narrower than any of them: masks, a
    // head for one token, the loss.
    std::vector<int64_t> sorted = crossing;
    llvm::sort(sorted);
    const int64_t wide = std::max<int64_t>(1, sorted[sorted.size() / 2] / 8);
    size_t from = 0, to = crossing.size();
    while (from < to && crossing[from] < wide)
      ++from;
    while (to > from && crossing[to - 1] < wide)
      --to;
    int64_t least = INT64_MAX;
    for (size_t p = from; p < to; ++p)
      least = std::min(least, crossing[p]);
    std::vector<size_t> cuts;
    for (size_t p = from; p < to; ++p)
      if (double(crossing[p]) <= kNarrow * double(least) &&
          (cuts.empty() || p > cuts.back() + 1 || crossing[p] < crossing[cuts.back()]))
        cuts.push_back(p);
    for (auto &[value, range] : ranges) {
      auto next = llvm::lower_bound(cuts, range.first + 1);
      if (next != cuts.end() && *next <= range.second)
        kept.insert(value);
    }
    // What cannot be computed again, and what is behind the last cut: the backward pass
    // begins there, so nothing would be gained.
    for (auto [i, op] : llvm::enumerate(forward))
      if (!isMemoryEffectFree(op) || (!cuts.empty() && i >= cuts.back()) || cuts.empty())
        for (Value result : op->getResults())
          kept.insert(result);
  }

  /// The value at a place behind the loss.
  Value materialize(Value value, Operation *before) {
    if (!isForward(value) || isRoot(value) || kept.contains(value))
      return value;
    if (Value again = copies.lookup(value))
      return again;
    Operation *op = value.getDefiningOp();
    IRMapping mapping;
    for (Value operand : op->getOperands())
      mapping.map(operand, materialize(operand, before));
    OpBuilder builder(before);
    Operation *copy = builder.clone(*op, mapping);
    for (auto [from, to] : llvm::zip(op->getResults(), copy->getResults()))
      copies[from] = to;
    return copies.lookup(value);
  }

  func::FuncOp function;
  std::vector<Operation *> forward, backward;
  DenseMap<Operation *, size_t> order;
  DenseSet<Value> kept;
  DenseMap<Value, Value> copies;
  bool isBehind = false;
};

struct RecomputePass : llmopt::impl::RecomputePassBase<RecomputePass> {
  using llmopt::impl::RecomputePassBase<RecomputePass>::RecomputePassBase;

  void runOnOperation() override {
    if (mode != "none" && mode != "free" && mode != "layers") {
      getOperation().emitError() << "expected recompute none, free or layers, but got " << mode;
      return signalPassFailure();
    }
    auto gradients = getOperation().lookupSymbol<func::FuncOp>("gradients");
    if (mode == "none" || !gradients)
      return;
    if (failed(Recompute(gradients).run(mode)))
      signalPassFailure();
  }
};

} // namespace
