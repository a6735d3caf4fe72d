// Matrix products and convolution.
#include "BlockQuantized.h"
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

static void matmul(OpWriter &w) { w.out(w.node("MatMul", {w.in(0), w.in(1)})); }

// Gemm is for matrices only; elsewhere the weight is turned, which engines do once
// while they load the model.
static void linear(OpWriter &w) {
  auto op = w.as<LinearOp>();
  if (std::optional<BlockWeight> weight = matchBlockWeight(op))
    return writeMatMulNBits(w, op, *weight);
  Name weight = w.in(op.getWeight()), bias = w.in(op.getBias());
  if (w.rank(op.getInput()) == 2)
    return w.out(w.node("Gemm", {w.in(0), weight, bias}, {{"transB", op.getTransposeWeight()}}));
  if (op.getTransposeWeight())
    weight = w.transpose(weight, {1, 0});
  Name product = w.node("MatMul", {w.in(0), weight});
  w.out(op.getBias() ? w.add(product, bias) : product);
}

static void conv(OpWriter &w) {
  auto op = w.as<ConvOp>();
  if (!llvm::isa<mlir::FloatType>(w.elem(op.getInput())))
    return w.error("lm.conv of integers has no ONNX form");
  w.out(w.node("Conv", {w.in(op.getInput()), w.in(op.getWeight()), w.in(op.getBias())},
               {{"strides", op.getStrides()},
                {"pads", op.getPads()},
                {"dilations", op.getDilations()},
                {"group", int64_t(op.getGroups())}}));
}

void onnx_export::addMatmulOps(OpTable &t) {
  t.add<MatMulOp>(matmul);
  t.add<LinearOp>(linear);
  t.add<ConvOp>(conv);
}
