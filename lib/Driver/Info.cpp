// llmopt model.onnx -info: what a model is, without compiling it.
#include "Session.h"

#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Transforms/FusionReport.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/Format.h"

#include <map>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

/// "f32[batch, sequence, 768]"
static std::string describeType(Type type) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << getElementTypeOrSelf(type) << "[";
  llvm::interleaveComma(getDims(type), os, [&](const SymExpr &dim) { os << dim.str(); });
  os << "]";
  return text;
}

static void printValues(raw_ostream &os, StringRef heading, TypeRange types,
                        llvm::function_ref<StringAttr(unsigned)> nameOf) {
  os << heading << "\n";
  for (auto [i, type] : llvm::enumerate(types)) {
    StringAttr name = nameOf(i);
    os << "  " << (name ? name.getValue() : "?") << "  " << describeType(type) << "\n";
  }
}

int llmopt::printInfo(Session &session) {
  auto function = session.module->lookupSymbol<func::FuncOp>("main");
  if (!function)
    return session.internalError("info: no @main");
  raw_ostream &os = session.out;
  os << session.line.model << "\n";
  for (const char *fact : {"lm.model_name", "lm.producer", "lm.ir_version", "lm.opset_imports"})
    if (Attribute value = (*session.module)->getAttr(fact)) {
      os << StringRef(fact).drop_front(3) << ": ";
      if (auto text = dyn_cast<StringAttr>(value))
        os << text.getValue() << "\n";
      else if (auto number = dyn_cast<IntegerAttr>(value))
        os << number.getInt() << "\n";
      else
        os << value << "\n";
    }
  printValues(os, "inputs", function.getArgumentTypes(),
              [&](unsigned i) { return function.getArgAttrOfType<StringAttr>(i, "lm.name"); });
  printValues(os, "outputs", function.getResultTypes(),
              [&](unsigned i) { return function.getResultAttrOfType<StringAttr>(i, "lm.name"); });

  int64_t parameters = 0, tensors = 0;
  uint64_t bytes = 0;
  std::map<std::string, int64_t> operations;
  function.walk([&](Operation *op) {
    if (auto weight = dyn_cast<WeightOp>(op)) {
      auto type = cast<RankedTensorType>(weight.getType());
      ++tensors;
      parameters += type.getNumElements();
      bytes += type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
    } else if (isa<LMDialect>(op->getDialect()) && !isa<ConstantOp>(op)) {
      ++operations[op->getName().getStringRef().str()];
    }
  });
  os << "weights: " << tensors << " tensors, " << parameters << " parameters, "
     << llvm::format("%.1f MB\n", static_cast<double>(bytes) / 1e6);
  os << "operations after raising\n";
  for (auto &[name, count] : operations)
    os << llvm::format("  %6lld  ", static_cast<long long>(count)) << name << "\n";
  if (session.line.reportFusion)
    return reportFusion(session);
  return kOk;
}
