// The order of the Raise passes.
#include "llmopt/Transforms/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

void llmopt::buildRaisePipeline(OpPassManager &pm, const RaisePipelineOptions &options) {
  pm.addPass(createCleanupPass());
  pm.addPass(createRaiseEmbeddingPass());
  pm.addPass(createRaiseNormPass());
  pm.addPass(createRaiseGeluPass());
  pm.addPass(createRaiseIntegerProductsPass());
  pm.addPass(createRaiseLinearPass());
  pm.addPass(createRaiseAttentionPass());
  if (options.fuseQKV)
    pm.addPass(createFuseQKVPass());
  pm.addPass(createCleanupPass());
}

void llmopt::registerTransforms() {
  registerLLMOptTransformsPasses();
  PassPipelineRegistration<RaisePipelineOptions>("lm-raise", "raise imported ONNX (L0) to L1", buildRaisePipeline);
}
