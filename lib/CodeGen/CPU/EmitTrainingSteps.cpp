// Kernel specs for what only training steps use.
#include "EmitSteps.h"

#include "llmopt/CodeGen/CPU/Training.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cpu;
using lm::getDims;
using lm::SymExpr;

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

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::AttentionGradOp op) {
  AttentionGradSpec spec;
  Shape shape;
  Arguments args;
  SmallVector<SymExpr> q = getDims(op.getQuery()), k = getDims(op.getKey());
  spec.batch = shape.size(q[0]);
  spec.queryLength = shape.size(q[1]);
  spec.keyLength = shape.size(k[1]);
  spec.heads = op.getNumHeads();
  spec.kvHeads = op.getKvNumHeads();
  spec.headDim = *q[2].getConstant() / spec.heads;
  spec.valueDim = *getDims(op.getValue())[2].getConstant() / spec.kvHeads;
  spec.q = args.take(op.getQuery());
  spec.k = args.take(op.getKey());
  spec.v = args.take(op.getValue());
  spec.mask = args.take(op.getMask());
  spec.gradient = args.take(op.getGradient());
  spec.dq = args.take(op.getQueryGradient());
  spec.dk = args.take(op.getKeyGradient());
  spec.dv = args.take(op.getValueGradient());
  spec.scale = op.getScale().convertToDouble();
  spec.causal = op.getCausal();
  spec.zeroWhereMasked = op.getZeroWhereMasked();
  if (spec.causal)
    spec.causalOffset = shape.size(k[1] - q[1]);
  if (op.getMask()) {
    SmallVector<SymExpr> mask = getDims(op.getMask());
    auto stride = [&](int64_t d) {
      return shape.size(mask[d].isConstant(1) ? SymExpr(0) : product(ArrayRef(mask).drop_front(d + 1)));
    };
    spec.maskBatchStride = stride(0);
    spec.maskHeadStride = stride(1);
    spec.maskQueryStride = stride(2);
  }
  Key key;
  key << "attention_grad" << spec.batch << spec.queryLength << spec.keyLength << spec.heads << spec.kvHeads
      << spec.headDim << spec.valueDim << spec.scale << spec.mask << spec.maskBatchStride << spec.maskHeadStride
      << spec.maskQueryStride << int64_t(spec.causal) << spec.causalOffset << int64_t(spec.zeroWhereMasked);
  shareKernel(spec, "attention_grad_h" + std::to_string(spec.heads) + "_d" + std::to_string(spec.headDim), key.text,
              emitAttentionGrad);
  return StepKernel{spec.name, shape.dims, shape.expr(attentionGradTiles(spec)),
                    shape.expr(attentionGradScratch(spec, target))};
}
