#include "FuzzImport.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

#include <optional>

using namespace llmopt;
using namespace mlir;

std::string fuzz::checkPlan(ModuleOp module, bool &planned) {
  planned = false;
  std::string said, error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", "x86-64-v3", error);
  if (!target)
    return error;
  MLIRContext &context = *module.getContext();
  context.loadDialect<kernel::KernelDialect>();
  ScopedDiagnosticHandler diagnostics(&context, [&](Diagnostic &diagnostic) {
    if (said.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
      said = diagnostic.str();
    return success();
  });
  PassManager manager(&context, ModuleOp::getOperationName());
  manager.enableVerifier(false);
  buildRaisePipeline(manager);
  if (failed(manager.run(module)) || failed(verify(module)))
    return "raising: " + said;
  if (failed(buildPlan(module, cpu::CPUPlanTarget(*target))))
    return said.empty() ? "the plan fails without a message" : "";
  if (failed(verify(module)))
    return "does not verify as planned: " + said;
  planned = true;
  return "";
}
