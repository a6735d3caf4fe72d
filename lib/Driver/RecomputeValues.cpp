// -recompute, and -mem-budget: how many blocks are computed again. Behind quantization:
// nothing merges common subexpressions any more.
#include "Session.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/CodeGen/Plan/Liveness.h"
#include "llmopt/Transforms/Training/Passes.h"

#include "mlir/IR/TypeUtilities.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace llmopt;

namespace {

/// Blocks of memory take whole large pages; kernels have memory of their own.
constexpr uint64_t kPage = uint64_t(2) << 20, kScratch = uint64_t(2) << 20;

/// Bytes of a value where symbols have the sizes of the budget; the unknown ones are named.
std::optional<uint64_t> countBytes(Value value, const MemoryBudget &budget, std::string &unknown) {
  uint64_t bytes = getDTypeBytes(getDType(getElementTypeOrSelf(value)));
  FailureOr<SmallVector<lm::SymExpr>> dims = getLargestDims(value);
  if (failed(dims))
    return std::nullopt;
  for (const lm::SymExpr &dim : *dims) {
    std::optional<int64_t> size = dim.evaluate([&](StringRef name) -> std::optional<int64_t> {
      for (const auto &[symbol, value] : budget.sizes)
        if (symbol == name)
          return value;
      unknown = name.str();
      return std::nullopt;
    });
    if (!size)
      return std::nullopt;
    bytes *= static_cast<uint64_t>(*size);
  }
  return bytes;
}

/// The most that is alive at a step of a planned function.
std::optional<uint64_t> getPeak(func::FuncOp gradients, const MemoryBudget &budget, std::string &unknown) {
  FailureOr<Liveness> liveness = computeLiveness(gradients);
  if (failed(liveness))
    return std::nullopt;
  std::vector<int64_t> change(liveness->program.size() + 2, 0);
  for (auto &[value, range] : liveness->ranges) {
    if (liveness->getStorage(value) != value || liveness->outputs.count(value))
      continue;
    std::optional<uint64_t> bytes = countBytes(value, budget, unknown);
    if (!bytes)
      return std::nullopt;
    change[range.first] += static_cast<int64_t>(*bytes);
    change[range.last + 1] -= static_cast<int64_t>(*bytes);
  }
  int64_t now = 0, peak = 0;
  for (int64_t c : change)
    peak = std::max(peak, now += c);
  return static_cast<uint64_t>(peak);
}

std::string toMegabytes(uint64_t bytes) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

LogicalResult recompute(ModuleOp module, StringRef mode, unsigned segments) {
  PassManager manager(module.getContext());
  RecomputePassOptions options;
  options.mode = mode.str();
  options.segments = segments;
  manager.addPass(createRecomputePass(options));
  return manager.run(module);
}

} // namespace

int llmopt::recomputeValues(Session &session) {
  const std::optional<MemoryBudget> &budget = session.line.memoryBudget;
  if (!session.line.train)
    return kOk;
  if (!budget)
    return session.runPasses("recompute", [&](OpPassManager &manager) {
      RecomputePassOptions options;
      options.mode = session.line.recompute;
      manager.addPass(createRecomputePass(options));
    });
  session.beginPhase("recompute");
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget(session.line.target, session.line.cpu, error);
  if (!target)
    return session.fail(kUsage, error);
  auto gradients = session.module->lookupSymbol<func::FuncOp>("gradients");
  FailureOr<unsigned> count = countRecomputedSegments(gradients);
  if (failed(count))
    return kBadModel;
  // A parameter, its gradient and two moments, as the runtime asks the system for them.
  uint64_t parameters = 0;
  std::string unknown;
  for (BlockArgument argument : gradients.getArguments())
    if (isParameter(argument))
      parameters += llvm::alignTo(countBytes(argument, *budget, unknown).value_or(0), 64);
  const uint64_t fixed = 2 * llvm::alignTo(parameters, kPage) + llvm::alignTo(2 * parameters, kPage) + kScratch;

  /// With 0 the cheap values alone.
  auto measure = [&](unsigned segments) -> std::optional<uint64_t> {
    OwningOpRef<ModuleOp> copy = session.module->clone();
    if (failed(recompute(*copy, segments ? "layers" : "free", segments)) ||
        failed(buildPlan(*copy, cpu::CPUPlanTarget(*target))))
      return std::nullopt;
    std::optional<uint64_t> peak = getPeak(copy->lookupSymbol<func::FuncOp>("gradients"), *budget, unknown);
    return peak ? std::optional(llvm::alignTo(*peak, kPage) + fixed) : std::nullopt;
  };
  uint64_t least = UINT64_MAX;
  for (unsigned segments = 0; segments <= *count; ++segments) {
    std::optional<uint64_t> bytes = measure(segments);
    if (!bytes)
      return unknown.empty() ? session.lastFailure()
                             : session.fail(kUsage, "-mem-budget: expected a size of '" + unknown +
                                                        "', e.g. -mem-budget=500M," + unknown + ":128");
    least = std::min(least, *bytes);
    if (*bytes > budget->bytes)
      continue;
    session.note("-mem-budget: " + toMegabytes(*bytes) + " of " + toMegabytes(budget->bytes) + ", computing " +
                 (segments ? llvm::Twine(segments) + " of " + llvm::Twine(*count) + " segments again"
                           : llvm::Twine("cheap values again")));
    return succeeded(recompute(*session.module, segments ? "layers" : "free", segments)) ? int(kOk) : kBadModel;
  }
  return session.fail(kGateFailed, "-mem-budget: expected at least " + toMegabytes(least) + ", of which " +
                                       toMegabytes(fixed) + " are parameters, gradients and moments, but got " +
                                       toMegabytes(budget->bytes));
}
