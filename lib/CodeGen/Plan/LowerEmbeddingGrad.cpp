// lm.embedding_grad: a kernel that walks the ids where the target has it; else a
// product, the transposed one-hot matrix of the ids times the gradient rows, whose cost
// grows with vocabulary times tokens.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using lm::getDims;
using lm::SymExpr;

void plan::lowerEmbeddingGrad(func::FuncOp function, const PlanTarget &target) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::EmbeddingGradOp>())) {
    OpBuilder builder(op);
    Location loc = op.getLoc();
    SmallVector<SymExpr> table = getDims(op.getType());
    if (target.hasTraining() && op.getType().hasStaticShape() && getElementTypeOrSelf(op.getType()).isF32()) {
      op.getResult().replaceAllUsesWith(
          kernel::EmbeddingGradOp::create(builder, loc, op.getType(), op.getIds(), op.getGradient()));
      op.erase();
      continue;
    }
    Type idType = getElementTypeOrSelf(op.getIds()), element = getElementTypeOrSelf(op.getType());
    SymExpr tokens = lm::getNumElements(op.getIds().getType());
    auto constant = [&](Type type, TypedAttr value) -> Value {
      return lm::ConstantOp::create(builder, loc, DenseElementsAttr::get(RankedTensorType::get({}, type), value));
    };
    // Negative ids count from the end.
    Value ids = lm::ReshapeOp::create(builder, loc, op.getIds(), ArrayRef<SymExpr>{SymExpr(1), tokens});
    Value zero = constant(idType, builder.getIntegerAttr(idType, 0));
    auto one = RankedTensorType::get({1}, idType);
    Value size = lm::ConstantOp::create(builder, loc, lm::getSymbolicAttr(one, {table[0]}));
    Value negative = lm::CompareOp::create(builder, loc, lm::Predicate::LT, ids, zero);
    Value wrapped = lm::AddOp::create(builder, loc, ids, size);
    ids = lm::WhereOp::create(builder, loc, negative, wrapped, ids);
    Value rows = lm::IotaOp::create(builder, loc, lm::getTensorType({table[0], SymExpr(1)}, idType),
                                    builder.getI64IntegerAttr(0));
    Value hit = lm::CompareOp::create(builder, loc, lm::Predicate::EQ, rows, ids);
    Value oneHot = lm::CastOp::create(builder, loc, hit, element);
    Value gradient = lm::ReshapeOp::create(builder, loc, op.getGradient(), ArrayRef<SymExpr>{tokens, table[1]});
    op.getResult().replaceAllUsesWith(lm::MatMulOp::create(builder, loc, oneHot, gradient));
    op.erase();
  }
}
