// llmopt-import: imports models and prints the modules, or with --list only whether
// each of them imports. For tests.
//
//   llmopt-import [--loc] [--modules] [--shape=INPUT:1x128]... MODEL
//   llmopt-import --list MODEL...
#include "llmopt/Dialect/LM/IR/NodeLocation.h"
#include "llmopt/Import/ONNX/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llmopt;
using namespace mlir;

/// One line per model: its size in operations, or why it is refused.
static int listModels(ArrayRef<std::string> paths) {
  unsigned imported = 0;
  for (const std::string &path : paths) {
    MLIRContext context(MLIRContext::Threading::DISABLED);
    std::string reasons;
    FailureOr<OwningOpRef<ModuleOp>> module = importONNX(&context, path, {}, [&](const ImportMessage &message) {
      if (message.isError)
        reasons += "\n    " + message.text;
    });
    imported += succeeded(module);
    if (failed(module)) {
      llvm::outs() << "refused  " << path << reasons << "\n";
      continue;
    }
    unsigned operations = 0;
    (*module)->walk([&](Operation *op) { operations += op->getDialect()->getNamespace() == "lm"; });
    llvm::outs() << "imported " << path << " (" << operations << " operations)\n";
  }
  llvm::outs() << imported << " imported, " << paths.size() - imported << " refused\n";
  return 0;
}

int main(int argc, char **argv) {
  bool list = false, printLocations = false, printModules = false;
  ONNXImportOptions options;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    StringRef arg = argv[i];
    if (arg == "--list") {
      list = true;
    } else if (arg == "--loc") {
      printLocations = true;
    } else if (arg == "--modules") {
      printModules = true;
    } else if (arg.consume_front("--shape=")) {
      auto [input, dims] = arg.split(':');
      SmallVector<StringRef> parts;
      dims.split(parts, 'x');
      for (StringRef part : parts)
        options.inputShapes[input.str()].push_back(part.str());
    } else {
      paths.push_back(arg.str());
    }
  }
  if (list)
    return listModels(paths);
  if (paths.size() != 1) {
    llvm::errs() << "usage: llmopt-import [--loc] [--modules] [--shape=INPUT:1x128] MODEL\n";
    return 2;
  }
  MLIRContext context(MLIRContext::Threading::DISABLED);
  FailureOr<OwningOpRef<ModuleOp>> module =
      importONNX(&context, paths.front(), options, [](const ImportMessage &message) {
        llvm::errs() << (message.isError ? "error: " : "warning: ") << message.text << "\n";
      });
  if (failed(module))
    return 1;
  if (printModules) {
    (*module)->walk([](Operation *op) { llvm::outs() << op->getName() << " [" << lm::getModulePath(op) << "]\n"; });
    return 0;
  }
  OpPrintingFlags flags;
  if (printLocations)
    flags.enableDebugInfo(true, /*prettyForm=*/false);
  (*module)->print(llvm::outs(), flags);
  llvm::outs() << "\n";
  return 0;
}
