#include "llmopt/Execution/MeasureProducts.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Execution/InProcess.h"
#include "llmopt/Runtime/abi.h"
#include "llmopt/Support/AtomicFile.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"

#include <chrono>

using namespace mlir;
using namespace llmopt;

/// More than the caches of a core hold.
static constexpr size_t kFlushBytes = size_t(64) << 20;
static constexpr int kMinRounds = 5, kMaxRounds = 25;
/// What all rounds of one shape may take, about.
static constexpr double kMaxSeconds = 2;

/// Numbers in [-1, 1) that are the same every time.
static std::vector<float> fill(int64_t count) {
  std::vector<float> values(count);
  uint32_t state = 1;
  for (float &value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / (1 << 23) - 1;
  }
  return values;
}

/// @main(x) = x W, W from `file`.
static OwningOpRef<ModuleOp> buildModule(MLIRContext &context, StringRef file, int64_t rows, int64_t k, int64_t n,
                                         const QuantScheme &scheme) {
  OpBuilder builder(&context);
  Location loc = builder.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  builder.setInsertionPointToEnd(module->getBody());
  Type f32 = builder.getF32Type();
  auto x = RankedTensorType::get({rows, k}, f32), w = RankedTensorType::get({k, n}, f32);
  auto y = RankedTensorType::get({rows, n}, f32);
  auto main = func::FuncOp::create(builder, loc, "main", builder.getFunctionType({x}, {y}));
  main.setArgAttr(0, "lm.name", builder.getStringAttr("x"));
  main.setResultAttr(0, "lm.name", builder.getStringAttr("y"));
  builder.setInsertionPointToStart(main.addEntryBlock());
  auto source = lm::FileAttr::get(&context, builder.getStringAttr(file), 0, static_cast<uint64_t>(4 * k * n));
  Value weight = lm::WeightOp::create(builder, loc, w, builder.getStringAttr("w"), source);
  auto linear = lm::LinearOp::create(builder, loc, y, main.getArgument(0), weight, Value(), false);
  func::ReturnOp::create(builder, loc, linear.getResult());
  InputQuantizer inputs;
  quantizeLinear(linear, scheme, inputs, /*solved=*/nullptr, /*staticScale=*/1.0 / 127);
  return module;
}

static llvm::Expected<std::unique_ptr<InProcessModel>>
compile(StringRef file, const cpu::TargetInfo &target, int64_t rows, int64_t k, int64_t n, const QuantScheme &scheme) {
  // Of its own: a context keeps files mapped as long as it lives.
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<lm::LMDialect, kernel::KernelDialect, func::FuncDialect>();
  std::string said;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (said.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
      said = diagnostic.str();
    return success();
  });
  OwningOpRef<ModuleOp> module = buildModule(context, file, rows, k, n, scheme);
  if (failed(buildPlan(*module, cpu::CPUPlanTarget(target))))
    return llvm::createStringError(said.empty() ? "a product cannot be planned" : said);
  return InProcessModel::compile(*module, target);
}

static void flushCaches() {
  static std::vector<char> memory(kFlushBytes);
  volatile char *bytes = memory.data();
  for (size_t i = 0; i < kFlushBytes; i += 64)
    bytes[i] = static_cast<char>(bytes[i] + 1);
}

llvm::Expected<std::vector<double>> llmopt::measureProduct(const cpu::TargetInfo &target, int64_t rows, int64_t k,
                                                           int64_t n, ArrayRef<QuantScheme> schemes) {
  llvm::SmallString<128> file;
  if (std::error_code error = llvm::sys::fs::createTemporaryFile("llmopt", "weights", file))
    return llvm::createStringError(error, "cannot create a temporary file: " + error.message());
  auto remove = llvm::scope_exit([&] { llvm::sys::fs::remove(file); });
  std::vector<float> weights = fill(k * n), values = fill(rows * k);
  if (llvm::Error error =
          writeFileAtomically(file, {reinterpret_cast<const char *>(weights.data()), 4 * weights.size()}))
    return std::move(error);
  NamedArray input{"x", LLMOPT_F32, {rows, k}, {}};
  input.data.assign(reinterpret_cast<const char *>(values.data()),
                    reinterpret_cast<const char *>(values.data() + values.size()));

  std::vector<std::unique_ptr<InProcessModel>> models;
  std::vector<std::unique_ptr<RepeatedRun>> runs;
  for (const QuantScheme &scheme : schemes) {
    auto model = compile(file, target, rows, k, n, scheme);
    if (!model)
      return model.takeError();
    auto run = (*model)->prepare(input, /*numThreads=*/1);
    if (!run)
      return run.takeError();
    models.push_back(std::move(*model));
    runs.push_back(std::move(*run));
  }
  std::vector<std::vector<double>> times(schemes.size());
  double total = 0;
  for (int round = 0; round < kMinRounds || (round < kMaxRounds && total < kMaxSeconds); ++round)
    for (size_t i = 0; i < runs.size(); ++i) {
      flushCaches();
      auto start = std::chrono::steady_clock::now();
      if (llvm::Error error = runs[i]->run())
        return std::move(error);
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      total += seconds;
      if (round > 0) // the first one meets code and memory that were never touched
        times[i].push_back(seconds);
    }
  std::vector<double> medians;
  for (std::vector<double> &all : times) {
    llvm::sort(all);
    medians.push_back(all[all.size() / 2]);
  }
  return medians;
}
