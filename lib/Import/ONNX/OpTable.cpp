#include "OpTable.h"

#include "llvm/ADT/STLExtras.h"

#include <tuple>

using namespace llmopt;
using namespace llmopt::onnx_import;

static std::string keyOf(llvm::StringRef domain, llvm::StringRef op) { return (domain + ":" + op).str(); }

void OpTable::add(llvm::StringRef domain, llvm::StringRef op, Converter converter, int64_t since, int64_t until) {
  entries[keyOf(domain, op)].push_back({converter, since, until});
}

Converter OpTable::find(llvm::StringRef domain, llvm::StringRef op, int64_t version) const {
  auto it = entries.find(keyOf(domain, op));
  if (it == entries.end())
    return nullptr;
  for (const Entry &entry : it->second)
    if (entry.since <= version && version <= entry.until)
      return entry.converter;
  return nullptr;
}

llvm::StringRef OpTable::remedy(llvm::StringRef domain, llvm::StringRef op) const {
  if (entries.contains(keyOf(domain, op)))
    return "this version of the operator is not; re-export with another opset";
  return getRemedy(domain, op);
}

std::vector<ONNXOperator> OpTable::list() const {
  std::vector<ONNXOperator> result;
  for (const auto &entry : entries) {
    auto [domain, name] = entry.first().split(':');
    auto sorted = entry.second;
    llvm::sort(sorted, [](const Entry &a, const Entry &b) { return a.since < b.since; });
    // Neighbouring versions are one range, whichever converter has them.
    llvm::SmallVector<std::pair<int64_t, int64_t>> ranges;
    for (const Entry &one : sorted)
      if (!ranges.empty() && ranges.back().second != INT64_MAX && one.since <= ranges.back().second + 1)
        ranges.back().second = std::max(ranges.back().second, one.until);
      else if (ranges.empty() || ranges.back().second != INT64_MAX)
        ranges.push_back({one.since, one.until});
    std::string versions;
    for (auto [since, until] : ranges) {
      // Only operator sets of ai.onnx have more than a handful of versions.
      int64_t last = until == INT64_MAX ? (domain.empty() ? kNewestOpset : since) : until;
      versions += (versions.empty() ? "" : ", ") + std::to_string(since) +
                  (last == since ? (until == INT64_MAX && domain.empty() ? " on" : "") : " to " + std::to_string(last));
    }
    result.push_back({domain.str(), name.str(), versions});
  }
  llvm::sort(result, [](const ONNXOperator &a, const ONNXOperator &b) {
    return std::tie(a.domain, a.name) < std::tie(b.domain, b.name);
  });
  return result;
}

std::vector<ONNXOperator> llmopt::listONNXOperators() { return OpTable::get().list(); }

const OpTable &OpTable::get() {
  static const OpTable table = [] {
    OpTable t;
    addActivationOps(t);
    addAttentionOps(t);
    addBitOps(t);
    addConstantOps(t);
    addContribAttentionOps(t);
    addContribOps(t);
    addContribQuantOps(t);
    addControlOps(t);
    addConvOps(t);
    addConvTransposeOps(t);
    addEinsumOps(t);
    addElementwiseOps(t);
    addExpertOps(t);
    addGatherOps(t);
    addGroupQueryOps(t);
    addGridOps(t);
    addIndexOps(t);
    addLinearAlgebraOps(t);
    addLossOps(t);
    addMatmulOps(t);
    addNormOps(t);
    addQLinearOps(t);
    addPoolOps(t);
    addPositionBiasOps(t);
    addQuantOps(t);
    addRandomOps(t);
    addRecurrentOps(t);
    addReduceOps(t);
    addResizeOps(t);
    addSelectOps(t);
    addShapeOps(t);
    addSignalOps(t);
    addSliceOps(t);
    addStatefulOps(t);
    return t;
  }();
  return table;
}
