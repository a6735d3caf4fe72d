// Kernel specs for what only training steps use.
#include "EmitSteps.h"

#include "llmopt/CodeGen/CPU/Training.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cpu;

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::PackPanelsOp op) {
  PackPanelsSpec spec;
  Arguments args;
  auto type = cast<RankedTensorType>(op.getInput().getType());
  spec.transpose = op.getTranspose();
  spec.k = type.getDimSize(spec.transpose ? 1 : 0);
  spec.n = type.getDimSize(spec.transpose ? 0 : 1);
  spec.width = op.getWidth();
  spec.in = args.take(op.getInput());
  spec.out = args.take(op.getResult());
  Key key;
  key << "pack_panels" << spec.k << spec.n << spec.width << int64_t(spec.transpose);
  shareKernel(spec, "pack_panels", key.text, emitPackPanels);
  return StepKernel{spec.name, {}, packPanelsTiles(spec), 0};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::EmbeddingGradOp op) {
  EmbeddingGradSpec spec;
  Shape shape;
  Arguments args;
  Type type = getElementTypeOrSelf(op.getIds());
  if (!type.isInteger(64) && !type.isInteger(32))
    return op.emitError() << "expected ids of 32 or 64 bits, but got " << op.getIds().getType();
  auto table = cast<RankedTensorType>(op.getResult().getType());
  spec.rows = table.getDimSize(0);
  spec.width = table.getDimSize(1);
  spec.count = shape.size(lm::getNumElements(op.getIds().getType()));
  spec.ids64 = type.isInteger(64);
  spec.ids = args.take(op.getIds());
  spec.gradient = args.take(op.getGradient());
  spec.out = args.take(op.getResult());
  Key key;
  key << "embedding_grad" << spec.rows << spec.width << spec.count << int64_t(spec.ids64);
  shareKernel(spec, "embedding_grad_" + std::to_string(spec.width), key.text, emitEmbeddingGrad);
  return StepKernel{spec.name, shape.dims, embeddingGradTiles(spec), 0};
}
