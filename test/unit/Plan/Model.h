// Models as text, through the whole plan into a shared library, and run.
#ifndef LLMOPT_TEST_UNIT_PLAN_MODEL_H
#define LLMOPT_TEST_UNIT_PLAN_MODEL_H

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/runtime.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "gtest/gtest.h"

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace llmopt::test {

/// A directory that goes away.
class TemporaryDirectory {
public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  std::string path;
};

/// Random normal numbers as the text of a dense attribute, `dense<"0x...">`.
std::string denseFloats(std::mt19937 &random, int64_t count, float deviation);
/// `%id = lm.weight "name" from (dense<...> : T) : T` of random numbers.
std::string weight(std::mt19937 &random, const std::string &name, std::vector<int64_t> dims, float deviation);

lm::Tensor floats(mlir::MLIRContext &context, std::vector<int64_t> dims, std::vector<double> values);
lm::Tensor randomFloats(mlir::MLIRContext &context, std::mt19937 &random, std::vector<int64_t> dims);
lm::Tensor randomInts(mlir::MLIRContext &context, std::mt19937 &random, std::vector<int64_t> dims, int64_t bound);

class Model {
public:
  /// Parses; failures fail the test and leave an empty model.
  explicit Model(const std::string &text);
  /// Takes what `make` gives, null where it failed.
  using Maker = std::function<mlir::OwningOpRef<mlir::ModuleOp>(mlir::MLIRContext &)>;
  explicit Model(const Maker &make);

  /// What the evaluator gives for the function as it was parsed.
  std::vector<lm::Tensor> evaluate(const std::vector<lm::Tensor> &inputs);
  /// Plans, compiles and writes model.so into `directory`. False, with the
  /// diagnostics in `errors`, where that fails.
  bool compile(const cpu::EmitModelOptions &options = {});
  /// Binds and runs; an empty list and `errors` where that fails.
  std::vector<lm::Tensor> run(const std::vector<lm::Tensor> &inputs, uint32_t threads = 1);

  /// Runs and compares with the evaluator: max |a - b| / max(1e-6, max |b|).
  void expectEqual(const std::vector<lm::Tensor> &inputs, double tolerance, uint32_t threads = 1);

  std::string path() const { return directory.path + "/model.so"; }
  mlir::MLIRContext &getContext() { return *context; }
  mlir::ModuleOp getPlan() { return *planned; }

  /// Whether the target that `compile` plans for multiplies quantized weights.
  bool hasInt8 = true;
  /// Whether that target is a GPU, emulated.
  bool emulatesCuda = false;

  std::string errors;
  TemporaryDirectory directory;
  cpu::EmitModelResult result;

private:
  std::unique_ptr<mlir::MLIRContext> context;
  mlir::OwningOpRef<mlir::ModuleOp> source, planned;
};

} // namespace llmopt::test

#endif
