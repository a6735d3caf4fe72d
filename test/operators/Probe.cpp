#include "Probe.h"

#include "Data.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/CUDA/EmitCuda.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Execution/InProcess.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::operators;

namespace {

/// Keeps the first error instead of printing it.
class Listener {
public:
  explicit Listener(MLIRContext *context)
      : handler(context, [this](Diagnostic &diagnostic) {
          if (said.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
            said = diagnostic.str();
          return success();
        }) {}
  std::string said;

private:
  ScopedDiagnosticHandler handler;
};

/// A directory that goes away.
struct TemporaryDirectory {
  TemporaryDirectory() { ok = !llvm::sys::fs::createUniqueDirectory("llmopt-operators", path); }
  ~TemporaryDirectory() {
    if (ok)
      llvm::sys::fs::remove_directories(path);
  }
  llvm::SmallString<128> path;
  bool ok;
};

func::FuncOp getMain(ModuleOp module) { return module.lookupSymbol<func::FuncOp>("main"); }

} // namespace

std::string Sample::getName() const { return function.getName().split('.').first.str(); }
std::string Sample::getVariant() const { return function.getName().split('.').second.str(); }

Operation *Sample::findOp(func::FuncOp in) const {
  Operation *found = nullptr;
  in.walk([&](Operation *op) {
    if (op->getName().getStringRef() == "lm." + getName())
      found = op;
  });
  return found;
}

OwningOpRef<ModuleOp> Sample::instantiate(llvm::StringRef from, llvm::StringRef to) const {
  OwningOpRef<ModuleOp> module = ModuleOp::create(function.getLoc());
  auto copy = cast<func::FuncOp>(function->clone());
  module->push_back(copy);
  copy.setName("main");
  StringAttr prefix = function.getSymNameAttr();
  auto name = [&](const char *kind, unsigned i) {
    return StringAttr::get(prefix.getContext(), prefix.str() + kind + std::to_string(i));
  };
  for (unsigned i = 0; i < copy.getNumArguments(); ++i)
    copy.setArgAttr(i, "lm.name", name(".in", i));
  for (unsigned i = 0; i < copy.getNumResults(); ++i)
    copy.setResultAttr(i, "lm.name", name(".out", i));
  if (from.empty())
    return module;
  std::string text;
  llvm::raw_string_ostream os(text);
  module->print(os);
  for (size_t at = 0; (at = text.find("x" + from.str(), at)) != std::string::npos;)
    text.replace(at + 1, from.size(), to.str());
  for (size_t at = 0; (at = text.find("<" + from.str() + ">", at)) != std::string::npos;)
    text.replace(at + 1, from.size(), to.str());
  Listener listener(function.getContext());
  return parseSourceString<ModuleOp>(text, function.getContext());
}

Answer Sample::tryVerifier() const {
  Listener listener(function.getContext());
  unsigned rejected = 0;
  auto tryWith = [&](llvm::function_ref<void(Operation *)> spoil) {
    OwningOpRef<ModuleOp> module = instantiate();
    Operation *op = findOp(getMain(*module));
    spoil(op);
    rejected += failed(op->getName().verifyInvariants(op)) || failed(op->getName().verifyRegionInvariants(op));
    // What a terminator yields is its parent's to check.
    if (op->hasTrait<OpTrait::IsTerminator>())
      rejected += failed(verify(op->getParentOp()));
  };
  Operation *op = findOp();
  Type strange = RankedTensorType::get({13, 13, 13, 13, 13, 13, 13}, IntegerType::get(function.getContext(), 3));
  for (unsigned i = 0; i < op->getNumResults(); ++i)
    tryWith([&](Operation *copy) { copy->getResult(i).setType(strange); });
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    tryWith([&](Operation *copy) {
      OpBuilder builder(copy);
      copy->setOperand(i,
                       UnrealizedConversionCastOp::create(builder, copy->getLoc(), strange, ValueRange()).getResult(0));
    });
  for (NamedAttribute attribute : op->getAttrs())
    if (isa<IntegerAttr>(attribute.getValue()))
      tryWith([&](Operation *copy) {
        copy->setAttr(attribute.getName(), IntegerAttr::get(cast<IntegerAttr>(attribute.getValue()).getType(), -1));
      });
  if (rejected)
    return {Answer::Yes, ""};
  return {Answer::No, "accepts every instance that was tried"};
}

Answer Sample::tryEvaluator() const {
  Listener listener(function.getContext());
  OwningOpRef<ModuleOp> module = instantiate();
  func::FuncOp main = getMain(*module);
  auto results = lm::evaluate(main, makeInputs(main, function));
  return failed(results) ? Answer{Answer::No, listener.said} : Answer{Answer::Yes, ""};
}

Answer Sample::runCompiled(ModuleOp module) const {
  Listener listener(module.getContext());
  OwningOpRef<ModuleOp> source = module.clone();
  func::FuncOp main = getMain(*source);
  SmallVector<lm::Tensor> inputs = makeInputs(main, function);
  auto expected = lm::evaluate(main, inputs);
  if (failed(expected))
    return {Answer::No, "not evaluated: " + listener.said};
  if (failed(buildPlan(module, cpu::CPUPlanTarget(target))))
    return {Answer::No, listener.said};
  auto model = InProcessModel::compile(module, target);
  if (!model)
    return {Answer::No, llvm::toString(model.takeError())};
  auto results = (*model)->run(nameInputs(main, inputs));
  if (!results)
    return {Answer::Wrong, llvm::toString(results.takeError())};
  std::string difference = compareOutputs(main, *results, *expected);
  return difference.empty() ? Answer{Answer::Yes, ""} : Answer{Answer::Wrong, difference};
}

Answer Sample::tryCPU() const {
  OwningOpRef<ModuleOp> module = instantiate();
  return runCompiled(*module);
}

Answer Sample::tryCuda() const {
  Listener listener(function.getContext());
  OwningOpRef<ModuleOp> module = instantiate();
  TemporaryDirectory directory;
  if (!directory.ok)
    return {Answer::Wrong, "cannot create a temporary directory"};
  if (failed(buildPlan(*module, cuda::CudaPlanTarget())) ||
      failed(cuda::emitCudaProject(*module, directory.path, std::string("80"), "")))
    return {Answer::No, listener.said};
  return {Answer::Yes, ""};
}

Answer Sample::tryInt8() const {
  if (getVariant() == "int8") {
    Listener listener(function.getContext());
    OwningOpRef<ModuleOp> module = instantiate();
    bool found = false;
    if (succeeded(buildPlan(*module, cpu::CPUPlanTarget(target))))
      module->walk([&](kernel::GemmS8Op) { found = true; });
    if (!found)
      return {Answer::No, "the plan has no int8 kernel for it: " + listener.said};
    return tryCPU();
  }
  std::string text;
  llvm::raw_string_ostream os(text);
  function->print(os);
  if (llvm::StringRef(text).contains("xi8>"))
    return tryCPU();
  for (const char *from : {"f32", "i32", "ui32"}) {
    if (!llvm::StringRef(text).contains(std::string("x") + from))
      continue;
    OwningOpRef<ModuleOp> module = instantiate(from, from[0] == 'u' ? "ui8" : "i8");
    if (!module)
      return {Answer::No, "takes no 8-bit integers"};
    return runCompiled(*module);
  }
  return {Answer::No, "takes no 8-bit integers"};
}

Answer operators::tryEmulation(ArrayRef<Sample> samples) {
  if (samples.empty())
    return {Answer::No, "no samples"};
  MLIRContext *context = samples[0].function.getContext();
  Listener listener(context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(context));
  OpBuilder builder(context);
  builder.setInsertionPointToEnd(module->getBody());
  auto main = func::FuncOp::create(builder, UnknownLoc::get(context), "main", builder.getFunctionType({}, {}));
  Block *body = main.addEntryBlock();
  builder.setInsertionPointToEnd(body);
  SmallVector<lm::Tensor> inputs;
  SmallVector<Value> results;
  SmallVector<Type> argumentTypes, resultTypes;
  SmallVector<DictionaryAttr> argumentAttrs, resultAttrs;
  for (const Sample &sample : samples) {
    OwningOpRef<ModuleOp> one = sample.instantiate();
    func::FuncOp part = getMain(*one);
    llvm::append_range(inputs, makeInputs(part, sample.function));
    IRMapping mapping;
    for (BlockArgument argument : part.getArguments()) {
      mapping.map(argument, body->addArgument(argument.getType(), argument.getLoc()));
      argumentTypes.push_back(argument.getType());
      argumentAttrs.push_back(part.getArgAttrDict(argument.getArgNumber()));
    }
    for (Operation &op : part.getBody().front().without_terminator())
      builder.clone(op, mapping);
    for (auto [i, value] : llvm::enumerate(part.getBody().front().getTerminator()->getOperands())) {
      results.push_back(mapping.lookup(value));
      resultTypes.push_back(value.getType());
      resultAttrs.push_back(part.getResultAttrDict(i));
    }
  }
  func::ReturnOp::create(builder, UnknownLoc::get(context), results);
  main.setFunctionType(builder.getFunctionType(argumentTypes, resultTypes));
  main.setAllArgAttrs(argumentAttrs);
  main.setAllResultAttrs(resultAttrs);
  OwningOpRef<ModuleOp> source = module->clone();
  auto expected = lm::evaluate(getMain(*source), inputs);
  if (failed(expected))
    return {Answer::Wrong, "not evaluated: " + listener.said};
  TemporaryDirectory directory;
  if (!directory.ok)
    return {Answer::Wrong, "cannot create a temporary directory"};
  std::string path = (directory.path + "/all.so").str();
  if (failed(buildPlan(*module, cuda::CudaPlanTarget())) || failed(cuda::emitCudaEmulation(*module, {path, "", false})))
    return {Answer::Wrong, listener.said};
  auto actual = runArtifact(path, nameInputs(getMain(*source), inputs));
  if (!actual)
    return {Answer::Wrong, llvm::toString(actual.takeError())};
  std::string difference = compareOutputs(getMain(*source), *actual, *expected);
  return difference.empty() ? Answer{Answer::Yes, ""} : Answer{Answer::Wrong, difference};
}
