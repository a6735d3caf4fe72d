// Constraints of the kernel operations, and the form of kernel.loops.
#include "KernelChecks.h"

#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::kernel;
using lm::getDims;
using lm::mayDiffer;
using lm::SymExpr;

bool kernel::isVector(Value value, const SymExpr &size) {
  if (!value)
    return true;
  SmallVector<SymExpr> dims = getDims(value);
  return dims.size() == 1 && !mayDiffer(dims.front(), size);
}

/// [panels, entries, elements of an entry] of a [k, n] weight.
static RankedTensorType getPackedType(Type elementType, int64_t k, int64_t n, Layout layout, int64_t width) {
  int64_t panels = llvm::divideCeil(n, width);
  switch (layout) {
  case Layout::Panels:
    return RankedTensorType::get({panels, k, width}, elementType);
  case Layout::Pairs:
    return RankedTensorType::get({panels, int64_t(llvm::divideCeil(k, 2)), 2 * width}, elementType);
  case Layout::Quads:
    return RankedTensorType::get({panels, 1 + int64_t(llvm::divideCeil(k, 4)), 4 * width}, elementType);
  case Layout::Rows:
    return RankedTensorType::get({n, int64_t(llvm::divideCeil(k, width)), width}, elementType);
  }
  llvm_unreachable("an enum");
}

static RankedTensorType getPackedType(Type type, Layout layout, int64_t width) {
  auto ranked = cast<RankedTensorType>(type);
  return getPackedType(ranked.getElementType(), ranked.getDimSize(0), ranked.getDimSize(1), layout, width);
}

int64_t kernel::getPackedGroup(Layout layout) { return layout == Layout::Quads ? 4 : layout == Layout::Pairs ? 2 : 1; }

bool kernel::isPackedMatrix(RankedTensorType type, int64_t k, int64_t n, Layout layout) {
  int64_t group = getPackedGroup(layout);
  return type.getRank() == 3 && type.getDimSize(2) >= group &&
         type == getPackedType(type.getElementType(), k, n, layout, type.getDimSize(2) / group);
}

SymExpr kernel::getTokenRows(Value value) {
  auto append = value.getDefiningOp<KVAppendOp>();
  return getDims(append ? append.getCache() : value)[1];
}

LogicalResult KVAppendOp::verify() {
  auto argument = dyn_cast<BlockArgument>(getCache());
  auto function = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
  if (!function || !function.getArgAttr(argument.getArgNumber(), "lm.cache") || !argument.hasOneUse()) // (C1)
    return emitOpError() << "expected an argument with lm.cache that nothing else uses";
  for (Operation *user : getResult().getUsers()) { // (C2)
    auto attention = dyn_cast<AttentionOp>(user);
    if (!attention || attention.getQuery() == getResult() || attention.getMask() == getResult())
      return emitOpError() << "expected only attention to read the cache, but got " << user->getName();
  }
  SmallVector<SymExpr> cache = getDims(getCache()), input = getDims(getInput());
  Type element = getElementTypeOrSelf(getCache());
  if (cache.size() != 3 || input.size() != 3 || cache[2] != input[2] || element != getElementTypeOrSelf(getInput()) ||
      (!element.isF32() && !element.isF16() && !element.isBF16() && !element.isSignlessInteger(8)))
    return emitOpError() << "expected rows like those of the cache, " << getCache().getType() << ", but got "
                         << getInput().getType();
  return success();
}

void PackOp::build(OpBuilder &builder, OperationState &state, Value input, Layout layout, int64_t width) {
  build(builder, state, getPackedType(input.getType(), layout, width), input, layout, width);
}

LogicalResult PackOp::verify() {
  auto type = cast<RankedTensorType>(getInput().getType());
  if (type.getRank() != 2 || !type.hasStaticShape()) // (C1)
    return emitOpError() << "expected a static matrix, but got " << type;
  if (getWidth() < 1)
    return emitOpError() << "expected a positive width, but got " << getWidth();
  if (getPackedGroup(getLayout()) != 1 && !type.getElementType().isInteger(8)) // (C3)
    return emitOpError() << "expected 8-bit integers for " << stringifyLayout(getLayout()) << ", but got " << type;
  if (Type expected = getPackedType(type, getLayout(), getWidth()); getResult().getType() != expected) // (C2)
    return emitOpError() << "expected the result " << expected << ", but got " << getResult().getType();
  return success();
}

LogicalResult ViewOp::verify() {
  auto bytes = [](Value value) { return llvm::divideCeil(getElementTypeOrSelf(value).getIntOrFloatBitWidth(), 8); };
  if (bytes(getInput()) != bytes(getResult())) // (C1)
    return emitOpError() << "expected element types of one size, but got " << getInput().getType() << " and "
                         << getResult().getType();
  if (getOffset().getExprs().size() != 1) // (C2)
    return emitOpError() << "expected one offset, but got " << getOffset().getExprs().size();
  return success();
}

LogicalResult DefineSymbolOp::verify() {
  auto type = cast<RankedTensorType>(getValue().getType());
  if (!type.getElementType().isSignlessInteger(64) || (type.hasStaticShape() && type.getNumElements() != 1)) // (C1)
    return emitOpError() << "expected one i64, but got " << type;
  if (getBound().getExprs().size() != 1) // (C2)
    return emitOpError() << "expected one bound, but got " << getBound().getExprs().size();
  return success();
}

LogicalResult GemmOp::verify() {
  auto weight = cast<RankedTensorType>(getWeight().getType());
  int64_t n = getN(), k = getK();
  if (getPackedGroup(getLayout()) != 1 || !isPackedMatrix(weight, k, n, getLayout())) // (C1)
    return emitOpError() << "expected a packed weight of k = " << k << " and n = " << n << ", but got " << weight;
  SmallVector<SymExpr> in = getDims(getInput()), out = getDims(getResult());
  if (out.empty() || mayDiffer(out.back(), n)) // (C2)
    return emitOpError() << "expected a last dimension of " << n << ", but got " << getResult().getType();
  if (getRowStride().has_value() != getRowOffset().has_value() ||
      (getRowStride() && (getRowStride()->getExprs().size() != 1 || getRowOffset()->getExprs().size() != 1))) // (C4)
    return emitOpError() << "expected one row stride with one row offset";
  if (!getRowStride()) {
    bool fits = in.size() == out.size() && !mayDiffer(in.back(), k);
    for (size_t i = 0; fits && i + 1 < in.size(); ++i)
      fits = !mayDiffer(in[i], out[i]);
    if (!fits)
      return emitOpError() << "expected rows of " << k << " elements, but got " << getInput().getType() << " for "
                           << getResult().getType();
  }
  if (!isVector(getBias(), n)) // (C3)
    return emitOpError() << "expected a bias of " << n << " elements, but got " << getBias().getType();
  if (getResidual() && !lm::areCompatibleTypes(getResidual().getType(), getResult().getType()))
    return emitOpError() << "expected the residual " << getResult().getType() << ", but got "
                         << getResidual().getType();
  return success();
}

bool kernel::isOne(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

bool kernel::haveRowsOf(Value value, ArrayRef<SymExpr> dims, const SymExpr &last) {
  SmallVector<SymExpr> own = getDims(value);
  if (own.empty() || own.size() != dims.size() || mayDiffer(own.back(), last))
    return false;
  for (size_t i = 0; i + 1 < own.size(); ++i)
    if (mayDiffer(own[i], dims[i]))
      return false;
  return true;
}

LogicalResult QuantizeRowsOp::verify() {
  SmallVector<SymExpr> dims = getDims(getInput());
  Type element = getElementTypeOrSelf(getInput());
  if (!(element.isF32() || element.isF16() || element.isBF16()) || dims.empty() || !dims.back().getConstant()) // (C1)
    return emitOpError() << "expected f32, f16 or bf16 rows of known width, but got " << getInput().getType();
  Type result = getElementTypeOrSelf(getResult());
  if ((!result.isSignlessInteger(8) && !isa<Float8E4M3FNType>(result)) ||
      !haveRowsOf(getResult(), dims, dims.back())) // (C2)
    return emitOpError() << "expected an i8 or f8E4M3FN result of the shape of " << getInput().getType() << ", but got "
                         << getResult().getType();
  if (!getElementTypeOrSelf(getScale()).isF32() || !haveRowsOf(getScale(), dims, 1)) // (C3)
    return emitOpError() << "expected one f32 scale for each row of " << getInput().getType() << ", but got "
                         << getScale().getType();
  return success();
}

LogicalResult GemmS8Op::verify() {
  auto weight = cast<RankedTensorType>(getWeight().getType());
  int64_t n = getN(), k = getK();
  const int64_t deepest = getInputZeroPoint() ? 65793 : 131071;
  if (n < 1 || k < 1 || k > deepest) // (C5)
    return emitOpError() << "expected n >= 1 and 1 <= k <= " << deepest << ", but got n = " << n << " and k = " << k;
  if (!weight.getElementType().isSignlessInteger(8) || !isPackedMatrix(weight, k, n, getLayout())) // (C1)
    return emitOpError() << "expected an i8 weight of k = " << k << " and n = " << n << " packed in "
                         << stringifyLayout(getLayout()) << ", but got " << weight;
  SmallVector<SymExpr> out = getDims(getResult());
  if (out.empty() || mayDiffer(out.back(), n))
    return emitOpError() << "expected a last dimension of " << n << ", but got " << getResult().getType();
  if (!getElementTypeOrSelf(getInput()).isSignlessInteger(8) || !haveRowsOf(getInput(), out, k)) // (C2)
    return emitOpError() << "expected i8 rows of " << k << " elements, but got " << getInput().getType() << " for "
                         << getResult().getType();
  if (!haveRowsOf(getInputScale(), out, 1) && !isOne(getInputScale())) // (C3)
    return emitOpError() << "expected one scale for each row of " << getResult().getType() << " or one, but got "
                         << getInputScale().getType();
  if (bool(getInputZeroPoint()) != bool(getColumnSums())) // (C6)
    return emitOpError("expected a zero point and column sums together");
  if (Value zero = getInputZeroPoint()) {
    if (!isOne(zero) || !getElementTypeOrSelf(zero).isSignlessInteger(8))
      return emitOpError() << "expected one i8 as zero point, but got " << zero.getType();
    if (!isVector(getColumnSums(), n) || !getElementTypeOrSelf(getColumnSums()).isSignlessInteger(32))
      return emitOpError() << "expected " << n << " i32 column sums, but got " << getColumnSums().getType();
  }
  for (Value vector : {Value(getWeightScale()), Value(getBias())}) // (C4)
    if (!isVector(vector, n))
      return emitOpError() << "expected " << n << " elements, but got " << vector.getType();
  if (getResidual() && !lm::areCompatibleTypes(getResidual().getType(), getResult().getType()))
    return emitOpError() << "expected the residual " << getResult().getType() << ", but got "
                         << getResidual().getType();
  return success();
}

LogicalResult BatchedMatmulOp::verify() {
  SmallVector<SymExpr> a = getDims(getLhs()), b = getDims(getRhs()), c = getDims(getResult());
  if (a.size() < 2 || b.size() < 2 || c.size() != std::max(a.size(), b.size())) // (C1)
    return emitOpError() << "expected matrices, but got " << getLhs().getType() << " and " << getRhs().getType();
  SymExpr ka = a[a.size() - (getTransposeLhs() ? 2 : 1)], kb = b[b.size() - (getTransposeRhs() ? 1 : 2)];
  if (mayDiffer(ka, kb)) // (C2)
    return emitOpError() << "expected one contracted dimension, but got " << ka.str() << " and " << kb.str();
  return success();
}

LogicalResult AttentionOp::verify() {
  int64_t heads = getNumHeads(), kvHeads = getKvNumHeads();
  if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0) // (C2)
    return emitOpError() << "expected a head count that is a multiple of " << kvHeads << ", but got " << heads;
  auto holds = [](Value value, int64_t offset, int64_t width) { // (C1)
    SmallVector<SymExpr> dims = getDims(value);
    return dims.size() == 3 && dims.back().getConstant() && offset >= 0 && offset + width <= *dims.back().getConstant();
  };
  if (!holds(getQuery(), getQOffset(), heads * getHeadDim()) ||
      !holds(getKey(), getKOffset(), kvHeads * getHeadDim()) ||
      !holds(getValue(), getVOffset(), kvHeads * getValueHeadDim()))
    return emitOpError() << "expected operands that hold the columns of " << heads << " and " << kvHeads
                         << " heads, but got " << getQuery().getType() << ", " << getKey().getType() << " and "
                         << getValue().getType();
  if ((getMaskKind() != lm::MaskKind::None) != bool(getMask())) // (C3)
    return emitOpError() << "expected a mask exactly when mask_kind is not none, but got "
                         << lm::stringifyMaskKind(getMaskKind());
  auto isStored = [&](Value value, Value scale) { // (C4)
    if (!scale || !getKeyScale() || !getValueScale())
      return !getKeyScale() && !getValueScale() && getElementTypeOrSelf(value) == getElementTypeOrSelf(getQuery());
    SmallVector<SymExpr> dims = getDims(scale);
    return getElementTypeOrSelf(value).isSignlessInteger(8) && getElementTypeOrSelf(scale).isF32() &&
           dims.size() == 3 && !mayDiffer(dims[2], kvHeads);
  };
  if (!isStored(getKey(), getKeyScale()) || !isStored(getValue(), getValueScale()))
    return emitOpError()
           << "expected key and value of the type of the query, or both of i8 with a scale per token and head, but got "
           << getKey().getType() << " and " << getValue().getType();
  return success();
}

LogicalResult NormOp::verify() {
  SmallVector<SymExpr> dims = getDims(getInput());
  if (dims.empty())
    return emitOpError() << "expected an operand of rank 1 or more, but got " << getInput().getType();
  if (getResidual() && !lm::areCompatibleTypes(getResidual().getType(), getInput().getType())) // (C1)
    return emitOpError() << "expected the residual " << getInput().getType() << ", but got " << getResidual().getType();
  for (Value vector : {Value(getInputBias()), Value(getScale()), Value(getBias())})
    if (!isVector(vector, dims.back()))
      return emitOpError() << "expected " << dims.back().str() << " elements, but got " << vector.getType();
  for (Type type : getResultTypes()) // (C2)
    if (!lm::areCompatibleTypes(type, getInput().getType()))
      return emitOpError() << "expected the result " << getInput().getType() << ", but got " << type;
  return success();
}

LogicalResult EmbedOp::verify() {
  size_t count = getTables().size();
  if (count < 1 || count > 3 || getIds().size() != count) // (C1)
    return emitOpError() << "expected one to three tables with ids each, but got " << count << " and "
                         << getIds().size();
  SymExpr width = getDims(getTables().front()).empty() ? SymExpr() : getDims(getTables().front()).back();
  for (Value table : getTables())
    if (getDims(table).size() != 2 || mayDiffer(getDims(table)[1], width))
      return emitOpError() << "expected tables of width " << width.str() << ", but got " << table.getType();
  if (!width.getConstant()) // (C2)
    return emitOpError() << "expected a table of known width, but got " << getTables().front().getType();
  if (!getKind() && (getScale() || getBias())) // (C3)
    return emitOpError() << "expected scale and bias only with a norm";
  return success();
}

static bool isScalar(Value value) {
  return llvm::all_of(getDims(value), [](const SymExpr &dim) { return dim.isConstant(1); });
}

LogicalResult BranchOp::verify() {
  if (!isScalar(getCondition())) // (C1)
    return emitOpError() << "expected a condition of one element, but got " << getCondition().getType();
  return success();
}

LogicalResult RepeatOp::verify() {
  for (Value control : {Value(getTripCount()), Value(getCondition())}) // (C1)
    if (control && !isScalar(control))
      return emitOpError() << "expected a trip count and a condition of one element, but got " << control.getType();
  if (getReverseRows().size() + getInits().size() != getNumResults()) // (C2)
    return emitOpError() << "expected an entry of reverse_rows for each of " << getNumResults() - getInits().size()
                         << " scan outputs, but got " << getReverseRows().size();
  return success();
}

// kernel.loops (%block = %operand, ...) : types -> types { ... }
ParseResult LoopsOp::parse(OpAsmParser &parser, OperationState &result) {
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  auto binding = [&]() -> ParseResult {
    return failure(parser.parseArgument(arguments.emplace_back()) || parser.parseEqual() ||
                   parser.parseOperand(operands.emplace_back()));
  };
  FunctionType type;
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, binding) ||
      parser.parseOptionalAttrDictWithKeyword(result.attributes) || parser.parseColonType(type))
    return failure();
  if (type.getNumInputs() != operands.size())
    return parser.emitError(parser.getNameLoc(), "expected ")
           << operands.size() << " operand types, but got " << type.getNumInputs();
  for (auto [argument, argumentType] : llvm::zip(arguments, type.getInputs()))
    argument.type = argumentType;
  if (parser.resolveOperands(operands, type.getInputs(), parser.getNameLoc(), result.operands))
    return failure();
  result.addTypes(type.getResults());
  return parser.parseRegion(*result.addRegion(), arguments);
}

void LoopsOp::print(OpAsmPrinter &p) {
  p << " (";
  llvm::interleaveComma(llvm::zip(getBody().getArguments(), getInputs()), p,
                        [&](auto binding) { p << std::get<0>(binding) << " = " << std::get<1>(binding); });
  p << ")";
  p.printOptionalAttrDictWithKeyword((*this)->getAttrs());
  p << " : ";
  p.printFunctionalType(*this);
  p << " ";
  p.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

LogicalResult LoopsOp::verify() {
  Block &block = getBody().front();
  if (block.getArgumentTypes() != getInputs().getTypes()) // (C1)
    return emitOpError() << "expected block arguments of the operand types";
  auto yield = dyn_cast_or_null<YieldOp>(block.empty() ? nullptr : &block.back());
  if (!yield || yield.getValues().getTypes() != getResultTypes()) // (C2)
    return emitOpError() << "expected a region that ends in kernel.yield of values of the result types";
  for (Operation &op : block.without_terminator())
    if (!isa<lm::LMDialect>(op.getDialect()))
      return op.emitOpError() << "expected only operations of the lm dialect in kernel.loops";
  return success();
}
