#include "FuzzImport.h"

#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Import/ONNX/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"

using namespace llmopt;
using namespace mlir;

/// One line that a terminal shows as it is; UTF-8 passes.
static bool isOneLine(llvm::StringRef text) {
  return !text.empty() && llvm::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string fuzz::checkImport(MLIRContext &context, llvm::StringRef path, OwningOpRef<ModuleOp> &module) {
  context.loadDialect<lm::LMDialect, func::FuncDialect>();
  std::string said, problem;
  ScopedDiagnosticHandler diagnostics(&context, [&](Diagnostic &diagnostic) {
    if (said.empty())
      said = diagnostic.str();
    return success();
  });
  bool hasError = false;
  auto handler = [&](const ImportMessage &message) {
    hasError |= message.isError;
    if (!isOneLine(message.text))
      problem = "expected a message of one line, but got '" + message.text + "'";
  };
  FailureOr<OwningOpRef<ModuleOp>> imported = importONNX(&context, path, ONNXImportOptions(), handler);
  if (!problem.empty())
    return problem;
  if (failed(imported))
    return hasError ? "" : "the importer fails without a message";
  if (failed(verify(**imported)))
    return "does not verify as imported: " + said;
  module = std::move(*imported);
  return "";
}
