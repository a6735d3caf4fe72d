#include "JointPast.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

/// Whether only slices of one half read [2, ...].
static bool isJointPast(BlockArgument argument) {
  SmallVector<SymExpr> dims = getDims(argument);
  return dims.size() == 5 && dims[0].isConstant(2) && isa<FloatType>(getElementTypeOrSelf(argument)) &&
         llvm::all_of(argument.getUsers(), [&](Operation *user) {
           auto slice = dyn_cast<SliceOp>(user);
           if (!slice || !llvm::all_equal(slice.getSteps()) || slice.getSteps()[0] != 1)
             return false;
           SmallVector<SymExpr> cut = getDims(slice.getResult()), starts = getExprs(slice.getStarts());
           return cut[0].isConstant(1) && starts[0].getConstant() &&
                  ArrayRef(cut).drop_front() == ArrayRef(dims).drop_front();
         });
}

/// The concatenation of two halves along a new first dimension, or null.
static ConcatOp getJointPresent(Value value) {
  auto concat = value.getDefiningOp<ConcatOp>();
  return concat && concat.getAxis() == 0 && concat->getNumOperands() == 2 && getDims(value).size() == 5 &&
                 llvm::all_of(concat->getOperands(), [](Value half) { return getDims(half)[0].isConstant(1); })
             ? concat
             : ConcatOp();
}

static SmallVector<SymExpr> dropFirst(Value value) {
  SmallVector<SymExpr> dims = getDims(value);
  dims.erase(dims.begin());
  return dims;
}

static DictionaryAttr named(MLIRContext *context, DictionaryAttr attrs, StringRef suffix) {
  NamedAttrList list(attrs);
  if (auto name = dyn_cast_or_null<StringAttr>(list.get("lm.name")))
    list.set("lm.name", StringAttr::get(context, name.getValue() + suffix));
  return list.getDictionary(context);
}

static void splitArgument(func::FuncOp function, unsigned index) {
  BlockArgument joint = function.getArgument(index);
  MLIRContext *context = function.getContext();
  DictionaryAttr attrs = function.getArgAttrDict(index);
  Type half = getTensorType(dropFirst(joint), getElementTypeOrSelf(joint));
  for (unsigned i : {1, 2})
    (void)function.insertArgument(index + i, half, named(context, attrs, i == 1 ? ".key" : ".value"), joint.getLoc());
  for (Operation *user : llvm::make_early_inc_range(joint.getUsers())) {
    auto slice = cast<SliceOp>(user);
    OpBuilder builder(slice);
    Value source = function.getArgument(index + 1 + *getExprs(slice.getStarts())[0].getConstant());
    slice.replaceAllUsesWith(
        ReshapeOp::create(builder, slice.getLoc(), source, getDims(slice.getResult())).getResult());
    slice.erase();
  }
  (void)function.eraseArgument(index);
}

static void splitResult(func::FuncOp function, unsigned index) {
  Operation *end = function.getBody().front().getTerminator();
  ConcatOp joint = getJointPresent(end->getOperand(index));
  MLIRContext *context = function.getContext();
  DictionaryAttr attrs = function.getResultAttrDict(index);
  OpBuilder builder(end);
  for (unsigned i : {0, 1}) {
    Value half = joint->getOperand(i);
    half = ReshapeOp::create(builder, joint.getLoc(), half, dropFirst(half));
    end->insertOperands(index + 1 + i, half);
    (void)function.insertResult(index + 1 + i, half.getType(),
                                attrs ? named(context, attrs, i ? ".value" : ".key") : DictionaryAttr());
  }
  end->eraseOperand(index);
  (void)function.eraseResult(index);
  if (joint.use_empty())
    joint.erase();
}

void llmopt::splitJointPasts(func::FuncOp function) {
  Operation *end = function.getBody().front().getTerminator();
  SmallVector<unsigned> arguments, results;
  for (BlockArgument argument : function.getArguments())
    if (isJointPast(argument))
      arguments.push_back(argument.getArgNumber());
  for (OpOperand &operand : end->getOpOperands())
    if (getJointPresent(operand.get()))
      results.push_back(operand.getOperandNumber());
  if (arguments.size() != results.size())
    return; // something else; the pass says what it misses
  for (unsigned index : llvm::reverse(arguments))
    splitArgument(function, index);
  for (unsigned index : llvm::reverse(results))
    splitResult(function, index);
}
