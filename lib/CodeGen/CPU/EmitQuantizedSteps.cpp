// Kernel specs for quantized products and what quantizes their rows.
#include "EmitSteps.h"

#include "llmopt/CodeGen/CPU/Int4.h"
#include "llmopt/CodeGen/CPU/Int8.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cpu;
using lm::getDims;

static kernel::Layout getInt8Layout(const TargetInfo &target) {
  return gemmInt8Layout(target) == Int8Layout::Quads ? kernel::Layout::Quads : kernel::Layout::Pairs;
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::GemmS8Op op) {
  GemmInt8Spec spec;
  Shape shape;
  Arguments args;
  kernel::Layout layout = getInt8Layout(target);
  int64_t width = gemmInt8NR(target), bytes = width * kernel::getPackedGroup(layout);
  if (op.getLayout() != layout || cast<RankedTensorType>(op.getWeight().getType()).getDimSize(2) != bytes)
    return op.emitError() << "expected an int8 weight in " << kernel::stringifyLayout(layout) << " of " << width
                          << " columns, but got " << kernel::stringifyLayout(op.getLayout()) << " of "
                          << op.getWeight().getType();
  spec.m = shape.size(getRows(op.getResult()));
  spec.n = op.getN();
  spec.k = op.getK();
  spec.a = args.take(op.getInput());
  spec.rowScale = args.take(op.getInputScale());
  spec.oneScale = lm::getNumElements(op.getInputScale().getType()).isConstant(1);
  spec.zeroPoint = args.take(op.getInputZeroPoint());
  spec.columnSums = args.take(op.getColumnSums());
  spec.b = args.take(op.getWeight());
  spec.columnScale = args.take(op.getWeightScale());
  spec.bias = args.take(op.getBias());
  spec.residual = args.take(op.getResidual());
  spec.c = args.take(op.getResult());
  spec.activation = getActivation(op.getActivation());
  Key key;
  key << "gemm_s8" << spec.m << spec.n << spec.k << spec.a << spec.rowScale << int64_t(spec.oneScale) << spec.zeroPoint
      << spec.columnSums << spec.b << spec.columnScale << spec.bias << spec.residual << spec.c
      << int64_t(spec.activation);
  shareKernel(spec, getProductName("gemm_s8", op), key.text, emitGemmInt8);
  return StepKernel{spec.name, shape.dims, shape.expr(gemmInt8Tiles(spec, target)),
                    shape.expr(gemmInt8Scratch(spec, target))};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::QuantizeRowsOp op) {
  QuantizeRowsSpec spec;
  Shape shape;
  Arguments args;
  spec.rows = shape.size(getRows(op.getInput()));
  spec.width = *getDims(op.getInput()).back().getConstant();
  spec.x = args.take(op.getInput());
  spec.q = args.take(op.getResult());
  spec.scale = args.take(op.getScale());
  Key key;
  key << "quantize_rows" << spec.rows << spec.width;
  shareKernel(spec, "quantize_rows_" + std::to_string(spec.width), key.text, emitQuantizeRows);
  return StepKernel{spec.name, shape.dims, shape.expr(quantizeRowsTiles(spec)), 0};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::QuantizeTensorOp op) {
  QuantizeTensorSpec spec;
  Shape shape;
  Arguments args;
  spec.rows = shape.size(getRows(op.getInput()));
  spec.width = *getDims(op.getInput()).back().getConstant();
  spec.x = args.take(op.getInput());
  spec.scale = args.take(op.getScale());
  spec.zeroPoint = args.take(op.getZeroPoint());
  spec.q = args.take(op.getResult());
  spec.narrow = op.getNarrowRange();
  Key key;
  key << "quantize_tensor" << spec.rows << spec.width << spec.zeroPoint << int64_t(spec.narrow);
  shareKernel(spec, "quantize_tensor_" + std::to_string(spec.width), key.text, emitQuantizeTensor);
  return StepKernel{spec.name, shape.dims, shape.expr(quantizeTensorTiles(spec)), 0};
}

/// A weight of other panels has been planned for another target.
static LogicalResult checkWidth(Operation *op, Value weight, int64_t bytesPerColumn, const TargetInfo &target) {
  int64_t bytes = target.gemmNR() * bytesPerColumn;
  if (cast<RankedTensorType>(weight.getType()).getDimSize(2) == bytes)
    return success();
  return op->emitError() << "expected a weight in panels of " << target.gemmNR() << " columns, but got "
                         << weight.getType();
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::GemmW4A8Op op) {
  GemmInt4Spec spec;
  Shape shape;
  Arguments args;
  spec.group = op.getGroup();
  spec.zeroPoints = op.getZeroPoints();
  if (failed(checkWidth(op, op.getWeight(), int4BlockBytes(1, spec.group, spec.zeroPoints), target)))
    return failure();
  spec.m = shape.size(getRows(op.getResult()));
  spec.n = op.getN();
  spec.k = op.getK();
  spec.offset = op.getOffset();
  spec.scalePerGroup = getDims(op.getInputScale()).back().isConstant(spec.k / spec.group);
  spec.a = args.take(op.getInput());
  spec.rowScale = args.take(op.getInputScale());
  spec.b = args.take(op.getWeight());
  spec.bias = args.take(op.getBias());
  spec.residual = args.take(op.getResidual());
  spec.c = args.take(op.getResult());
  spec.activation = getActivation(op.getActivation());
  Key key;
  key << "gemm_w4a8" << spec.m << spec.n << spec.k << spec.group << spec.offset << int64_t(spec.zeroPoints)
      << int64_t(spec.scalePerGroup) << spec.a << spec.rowScale << spec.b << spec.bias << spec.residual << spec.c
      << int64_t(spec.activation);
  shareKernel(spec, getProductName("gemm_w4a8", op), key.text, emitGemmInt4);
  return StepKernel{spec.name, shape.dims, shape.expr(gemmInt4Tiles(spec, target)),
                    shape.expr(gemmInt4Scratch(spec, target))};
}

FailureOr<StepKernel> CPUStepEmitter::emitOp(kernel::GemmWQOp op) {
  GemmSpec spec;
  Shape shape;
  Arguments args;
  QuantizedB weight;
  weight.group = op.getGroup();
  weight.offset = op.getOffset();
  weight.zeroPoints = op.getZeroPoints();
  int64_t bytesPerColumn = weight.group ? int4BlockBytes(1, weight.group, weight.zeroPoints) : 1;
  if (failed(checkWidth(op, op.getWeight(), bytesPerColumn, target)))
    return failure();
  spec.m = shape.size(getRows(op.getResult()));
  spec.n = spec.ldc = spec.ldResidual = int64_t(op.getN());
  spec.k = spec.lda = int64_t(op.getK());
  spec.a = args.take(op.getInput());
  spec.b = args.take(op.getWeight());
  weight.columnScale = args.take(op.getWeightScale());
  spec.bias = args.take(op.getBias());
  spec.residual = args.take(op.getResidual());
  spec.c = args.take(op.getResult());
  spec.activation = getActivation(op.getActivation());
  spec.quantizedB = weight;
  return emitGemmSpec(spec, shape, getProductName(weight.group ? "gemm_w4" : "gemm_w8", op));
}

std::optional<PlanTarget::PackedLayout> CPUPlanTarget::getInt8Layout(int64_t, int64_t) const {
  return PackedLayout{::getInt8Layout(target), gemmInt8NR(target)};
}

std::optional<PlanTarget::PackedLayout> CPUPlanTarget::getQuantizedLayout() const {
  return PackedLayout{kernel::Layout::Panels, target.gemmNR()};
}
