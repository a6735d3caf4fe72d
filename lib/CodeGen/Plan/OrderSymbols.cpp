// Symbols that count data: their place among the steps.
#include "Partition.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt;
using lm::SymExpr;

void plan::lowerDefineSymbol(func::FuncOp function) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::DefineSymbolOp>())) {
    OpBuilder builder(op);
    kernel::DefineSymbolOp::create(builder, op.getLoc(), op.getValue(), op.getSymbol(), op.getBound());
    op.erase();
  }
}

bool plan::dependsOnData(const SymExpr &expr) {
  std::set<std::string> symbols;
  expr.collectSymbols(symbols);
  return llvm::any_of(symbols, [](const std::string &name) { return StringRef(name).starts_with("count_"); });
}

/// Symbols in types and attributes of an operation and all inside of it.
static std::set<std::string> collectSymbols(Operation *op) {
  std::set<std::string> symbols;
  auto addAll = [&](ArrayRef<SymExpr> exprs) {
    for (const SymExpr &expr : exprs)
      if (!expr.isUnknown())
        expr.collectSymbols(symbols);
  };
  op->walk([&](Operation *inner) {
    for (Type type : inner->getOperandTypes())
      addAll(lm::getDims(type));
    for (Type type : inner->getResultTypes())
      addAll(lm::getDims(type));
    for (NamedAttribute attr : inner->getAttrs())
      if (auto values = dyn_cast<lm::SymValuesAttr>(attr.getValue()))
        addAll(lm::getExprs(values));
  });
  return symbols;
}

/// Whatever uses a symbol goes behind its definition: folding and clustering look
/// at values only, and constants of sizes have no operands at all.
void plan::orderSymbols(func::FuncOp function) {
  Block &block = function.getBody().front();
  llvm::StringMap<Operation *> definitions;
  for (auto op : function.getOps<kernel::DefineSymbolOp>())
    definitions[op.getSymbol()] = op;
  if (definitions.empty())
    return;
  SmallVector<Operation *> all;
  for (Operation &op : block.without_terminator())
    all.push_back(&op);
  DenseMap<Operation *, SmallVector<Operation *>> needs;
  for (Operation *op : all) {
    for (Value operand : op->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        needs[op].push_back(producer);
    for (const std::string &symbol : collectSymbols(op))
      if (auto it = definitions.find(symbol); it != definitions.end() && it->second != op)
        needs[op].push_back(it->second);
  }
  // Depth first in the present order: what is in place already stays there.
  llvm::SetVector<Operation *> ordered;
  DenseSet<Operation *> entered;
  SmallVector<std::pair<Operation *, size_t>> stack;
  for (Operation *root : all) {
    if (!entered.insert(root).second)
      continue;
    stack.push_back({root, 0});
    while (!stack.empty()) {
      auto &[op, next] = stack.back();
      if (next == needs[op].size()) {
        ordered.insert(op);
        stack.pop_back();
        continue;
      }
      Operation *need = needs[op][next++];
      if (entered.insert(need).second)
        stack.push_back({need, 0});
    }
  }
  for (Operation *op : ordered)
    op->moveBefore(block.getTerminator());
}
