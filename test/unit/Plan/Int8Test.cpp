// Quantized models against the evaluator on the same quantized module.
//
// The integers of weights are equal by definition. Those of activations follow
// from floats that differ in the last bits, so one near a tie may come out
// different and move an output by about 1/127 of its share; the inputs are drawn
// from a fixed seed.
#include "Model.h"

#include "llmopt/Import/ONNX/Import.h"
#include "llmopt/Transforms/Passes.h"
#include "llmopt/Transforms/Quantization/Passes.h"

#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::test;

static OwningOpRef<ModuleOp> quantized(MLIRContext &context, const std::string &name) {
  auto module = importONNX(&context, LLMOPT_TEST_MODELS "/" + name, {}, [](const ImportMessage &) {});
  if (failed(module))
    return {};
  PassManager manager(&context);
  buildRaisePipeline(manager);
  manager.addNestedPass<func::FuncOp>(createQuantizeInt8Pass());
  return succeeded(manager.run(**module)) ? std::move(*module) : OwningOpRef<ModuleOp>();
}

static unsigned countSteps(Model &model, StringRef op) {
  unsigned count = 0;
  model.getPlan().walk([&](Operation *inner) { count += inner->getName().getStringRef() == op; });
  return count;
}

static void expectEvaluated(Model &model) {
  std::mt19937 random(3);
  auto &context = model.getContext();
  for (auto [batch, sequence] : {std::pair<int64_t, int64_t>{1, 1}, {1, 7}, {3, 5}, {2, 16}})
    for (uint32_t threads : {1u, 2u}) {
      SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(sequence));
      std::vector<int64_t> mask;
      for (int64_t b = 0; b < batch; ++b) {
        int64_t length = std::uniform_int_distribution<int64_t>(1, sequence)(random);
        for (int64_t s = 0; s < sequence; ++s)
          mask.push_back(s < length);
      }
      model.expectEqual({randomInts(context, random, {batch, sequence}, 97),
                         cantFail(lm::Tensor::fromInts(IntegerType::get(&context, 64), {batch, sequence}, mask)),
                         randomInts(context, random, {batch, sequence}, 2)},
                        1e-4, threads);
    }
}

TEST(Int8, EncoderEqualsEvaluator) {
  Model model([](MLIRContext &context) { return quantized(context, "bert-tiny.torchscript.onnx"); });
  ASSERT_TRUE(model.compile()) << model.errors;
  // Two layers of qkv, projection and two of the feed-forward, and what the head
  // has; every one of them in int8, each input quantized once.
  EXPECT_GE(countSteps(model, "kernel.gemm_s8"), 8u);
  EXPECT_EQ(countSteps(model, "kernel.gemm"), 0u);
  EXPECT_LE(countSteps(model, "kernel.quantize_rows"), countSteps(model, "kernel.gemm_s8"));
  expectEvaluated(model);
}

// The same function where no kernel multiplies integers.
TEST(Int8, EncoderWithoutInt8Products) {
  Model model([](MLIRContext &context) { return quantized(context, "bert-tiny.torchscript.onnx"); });
  model.hasInt8 = false;
  ASSERT_TRUE(model.compile()) << model.errors;
  EXPECT_EQ(countSteps(model, "kernel.gemm_s8"), 0u);
  EXPECT_GE(countSteps(model, "kernel.gemm"), 8u);
  expectEvaluated(model);
}
