// Folds of bits, scatters, sorting and recurrences: constants only.
#include "FoldSupport.h"

using namespace mlir;
using namespace llmopt::lm;

#define LM_FOLD_CONSTANT(OP)                                                                                           \
  OpFoldResult OP::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
LM_FOLD_CONSTANT(AcosOp)
LM_FOLD_CONSTANT(AsinOp)
LM_FOLD_CONSTANT(AtanOp)
LM_FOLD_CONSTANT(AcoshOp)
LM_FOLD_CONSTANT(AsinhOp)
LM_FOLD_CONSTANT(AtanhOp)
LM_FOLD_CONSTANT(BitwiseAndOp)
LM_FOLD_CONSTANT(BitwiseOrOp)
LM_FOLD_CONSTANT(BitwiseXorOp)
LM_FOLD_CONSTANT(BitwiseNotOp)
LM_FOLD_CONSTANT(ShiftLeftOp)
LM_FOLD_CONSTANT(ShiftRightOp)
LM_FOLD_CONSTANT(BitcastOp)
LM_FOLD_CONSTANT(ScatterElementsOp)
LM_FOLD_CONSTANT(ScatterNDOp)
LM_FOLD_CONSTANT(ArgSortOp)
LM_FOLD_CONSTANT(TrueIndicesOp)
LM_FOLD_CONSTANT(CumProdOp)
#undef LM_FOLD_CONSTANT
