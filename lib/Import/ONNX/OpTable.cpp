#include "OpTable.h"

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
