// Rows of an int8 table: picked as bytes, then multiplied by the scale of the row.
// As a recipe the table would be expanded to floats when weights are written.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;

void plan::lowerInt8Embedding(func::FuncOp function) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::EmbeddingOp>())) {
    auto dequantize = op.getTable().getDefiningOp<lm::DequantizeOp>();
    if (!dequantize || dequantize.getZeroPoint() || !isRecipe(dequantize.getInput()) ||
        !isRecipe(dequantize.getScale()))
      continue;
    auto table = cast<RankedTensorType>(dequantize.getInput().getType());
    auto scale = cast<RankedTensorType>(dequantize.getScale().getType());
    if (scale.getShape() != ArrayRef<int64_t>{table.getDimSize(0), 1})
      continue;
    OpBuilder builder(op);
    Location loc = op.getLoc();
    IntegerAttr axis = builder.getI64IntegerAttr(0);
    Value rows = lm::GatherOp::create(builder, loc, dequantize.getInput(), op.getIds(), axis);
    Value scales = lm::GatherOp::create(builder, loc, dequantize.getScale(), op.getIds(), axis);
    op.getResult().replaceAllUsesWith(lm::DequantizeOp::create(builder, loc, rows, scales, Value()));
    op.erase();
  }
}
