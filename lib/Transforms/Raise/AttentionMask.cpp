// The masks of an attention site: which form they take together, and building it.
//
// A fill below kMasking underflows to a probability of 0 beside any visible key,
// so it is a boolean mask; a fill below kAbsorbing also swallows the score that
// it is added to, so adding it and choosing it are the same.
#include "AttentionMatch.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static constexpr double kMasking = -9999, kAbsorbing = -1e30;

/// The mask's dimensions as [B|1, N|1, Sq|1, Sk|1], or nullopt.
static std::optional<SmallVector<SymExpr>> getRank4Dims(const MaskTerm &term, const AttentionMatch &match) {
  SmallVector<SymExpr> maskDims = getDims(term.mask);
  if (maskDims.size() > term.dims.size())
    return std::nullopt;
  SmallVector<SymExpr> dims(term.dims.size() - maskDims.size(), SymExpr(1));
  llvm::append_range(dims, maskDims);
  for (auto [i, dim] : llvm::enumerate(dims))
    if (!dim.isConstant(1) && dim != term.dims[i])
      return std::nullopt;
  if (dims.size() == 4)
    return dims;
  SmallVector<SymExpr> rank4{1, 1, dims[dims.size() - 2], dims.back()};
  if (dims.size() == 3 && !dims[0].isConstant(1)) {
    rank4[0] = match.batch;
    rank4[1] = match.numHeads;
  }
  return rank4;
}

/// Whether element (i, j) of a constant's last two dimensions is `isKept` exactly
/// for j <= i, whatever comes before them.
template <typename Range, typename Predicate>
static bool isLowerTriangle(Range values, int64_t size, Predicate isKept) {
  int64_t index = 0;
  for (const auto &value : values) {
    int64_t row = index / size % size, column = index % size;
    std::optional<bool> kept = isKept(value);
    if (!kept || *kept != (column <= row))
      return false;
    ++index;
  }
  return true;
}

/// Whether the only term lets query i see exactly the keys j <= i, for as many
/// queries as keys.
static bool isCausal(const MaskTerm &term, const AttentionMatch &match) {
  if (match.queryLength != match.keyLength)
    return false;
  Value mask = term.mask;
  while (Operation *op = mask.getDefiningOp()) {
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      SmallVector<SymExpr> from = getDims(reshape.getInput()), to = getDims(mask);
      if (from.size() < 2 || to.size() < 2 || from.back() != to.back() || from[from.size() - 2] != to[to.size() - 2])
        break;
    } else if (!isa<BroadcastOp, CastOp>(op)) {
      break;
    }
    mask = op->getOperand(0);
  }
  SmallVector<SymExpr> dims = getDims(mask);
  if (dims.size() < 2 || dims.back() != match.keyLength || dims[dims.size() - 2] != match.keyLength)
    return false;
  if (auto trilu = mask.getDefiningOp<TriluOp>()) {
    std::optional<double> value = getScalar(trilu.getInput());
    if (!value)
      return false;
    if (term.kind == MaskTerm::Add) // zero at and below the diagonal
      return trilu.getUpper() && trilu.getDiagonal() == 1 && *value * term.factor <= kMasking;
    if (*value == 0 || std::isnan(*value))
      return false;
    return term.kind == MaskTerm::KeepWhere ? !trilu.getUpper() && trilu.getDiagonal() == 0
                                            : trilu.getUpper() && trilu.getDiagonal() == 1;
  }
  Attribute attr;
  auto dense = matchPattern(mask, m_Constant(&attr)) ? dyn_cast<DenseElementsAttr>(attr) : DenseElementsAttr();
  if (auto weight = mask.getDefiningOp<WeightOp>())
    dense = dyn_cast<DenseElementsAttr>(weight.getSource());
  std::optional<int64_t> size = match.keyLength.getConstant();
  if (!dense || !size || *size <= 0)
    return false;
  if (term.kind == MaskTerm::Add) {
    auto floats = dyn_cast<DenseFPElementsAttr>(dense);
    return floats && isLowerTriangle(floats.getValues<APFloat>(), *size, [&](APFloat value) -> std::optional<bool> {
             bool lost = false;
             value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
             double number = value.convertToDouble() * term.factor;
             if (number == 0)
               return true;
             return number <= kMasking ? std::optional(false) : std::nullopt;
           });
  }
  auto ints = dyn_cast<DenseIntElementsAttr>(dense);
  return ints && isLowerTriangle(ints.getValues<APInt>(), *size, [&](const APInt &value) -> std::optional<bool> {
           return !value.isZero() == (term.kind == MaskTerm::KeepWhere);
         });
}

std::optional<Miss> llmopt::planMask(AttentionMatch &match, Zeroing zeroing) {
  bool anyAdded = false, sameFill = true;
  for (const MaskTerm &term : match.terms) {
    if (!getRank4Dims(term, match))
      return Miss{"a mask does not broadcast to batch, heads, queries and keys, or its dimensions are unknown", ""};
    if (term.kind == MaskTerm::Add) {
      anyAdded = true;
      continue;
    }
    if (!(term.fill <= kMasking))
      return Miss{llvm::formatv("masked scores are set to {0}, expected {1} or lower", term.fill, kMasking), ""};
    for (const MaskTerm &other : match.terms)
      sameFill &= other.kind == MaskTerm::Add || other.fill == term.fill;
  }
  if (match.terms.empty())
    return std::nullopt;
  if (match.terms.size() == 1 && isCausal(match.terms.front(), match)) {
    match.causal = true; // every query sees itself
    return std::nullopt;
  }
  if (!anyAdded && sameFill) {
    match.maskKind = MaskKind::Boolean;
    bool givesNaN = std::isinf(match.terms.front().fill);
    match.fullyMasked = zeroing == Zeroing::Masked || (zeroing == Zeroing::NaNs && givesNaN) ? FullyMasked::Zero
                        : givesNaN                                                           ? FullyMasked::NaN
                                                                                             : FullyMasked::Source;
    return std::nullopt;
  }
  for (const MaskTerm &term : match.terms)
    if (term.kind != MaskTerm::Add && !(term.fill <= kAbsorbing))
      return Miss{llvm::formatv("masked scores are set to {0} beside another mask, expected -infinity", term.fill), ""};
  match.maskKind = MaskKind::Additive;
  match.fullyMasked = zeroing == Zeroing::None ? FullyMasked::Source : FullyMasked::Zero;
  return std::nullopt;
}

Value llmopt::buildMask(OpBuilder &builder, Location loc, const AttentionMatch &match) {
  SoftmaxOp softmax = match.softmax;
  Type elementType = getElementTypeOrSelf(softmax.getType());
  Value result;
  for (const MaskTerm &term : match.terms) {
    if (match.maskKind == MaskKind::None)
      break;
    auto type = getTensorType(*getRank4Dims(term, match), getElementTypeOrSelf(term.mask.getType()));
    Value mask = term.mask;
    if (mask.getType() != type)
      mask = ReshapeOp::create(builder, loc, type, mask);
    if (match.maskKind == MaskKind::Boolean) {
      if (term.kind == MaskTerm::DropWhere)
        mask = NotOp::create(builder, loc, mask);
      result = result ? AndOp::create(builder, loc, result, mask).getResult() : mask;
      continue;
    }
    if (term.kind == MaskTerm::Add) {
      elementType = getElementTypeOrSelf(mask.getType());
      if (term.factor != 1)
        mask = MulOp::create(builder, loc, mask, createScalar(builder, loc, elementType, term.factor));
    } else {
      Value zero = createScalar(builder, loc, elementType, 0),
            fill = createScalar(builder, loc, elementType, term.fill);
      bool kept = term.kind == MaskTerm::KeepWhere;
      mask = WhereOp::create(builder, loc, mask, kept ? zero : fill, kept ? fill : zero);
    }
    result = result ? AddOp::create(builder, loc, result, mask).getResult() : mask;
  }
  return result;
}
