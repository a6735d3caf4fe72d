// What holds of a function between passes, beyond each operation's verifier.
#include "llmopt/Transforms/Shapes/Passes.h"

namespace llmopt {
#define GEN_PASS_DEF_VERIFYLEVELPASS
#include "llmopt/Transforms/Shapes/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// Symbols that some dimension of an input is, exactly, or that count data: running
/// binds these.
std::set<std::string> getBoundSymbols(func::FuncOp function) {
  std::set<std::string> bound;
  for (Type type : function.getArgumentTypes())
    for (const SymExpr &dim : getDims(type))
      if (std::optional<std::string> symbol = dim.getSymbol())
        bound.insert(*symbol);
  function.walk([&](DefineSymbolOp op) { bound.insert(op.getSymbol().str()); });
  // What the session defines (lm-kv-cache).
  for (const char *name : {"lm.past", "lm.capacity"})
    if (auto symbol = function->getAttrOfType<StringAttr>(name))
      bound.insert(symbol.str());
  return bound;
}

LogicalResult checkBound(Operation *op, ArrayRef<SymExpr> exprs, const std::set<std::string> &bound) {
  std::set<std::string> used;
  for (const SymExpr &expr : exprs)
    expr.collectSymbols(used);
  for (const std::string &symbol : used)
    if (!bound.count(symbol))
      return op->emitError() << "expected symbols that are dimensions of inputs, but got \"" << symbol << "\"";
  return success();
}

LogicalResult verifyImported(func::FuncOp function) {
  if (!function.getBody().hasOneBlock() || !isa<func::ReturnOp>(function.getBody().front().getTerminator()))
    return function.emitError() << "expected one block that ends in a return";
  std::set<std::string> bound = getBoundSymbols(function);
  llvm::StringMap<Operation *> weights;
  for (Operation &op : function.getBody().front().without_terminator()) {
    if (!isa_and_present<LMDialect>(op.getDialect()))
      return op.emitError() << "expected operations of the lm dialect, but got " << op.getName();
    for (Type type : op.getResultTypes())
      if (failed(checkBound(&op, getDims(type), bound)))
        return failure();
    for (NamedAttribute attr : op.getAttrs())
      if (auto symbolic = dyn_cast<SymValuesAttr>(attr.getValue()))
        if (failed(checkBound(&op, getExprs(symbolic), bound)))
          return failure();
    auto weight = dyn_cast<WeightOp>(op);
    if (!weight)
      continue;
    auto [it, inserted] = weights.try_emplace(weight.getName(), weight);
    if (!inserted) {
      InFlightDiagnostic diagnostic = weight.emitError() << "expected one weight named \"" << weight.getName() << "\"";
      diagnostic.attachNote(it->second->getLoc()) << "the other one is here";
      return diagnostic;
    }
  }
  return success();
}

/// Raising matches on shapes, so nothing that types tell may still be computed.
LogicalResult verifyRaised(func::FuncOp function) {
  WalkResult walked = function.walk([](ShapeOp shape) {
    if (llvm::any_of(getDims(shape.getInput()), [](const SymExpr &dim) { return dim.isUnknown(); }))
      return WalkResult::advance();
    shape.emitError() << "expected no computation of the shape " << shape.getInput().getType() << ", which is known";
    return WalkResult::interrupt();
  });
  return failure(walked.wasInterrupted());
}

struct VerifyLevel : llmopt::impl::VerifyLevelPassBase<VerifyLevel> {
  using VerifyLevelPassBase::VerifyLevelPassBase;
  void runOnOperation() override {
    if (level < 0 || level > 1) {
      getOperation().emitError() << "expected level 0 or 1, but got " << level;
      return signalPassFailure();
    }
    if (failed(verifyImported(getOperation())) || (level == 1 && failed(verifyRaised(getOperation()))))
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};

} // namespace
