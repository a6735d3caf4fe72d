// Locations of imported operations, and module paths read from them.
#include "llmopt/Dialect/LM/IR/NodeLocation.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace llmopt::lm;

Location llmopt::lm::getNodeLocation(MLIRContext *context, const NodeInfo &info) {
  Builder b(context);
  auto metadata = b.getDictionaryAttr({b.getNamedAttr("op", b.getStringAttr(info.op)),
                                       b.getNamedAttr("version", b.getI64IntegerAttr(info.version)),
                                       b.getNamedAttr("module", b.getStringAttr(info.module))});
  return FusedLoc::get(context, {NameLoc::get(b.getStringAttr(info.node))}, metadata);
}

static std::optional<NodeInfo> readNode(FusedLoc loc) {
  auto metadata = dyn_cast_or_null<DictionaryAttr>(loc.getMetadata());
  if (!metadata || loc.getLocations().size() != 1)
    return std::nullopt;
  auto name = dyn_cast<NameLoc>(loc.getLocations().front());
  auto op = metadata.getAs<StringAttr>("op");
  auto version = metadata.getAs<IntegerAttr>("version");
  auto module = metadata.getAs<StringAttr>("module");
  if (!name || !op || !version || !module)
    return std::nullopt;
  return NodeInfo{name.getName().str(), op.str(), version.getInt(), module.str()};
}

SmallVector<NodeInfo> llmopt::lm::getNodes(Location loc) {
  SmallVector<NodeInfo> nodes;
  SmallVector<Location> work{loc};
  while (!work.empty()) {
    Location next = work.pop_back_val();
    if (auto fused = dyn_cast<FusedLoc>(next)) {
      if (std::optional<NodeInfo> info = readNode(fused)) {
        if (llvm::none_of(nodes, [&](const NodeInfo &n) { return n.node == info->node; }))
          nodes.push_back(*info);
        continue;
      }
      for (Location part : llvm::reverse(fused.getLocations()))
        work.push_back(part);
    } else if (auto call = dyn_cast<CallSiteLoc>(next)) {
      work.push_back(call.getCallee());
    }
  }
  return nodes;
}

// "a.b.c" and "a.b.d" share "a.b".
static std::string sharedPath(StringRef a, StringRef b) {
  SmallVector<StringRef> left, right, shared;
  a.split(left, '.', -1, false);
  b.split(right, '.', -1, false);
  for (auto [l, r] : llvm::zip(left, right)) {
    if (l != r)
      break;
    shared.push_back(l);
  }
  return llvm::join(shared, ".");
}

static std::string moduleOfWeights(Operation *op) {
  for (Value operand : op->getOperands()) {
    Operation *def = operand.getDefiningOp();
    // Weights may pass a transpose or reshape on their way.
    for (int i = 0; i < 2 && def && isa<TransposeOp, ReshapeOp, CastOp, DequantizeOp>(def); ++i)
      def = def->getOperand(0).getDefiningOp();
    if (auto weight = dyn_cast_or_null<WeightOp>(def))
      if (weight.getName().contains('.') && !weight.getName().contains("::"))
        return weight.getName().rsplit('.').first.str();
  }
  return "";
}

std::string llmopt::lm::getModulePath(Operation *op) {
  std::optional<std::string> path;
  for (const NodeInfo &info : getNodes(op->getLoc()))
    if (!info.module.empty())
      path = path ? sharedPath(*path, info.module) : info.module;
  if (path)
    return *path;
  std::string module = moduleOfWeights(op);
  if (module.empty() && op->hasOneUse())
    module = moduleOfWeights(*op->user_begin());
  return module;
}
