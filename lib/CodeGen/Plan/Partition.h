// The steps of the partition, in the order in which they run. Each works on one
// function of one block, in place.
#ifndef LLMOPT_LIB_CODEGEN_PLAN_PARTITION_H
#define LLMOPT_LIB_CODEGEN_PLAN_PARTITION_H

#include "llmopt/CodeGen/Plan/BuildPlan.h"

namespace llmopt::plan {

/// The regions of lm.if and lm.loop -> private functions, kernel.branch and
/// kernel.repeat. A failure has been reported.
mlir::LogicalResult outlineRegions(mlir::ModuleOp module);
/// What functions of branches and loops return -> results of steps of their own,
/// wherever these are written to the caller's memory.
void storeReturned(mlir::ModuleOp module);
/// lm.conv with kernel = stride -> reshape, transpose, lm.linear.
void lowerPatchConv(mlir::func::FuncOp function);
/// lm.attention_grad -> products of whole batches of heads; what gradients of the same
/// attention share is computed once.
void lowerAttentionGrad(mlir::func::FuncOp function);
/// lm.embedding_grad -> one-hot rows, lm.matmul.
void lowerEmbeddingGrad(mlir::func::FuncOp function, const PlanTarget &target);
/// lm.fake_quantize of a constant weight -> lm.quantize and lm.dequantize: a recipe.
void lowerFakeQuantize(mlir::func::FuncOp function);
/// lm.embedding of a dequantized int8 table -> lm.gather of bytes and of scales.
void lowerInt8Embedding(mlir::func::FuncOp function);
/// lm.linear of quantized rows and a quantized weight -> kernel.quantize_rows or
/// kernel.quantize_tensor, and kernel.gemm_s8, where the target has them.
void formInt8Products(mlir::func::FuncOp function, const PlanTarget &target);
/// lm.linear of quantized rows and an int4 weight -> kernel.quantize_rows,
/// kernel.gemm_w4a8; of floats and an int4 or int8 weight -> kernel.gemm_wq. What
/// formInt8Products takes must be taken.
void formQuantizedProducts(mlir::func::FuncOp function, const PlanTarget &target);
/// f32 from or to f16 and bf16 beside kernel.quantize_rows and kernel.gemm_s8 -> in them.
void narrowInt8Products(mlir::func::FuncOp function, const PlanTarget &target);
/// lm.linear and lm.matmul -> kernel.gemm (constant weight) or kernel.batched_matmul.
void formProducts(mlir::func::FuncOp function, const PlanTarget &target);
/// Activations and residual additions -> into the gemm that feeds them alone.
void fuseEpilogues(mlir::func::FuncOp function);
/// lm.attention -> kernel.attention, with the slices of a joint projection;
/// lm.kv_append -> kernel.kv_append.
void formAttention(mlir::func::FuncOp function, const PlanTarget &target);
/// lm.embedding, lm.norm, lm.softmax -> kernel.embed, kernel.norm, kernel.softmax.
void formRows(mlir::func::FuncOp function, const PlanTarget &target);
/// kernel.norm whose result kernel.quantize_rows or kernel.quantize_tensor reads ->
/// kernel.norm_quantized or kernel.norm_quantized_tensor.
void formQuantizedNorms(mlir::func::FuncOp function, const PlanTarget &target);
/// Everything else -> kernel.loops and kernel.view.
mlir::LogicalResult formLoops(mlir::func::FuncOp function);
/// lm.define_symbol -> kernel.define_symbol; and, at the end, everything that uses
/// such a symbol behind it.
void lowerDefineSymbol(mlir::func::FuncOp function);
void orderSymbols(mlir::func::FuncOp function);

/// The quantization behind `value`, if it is what kernel.quantize_rows computes:
/// symmetric, per row of the last dimension, narrow range.
lm::QuantizeOp matchQuantizedRows(mlir::Value value);
/// Whether `quantize` is such a quantization.
bool isQuantizedRows(lm::QuantizeOp quantize);
/// The kernel.quantize_rows for it: one that is there, or a new one beside it.
kernel::QuantizeRowsOp getQuantizedRows(lm::QuantizeOp quantize);
/// The dequantization of an int8 [k, n] weight ([n, k] if `transposed`) with one
/// scale, or one per column, and no zero point; or of bytes with the zero point 128,
/// which are the same.
lm::DequantizeOp matchInt8Weight(mlir::Value value, bool transposed);
/// What kernels take of it: i8 [k, n] and scales f32 [n], as recipes or constants.
struct Int8Weight {
  mlir::Value q, scale;
};
Int8Weight getInt8Weight(mlir::OpBuilder &builder, lm::DequantizeOp dequantize, bool transposed);
/// Int8 rows that share one scale and perhaps a zero point (null: 0); bytes are
/// stored less 128, and so is their zero point.
struct Int8Tensor {
  mlir::Value q, scale, zeroPoint;
};
/// The dequantization behind `value`, if it is of such rows.
lm::DequantizeOp matchInt8Tensor(mlir::Value value);
/// Makes them, once for each tensor: `made` remembers integers and zero points.
Int8Tensor getInt8Tensor(lm::DequantizeOp dequantize, llvm::DenseMap<mlir::Value, mlir::Value> &made);

/// Whether a size is known during a run only.
bool dependsOnData(const lm::SymExpr &expr);

/// Erases operations without uses, last first.
void eraseDead(mlir::func::FuncOp function);
/// The dimensions are equal, symbol by symbol.
bool haveEqualDims(mlir::Type a, mlir::Type b);
/// Elements of `slice` (all steps 1) lie in one piece of the operand; then
/// `offset` is the first one.
bool isContiguousSlice(lm::SliceOp slice, lm::SymExpr &offset);

} // namespace llmopt::plan

#endif
