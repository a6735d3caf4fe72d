// Kernel specs for the operations of a plan.
#include "EmitSteps.h"

#include "llmopt/CodeGen/CPU/Attention.h"
#include "llmopt/CodeGen/CPU/KVAppend.h"
#include "llmopt/CodeGen/CPU/Rows.h"

#include "mlir/IR/TypeUtilities.h"

#include <cfloat>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cpu;
using lm::getDims;
using lm::SymExpr;

FailureOr<StepKernel> CPUStepEmitter::emitGemmSpec(GemmSpec &spec, const Shape &shape, const std::string &name) {
  Key key;
  key << "gemm" << spec.m << spec.n << spec.k << spec.a << spec.b << spec.c << spec.bias << spec.residual << spec.lda
      << spec.ldb << spec.ldc << spec.ldResidual << int64_t(spec.packedB) << int64_t(spec.transA)
      << int64_t(spec.transB) << spec.alpha << int64_t(spec.activation);
  if (spec.quantizedB)
    key << "quantized" << spec.quantizedB->group << spec.quantizedB->offset << int64_t(spec.quantizedB->zeroPoints)
        << spec.quantizedB->columnScale;
  for (const GemmSpec::Batch &batch : spec.batch)
    key << batch.count << batch.strideA << batch.strideB << batch.strideC << batch.strideResidual;
  shareKernel(spec, name, key.text, emitGemm);
  return StepKernel{spec.name, shape.dims, shape.expr(gemmTiles(spec, target)), shape.expr(gemmScratch(spec, target))};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::GemmOp op) {
  GemmSpec spec;
  Shape shape;
  Arguments args;
  int64_t n = op.getN(), k = op.getK();
  spec.m = shape.size(getRows(op.getResult()));
  spec.n = n;
  spec.k = k;
  Size offset = op.getRowOffset() ? shape.size(lm::getExprs(*op.getRowOffset())[0]) : Size(0);
  spec.lda = op.getRowStride() ? shape.size(lm::getExprs(*op.getRowStride())[0]) : Size(k);
  spec.a = args.take(op.getInput(), offset);
  spec.b = args.take(op.getWeight());
  spec.bias = args.take(op.getBias());
  spec.residual = args.take(op.getResidual());
  spec.c = args.take(op.getResult());
  spec.ldc = spec.ldResidual = n;
  spec.alpha = op.getAlpha().convertToDouble();
  spec.activation = getActivation(op.getActivation());
  return emitGemmSpec(spec, shape, getProductName("gemm", op));
}

/// Steps of a dimension of an operand: 0 where it broadcasts.
static SymExpr getStride(ArrayRef<SymExpr> dims, int64_t d) {
  if (d < 0 || dims[d].isConstant(1))
    return 0;
  return product(dims.drop_front(d + 1));
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::BatchedMatmulOp op) {
  GemmSpec spec;
  Shape shape;
  Arguments args;
  SmallVector<SymExpr> a = getDims(op.getLhs()), b = getDims(op.getRhs()), c = getDims(op.getResult());
  spec.packedB = false;
  spec.transA = op.getTransposeLhs();
  spec.transB = op.getTransposeRhs();
  SymExpr m = c[c.size() - 2];
  int64_t batchRank = c.size() - 2;
  bool sharedRhs = llvm::all_of(ArrayRef(b).drop_back(2), [](const SymExpr &d) { return d.isConstant(1); });
  if (sharedRhs && !spec.transA && a.size() == c.size()) {
    // One right-hand side: all rows are one matrix.
    m = product(ArrayRef(c).drop_back());
    batchRank = 0;
  }
  for (int64_t d = 0; d < batchRank; ++d) {
    int64_t da = d - int64_t(c.size() - a.size()), db = d - int64_t(c.size() - b.size());
    if (c[d].isConstant(1))
      continue;
    spec.batch.push_back({shape.size(c[d]), shape.size(getStride(a, da)), shape.size(getStride(b, db)),
                          shape.size(getStride(c, d)), Size(0)});
  }
  spec.m = shape.size(m);
  spec.n = shape.size(c.back());
  spec.k = shape.size(a[a.size() - (spec.transA ? 2 : 1)]);
  spec.lda = shape.size(a.back());
  spec.ldb = shape.size(b.back());
  spec.ldc = shape.size(c.back());
  spec.a = args.take(op.getLhs());
  spec.b = args.take(op.getRhs());
  spec.c = args.take(op.getResult());
  spec.alpha = op.getAlpha().convertToDouble();
  return emitGemmSpec(spec, shape, "batched_matmul");
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::AttentionOp op) {
  AttentionSpec spec;
  Shape shape;
  Arguments args;
  SmallVector<SymExpr> q = getDims(op.getQuery()), k = getDims(op.getKey());
  spec.batch = shape.size(q[0]);
  spec.queryLength = shape.size(q[1]);
  spec.keyLength = shape.size(k[1]);
  spec.heads = op.getNumHeads();
  spec.kvHeads = op.getKvNumHeads();
  spec.headDim = op.getHeadDim();
  spec.valueDim = op.getValueHeadDim();
  auto tensor = [&](Value value, int64_t column, int64_t headStride) {
    SmallVector<SymExpr> dims = getDims(value);
    return AttentionSpec::Tensor{args.take(value, Size(column)), shape.size(kernel::getTokenRows(value) * dims[2]),
                                 shape.size(dims[2]), Size(headStride)};
  };
  spec.q = tensor(op.getQuery(), op.getQOffset(), spec.headDim);
  spec.k = tensor(op.getKey(), op.getKOffset(), spec.headDim);
  spec.v = tensor(op.getValue(), op.getVOffset(), spec.valueDim);
  Operand mask = args.take(op.getMask());
  if (op.getKeyScale()) {
    spec.kScale = tensor(op.getKeyScale(), 0, 1);
    spec.vScale = tensor(op.getValueScale(), 0, 1);
  }
  spec.out = tensor(op.getResult(), 0, spec.valueDim);
  spec.scale = op.getScale().convertToDouble();
  spec.causal = op.getCausal();
  if (spec.causal)
    spec.causalOffset = shape.size(k[1] - q[1]);
  bool source = op.getFullyMasked() == lm::FullyMasked::Source;
  spec.fullyMasked = source                                         ? AttentionSpec::FullyMasked::Source
                     : op.getFullyMasked() == lm::FullyMasked::Zero ? AttentionSpec::FullyMasked::Zero
                                                                    : AttentionSpec::FullyMasked::Nan;
  switch (op.getMaskKind()) {
  case lm::MaskKind::None:
    break;
  case lm::MaskKind::KeyLengths: {
    Type type = getElementTypeOrSelf(op.getMask());
    if (!type.isInteger(64) && !type.isInteger(32))
      return op.emitError() << "expected key lengths of 32 or 64 bits, but got " << op.getMask().getType();
    spec.keyLengths = mask;
    spec.keyLengths64 = type.isInteger(64);
    break;
  }
  case lm::MaskKind::Additive:
  case lm::MaskKind::Boolean: {
    bool additive = op.getMaskKind() == lm::MaskKind::Additive;
    Type type = getElementTypeOrSelf(op.getMask());
    if (additive ? !type.isF32() : !type.isInteger(1))
      return op.emitError() << "expected a mask of " << (additive ? "f32" : "i1") << ", but got "
                            << op.getMask().getType();
    spec.maskKind = additive ? AttentionSpec::Mask::Additive : AttentionSpec::Mask::Keep;
    spec.mask = mask;
    SmallVector<SymExpr> dims = getDims(op.getMask());
    spec.maskBatchStride = shape.size(getStride(dims, 0));
    spec.maskHeadStride = shape.size(getStride(dims, 1));
    spec.maskQueryStride = shape.size(getStride(dims, 2));
    // What frameworks put in place of masked scores: a row of them is uniform.
    if (!additive && source)
      spec.maskedValue = -FLT_MAX;
    break;
  }
  }
  Key key;
  key << "attention" << spec.batch << spec.queryLength << spec.keyLength << spec.heads << spec.kvHeads << spec.headDim
      << spec.valueDim << spec.scale << int64_t(spec.maskKind) << spec.mask << spec.maskBatchStride
      << spec.maskHeadStride << spec.maskQueryStride << spec.maskedValue << int64_t(spec.causal) << spec.causalOffset
      << spec.keyLengths << int64_t(spec.keyLengths64) << int64_t(spec.fullyMasked);
  for (const AttentionSpec::Tensor &t : {spec.q, spec.k, spec.v, spec.kScale, spec.vScale, spec.out})
    key << t.base << t.batchStride << t.tokenStride << t.headStride;
  shareKernel(spec,
              "attention_h" + std::to_string(spec.heads) + "_d" + std::to_string(spec.headDim) +
                  (spec.kScale.base ? "_int8" : ""),
              key.text, emitAttention);
  return StepKernel{spec.name, shape.dims, shape.expr(attentionTiles(spec, target)),
                    shape.expr(attentionScratch(spec, target))};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::NormOp op) {
  Arguments args;
  NormSpec spec;
  takeNormOperands(op, args, spec);
  spec.out = args.take(op.getResult());
  spec.sum = args.take(op.getSum());
  return emitNormSpec(op, spec);
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::NormQuantizedOp op) {
  Arguments args;
  NormSpec spec;
  takeNormOperands(op, args, spec);
  spec.out = args.take(op.getResult());
  spec.quantized = args.take(op.getQuantized());
  spec.quantizedScale = args.take(op.getQuantizedScale());
  spec.quantizedGroups = *getDims(op.getQuantizedScale()).back().getConstant();
  spec.sum = args.take(op.getSum());
  return emitNormSpec(op, spec);
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::NormQuantizedTensorOp op) {
  Arguments args;
  NormSpec spec;
  takeNormOperands(op, args, spec);
  spec.tensorScale = args.take(op.getTensorScale());
  spec.tensorZeroPoint = args.take(op.getTensorZeroPoint());
  spec.narrow = op.getNarrowRange();
  spec.out = args.take(op.getResult());
  spec.quantized = args.take(op.getQuantized());
  spec.sum = args.take(op.getSum());
  return emitNormSpec(op, spec);
}

template <typename Norm> void CPUStepEmitter::takeNormOperands(Norm op, Arguments &args, NormSpec &spec) {
  spec.x = args.take(op.getInput());
  spec.residual = args.take(op.getResidual());
  spec.inputBias = args.take(op.getInputBias());
  spec.scale = args.take(op.getScale());
  spec.bias = args.take(op.getBias());
}

template <typename Norm> FailureOr<StepKernel> CPUStepEmitter::emitNormSpec(Norm op, NormSpec &spec) {
  Shape shape;
  spec.rows = shape.size(getRows(op.getInput()));
  spec.width = *getDims(op.getInput()).back().getConstant();
  spec.rms = op.getKind() == lm::NormKind::RMS;
  spec.epsilon = op.getEpsilon().convertToDouble();
  Key key;
  key << "norm" << spec.rows << spec.width << int64_t(spec.rms) << spec.epsilon << spec.x << spec.residual
      << spec.inputBias << spec.scale << spec.bias << spec.out << spec.sum << spec.quantized << spec.quantizedGroups
      << spec.tensorScale << spec.tensorZeroPoint << int64_t(spec.narrow);
  shareKernel(spec,
              (spec.rms ? "rms_norm_" : "layer_norm_") + std::to_string(spec.width) +
                  (spec.residual ? "_residual" : "") + (spec.quantized ? "_quantized" : ""),
              key.text, emitNorm);
  return StepKernel{spec.name, shape.dims, shape.expr(normTiles(spec)), 0};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::KVAppendOp op) {
  KVAppendSpec spec;
  Shape shape;
  Arguments args;
  SmallVector<SymExpr> input = getDims(op.getInput());
  spec.batch = shape.size(input[0]);
  spec.tokens = shape.size(input[1]);
  spec.width = shape.size(input[2]);
  spec.past = shape.size(lm::getExprs(op.getPast())[0]);
  spec.capacity = shape.size(getDims(op.getCache())[1]);
  spec.cache = args.take(op.getCache());
  spec.input = args.take(op.getInput());
  spec.bytes = getElementTypeOrSelf(op.getInput()).isInteger(8);
  Key key;
  key << "kv_append" << int64_t(spec.bytes) << spec.batch << spec.tokens << spec.width << spec.past << spec.capacity;
  shareKernel(spec, spec.bytes ? "kv_append_bytes" : "kv_append", key.text, emitKVAppend);
  return StepKernel{spec.name, shape.dims, shape.expr(kvAppendTiles(spec)), 0};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::SoftmaxOp op) {
  SoftmaxSpec spec;
  Shape shape;
  Arguments args;
  spec.rows = shape.size(getRows(op.getInput()));
  spec.width = spec.ldx = spec.ldOut = shape.size(getDims(op.getInput()).back());
  spec.x = args.take(op.getInput());
  spec.out = args.take(op.getResult());
  spec.logarithm = op.getLog();
  Key key;
  key << "softmax" << spec.rows << spec.width << int64_t(spec.logarithm);
  shareKernel(spec, spec.logarithm ? "log_softmax" : "softmax", key.text, emitSoftmax);
  return StepKernel{spec.name, shape.dims, shape.expr(softmaxTiles(spec)), 0};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::EmbedOp op) {
  EmbeddingSpec spec;
  Shape shape;
  Arguments args;
  SymExpr rows = getRows(op.getResult());
  spec.rows = shape.size(rows);
  spec.width = *getDims(op.getResult()).back().getConstant();
  spec.epsilon = op.getEpsilon().convertToDouble();
  if (op.getKind())
    spec.norm = *op.getKind() == lm::NormKind::RMS ? EmbeddingSpec::Norm::Rms : EmbeddingSpec::Norm::Layer;
  for (Value table : op.getTables()) {
    EmbeddingSpec::Table entry;
    entry.table = args.take(table);
    entry.tableRows = shape.size(getDims(table)[0]);
    spec.tables.push_back(entry);
  }
  for (auto [entry, ids] : llvm::zip(spec.tables, op.getIds())) {
    Type type = getElementTypeOrSelf(ids);
    if (!type.isInteger(64) && !type.isInteger(32))
      return op.emitError() << "expected ids of 32 or 64 bits, but got " << ids.getType();
    entry.ids = args.take(ids);
    entry.ids64 = type.isInteger(64);
    SymExpr count = lm::getNumElements(ids.getType());
    if (count != rows)
      entry.period = shape.size(count);
  }
  spec.scale = args.take(op.getScale());
  spec.bias = args.take(op.getBias());
  spec.out = args.take(op.getResult());
  spec.sum = args.take(op.getSum());
  Key key;
  key << "embed" << spec.rows << spec.width << int64_t(spec.norm) << spec.epsilon << spec.scale << spec.bias << spec.out
      << spec.sum;
  for (const EmbeddingSpec::Table &entry : spec.tables)
    key << entry.table << entry.tableRows << entry.ids << int64_t(entry.ids64) << entry.period;
  shareKernel(spec, "embed_" + std::to_string(spec.width), key.text, emitEmbedding);
  return StepKernel{spec.name, shape.dims, shape.expr(embeddingTiles(spec)), 0};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::LoopsOp op) {
  // Regions are the same kernel when they print the same, dimensions included.
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "loops;";
  for (Type type : op->getOperandTypes())
    os << type << ";";
  Operation *last = nullptr;
  for (Operation &inner : op.getBody().front()) {
    inner.print(os, OpPrintingFlags().useLocalScope().printGenericOpForm());
    os << "\n";
    if (!inner.hasTrait<OpTrait::IsTerminator>())
      last = &inner;
  }
  bool isNew;
  std::string name = "loops";
  if (last)
    name += "_" + last->getName().stripDialect().str();
  std::string symbol = getSymbol(name, text, isNew);
  if (isNew) {
    FailureOr<loops::LoopSpec> spec = loops::emitLoopsMLIR(op.getBody(), symbol, kb.module, target);
    if (failed(spec))
      return failure();
    loopSpecs[symbol] = *spec;
  }
  const loops::LoopSpec &spec = loopSpecs[symbol];
  return StepKernel{symbol, spec.dims, spec.tiles, spec.scratchBytes};
}

std::unique_ptr<StepEmitter> llmopt::cpu::createStepEmitter(ModuleOp module, const TargetInfo &target) {
  return std::make_unique<CPUStepEmitter>(module, target);
}

PlanTarget::PackedLayout CPUPlanTarget::getGemmLayout(int64_t, int64_t, Type) const {
  return {kernel::Layout::Panels, target.gemmNR()};
}

bool CPUPlanTarget::hasLoops(Operation *op, std::string &reason) const { return loops::isSupported(op, &reason); }
