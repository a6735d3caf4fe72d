// The pass pipelines: MLIR to the LLVM dialect, LLVM IR to machine code.
//
// LLVM's own pipeline runs at the asked level with two changes. Loops are not
// unrolled (the accumulators of kernels then stay in registers), and the target
// library is declared empty, so no loop turns into a call to memset or memcpy:
// artefacts import nothing.
#include "llmopt/CodeGen/CPU/Compile.h"

#include "ModelTablesToLLVM.h"
#include "llmopt/CodeGen/CPU/Link.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Object/ArchiveWriter.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Triple.h"

using namespace mlir;

namespace llmopt::cpu {
namespace {

LogicalResult lowerToLLVMDialect(ModuleOp module) {
  PassManager pm(module.getContext(), ModuleOp::getOperationName());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createLoopInvariantCodeMotionPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

/// Only the entry point is visible. Helpers (functions that were private in
/// MLIR) stay calls, so that the register allocation of a micro-kernel does not
/// depend on who uses it.
void setLinkage(llvm::Module &module, const TargetInfo &target,
                const llvm::StringSet<> &kernels, bool exportKernels) {
  for (llvm::Function &f : module) {
    if (f.isDeclaration())
      continue;
    f.addFnAttr("target-cpu", target.cpu);
    f.addFnAttr("tune-cpu", target.tuneCpu);
    if (!target.features.empty())
      f.addFnAttr("target-features", target.features);
    if (target.isa == Isa::Avx512)
      f.addFnAttr("prefer-vector-width", "512");
    f.addFnAttr("no-builtins");
    f.addFnAttr(llvm::Attribute::NoUnwind);
    bool isKernel = kernels.contains(f.getName());
    if (!isKernel)
      f.addFnAttr(llvm::Attribute::NoInline);
    if (isKernel && exportKernels) {
      f.setLinkage(llvm::GlobalValue::ExternalLinkage);
      f.setDSOLocal(false);
    } else {
      f.setLinkage(llvm::GlobalValue::InternalLinkage);
      f.setDSOLocal(true);
    }
  }
}

void optimize(llvm::Module &module, llvm::TargetMachine &machine, int level) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;

  llvm::PipelineTuningOptions tuning;
  tuning.LoopUnrolling = false;
  tuning.LoopInterleaving = true;
  tuning.LoopVectorization = level >= 2;
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(&machine, tuning);

  llvm::TargetLibraryInfoImpl library{llvm::Triple(module.getTargetTriple())};
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);

  llvm::OptimizationLevel levels[] = {
      llvm::OptimizationLevel::O0, llvm::OptimizationLevel::O1,
      llvm::OptimizationLevel::O2, llvm::OptimizationLevel::O3};
  llvm::OptimizationLevel chosen = levels[std::clamp(level, 0, 3)];
  llvm::ModulePassManager passes =
      chosen == llvm::OptimizationLevel::O0
          ? builder.buildO0DefaultPipeline(chosen)
          : builder.buildPerModuleDefaultPipeline(chosen);
  passes.run(module, modules);
}

} // namespace

LogicalResult compileModule(ModuleOp module, const TargetInfo &target,
                            const CompileOptions &options,
                            llvm::SmallVectorImpl<char> &out) {
  llvm::StringSet<> kernels;
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isPublic() && !function.isDeclaration())
      kernels.insert(function.getName());
  if (failed(lowerToLLVMDialect(module)))
    return failure();

  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  module.getContext()->appendDialectRegistry(registry);
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> llvmModule =
      translateModuleToLLVMIR(module, context, "llmopt");
  if (!llvmModule)
    return failure();
  std::unique_ptr<llvm::TargetMachine> machine = target.createTargetMachine();
  if (!machine)
    return module.emitError("no code generator for target '")
           << target.triple << "'";
  llvmModule->setTargetTriple(machine->getTargetTriple());
  llvmModule->setDataLayout(machine->createDataLayout());
  llvmModule->setPICLevel(llvm::PICLevel::BigPIC);

  setLinkage(*llvmModule, target, kernels, /*exportKernels=*/!options.tables);
  if (options.tables) {
    std::string error;
    if (!addModelTables(*llvmModule, *options.tables, options.symbolPrefix,
                        error))
      return module.emitError(error);
  }
  if (llvm::verifyModule(*llvmModule, &llvm::errs()))
    return module.emitError("generated LLVM IR is invalid");
  optimize(*llvmModule, *machine, options.optLevel);

  out.clear();
  llvm::raw_svector_ostream stream(out);
  if (options.emit == Emit::Llvm) {
    llvmModule->print(stream, nullptr);
    return success();
  }
  llvm::SmallVector<char> object;
  llvm::raw_svector_ostream objectStream(object);
  bool text = options.emit == Emit::Asm;
  llvm::legacy::PassManager codegen;
  if (machine->addPassesToEmitFile(codegen, text ? stream : objectStream,
                                   nullptr,
                                   text ? llvm::CodeGenFileType::AssemblyFile
                                        : llvm::CodeGenFileType::ObjectFile))
    return module.emitError("target '")
           << target.triple << "' cannot emit this kind of file";
  codegen.run(*llvmModule);
  if (text)
    return success();
  if (options.emit == Emit::Object) {
    out.append(object.begin(), object.end());
    return success();
  }
  if (options.emit == Emit::Archive) {
    llvm::MemoryBufferRef member(llvm::StringRef(object.data(), object.size()),
                                 "model.o");
    auto archive = llvm::writeArchiveToBuffer(
        llvm::NewArchiveMember(member), llvm::SymtabWritingMode::NormalSymtab,
        llvm::object::Archive::K_GNU, /*Deterministic=*/true, /*Thin=*/false);
    if (!archive)
      return module.emitError(llvm::toString(archive.takeError()));
    llvm::StringRef bytes = (*archive)->getBuffer();
    out.append(bytes.begin(), bytes.end());
    return success();
  }
  std::string error;
  if (!linkSharedLibrary(object, target.triple, out, error))
    return module.emitError(error);
  return success();
}

} // namespace llmopt::cpu
