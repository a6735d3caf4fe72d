// Matrix products: constant weights are packed, everything else is batched.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

static std::optional<SmallVector<int64_t>> getStatic(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (!type.hasStaticShape())
    return std::nullopt;
  return SmallVector<int64_t>(type.getShape());
}

void plan::lowerPatchConv(func::FuncOp function) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::ConvOp>())) {
    std::optional<SmallVector<int64_t>> weight = getStatic(op.getWeight());
    SmallVector<SymExpr> in = getDims(op.getInput()), out = getDims(op.getResult());
    if (!isa<FloatType>(getElementTypeOrSelf(op.getInput())))
      continue; // lm.linear is of floats
    if (!weight || op.getGroups() != 1 || llvm::any_of(op.getPads(), [](int64_t p) { return p != 0; }) ||
        llvm::any_of(op.getDilations(), [](int64_t d) { return d != 1; }))
      continue;
    ArrayRef<int64_t> kernel = ArrayRef(*weight).drop_front(2);
    size_t spatial = kernel.size();
    bool patches = true;
    for (size_t i = 0; i < spatial; ++i)
      patches &= op.getStrides()[i] == kernel[i] && in[2 + i] == out[2 + i] * SymExpr(kernel[i]);
    if (!patches)
      continue;
    // [B, C, H, W] -> [B, C, H/p, p, W/q, q] -> [B, H/p, W/q, C, p, q] -> [B, P, C p q]
    OpBuilder builder(op);
    Location loc = op.getLoc();
    SmallVector<SymExpr> split{in[0], in[1]};
    SmallVector<int64_t> perm{0}, kernelPerm{1};
    for (size_t i = 0; i < spatial; ++i) {
      split.append({out[2 + i], SymExpr(kernel[i])});
      perm.push_back(2 + 2 * i);
      kernelPerm.push_back(3 + 2 * i);
    }
    perm.append(kernelPerm);
    SymExpr numPatches = product(ArrayRef(out).drop_front(2));
    int64_t k = (*weight)[1] * product(SmallVector<SymExpr>(kernel.begin(), kernel.end())).getConstant().value_or(0);
    Value patch = lm::ReshapeOp::create(builder, loc, op.getInput(), split);
    patch = lm::TransposeOp::create(builder, loc, patch, perm);
    patch = lm::ReshapeOp::create(builder, loc, patch, ArrayRef<SymExpr>{in[0], numPatches, k});
    Value matrix = lm::ReshapeOp::create(builder, loc, op.getWeight(), ArrayRef<SymExpr>{(*weight)[0], k});
    Value product = lm::LinearOp::create(builder, loc, patch, matrix, op.getBias(), /*transpose_weight=*/true);
    // Models flatten the patches and move channels last: that is `product` already.
    if (op->hasOneUse())
      if (auto flat = dyn_cast<lm::ReshapeOp>(*op->user_begin()); flat && flat->hasOneUse())
        if (auto last = dyn_cast<lm::TransposeOp>(*flat->user_begin());
            last && last.getPerm() == ArrayRef<int64_t>{0, 2, 1} && haveEqualDims(last.getType(), product.getType())) {
          last.getResult().replaceAllUsesWith(product);
          last.erase();
          flat.erase();
          op.erase();
          continue;
        }
    Value channels = lm::TransposeOp::create(builder, loc, product, ArrayRef<int64_t>{0, 2, 1});
    op.getResult().replaceAllUsesWith(lm::ReshapeOp::create(builder, loc, channels, out));
    op.erase();
  }
}

/// The tensor of which `value` is the transpose of the last two dimensions.
static Value getTransposed(Value value) {
  auto op = value.getDefiningOp<lm::TransposeOp>();
  if (!op || !op->hasOneUse())
    return {};
  ArrayRef<int64_t> perm = op.getPerm();
  int64_t rank = perm.size();
  if (rank < 2 || perm[rank - 1] != rank - 2 || perm[rank - 2] != rank - 1)
    return {};
  for (int64_t i = 0; i + 2 < rank; ++i)
    if (perm[i] != i)
      return {};
  return op.getInput();
}

namespace {
/// Rows of a tensor that lie apart: row r starts at element offset + r stride.
struct RowSlice {
  Value source;
  SymExpr stride, offset;
};
} // namespace

/// One token of every sequence, x[:, i, :], as rows of x itself.
static std::optional<RowSlice> getRowSlice(Value value, int64_t k) {
  if (auto reshape = value.getDefiningOp<lm::ReshapeOp>()) {
    SmallVector<SymExpr> dims = getDims(value);
    if (dims.empty() || !dims.back().isConstant(k))
      return std::nullopt;
    value = reshape.getInput();
  }
  auto slice = value.getDefiningOp<lm::SliceOp>();
  if (!slice)
    return std::nullopt;
  SmallVector<SymExpr> in = getDims(slice.getInput()), out = getDims(value);
  SmallVector<SymExpr> starts = lm::getExprs(slice.getStarts());
  if (in.size() != 3 || !out[2].isConstant(k) || in[2] != out[2] || in[0] != out[0] || !out[1].isConstant(1) ||
      !starts[0].isConstant(0) || !starts[2].isConstant(0) || in[1].isUnknown() || starts[1].isUnknown() ||
      slice.getSteps()[0] != 1 || slice.getSteps()[2] != 1)
    return std::nullopt;
  return RowSlice{slice.getInput(), in[1] * in[2], starts[1] * in[2]};
}

static Value createPackedGemm(OpBuilder &builder, Location loc, Type type, Value input, Value packed, Value bias,
                              int64_t n, int64_t k, kernel::Layout layout) {
  lm::SymValuesAttr stride, offset;
  if (std::optional<RowSlice> rows = getRowSlice(input, k)) {
    input = rows->source;
    stride = lm::getSymValues(builder.getContext(), rows->stride);
    offset = lm::getSymValues(builder.getContext(), rows->offset);
  }
  return kernel::GemmOp::create(builder, loc, type, input, packed, bias, /*residual=*/Value(), n, k, llvm::APFloat(1.0),
                                kernel::Activation::None, stride, offset, layout);
}

static Value createGemm(OpBuilder &builder, Location loc, Type type, Value input, Value weight, Value bias,
                        const PlanTarget &target) {
  auto matrix = cast<RankedTensorType>(weight.getType());
  int64_t k = matrix.getDimSize(0), n = matrix.getDimSize(1);
  PlanTarget::PackedLayout layout = target.getGemmLayout(n, k, matrix.getElementType());
  Value packed = kernel::PackOp::create(builder, weight.getLoc(), weight, layout.layout, layout.width);
  return createPackedGemm(builder, loc, type, input, packed, bias, n, k, layout.layout);
}

/// A weight that is trained: its panels are made in every run, once for all rows.
static bool isTrainedMatrix(Value weight, const PlanTarget &target) {
  auto type = dyn_cast<RankedTensorType>(weight.getType());
  return target.hasTraining() && isParameter(weight) && type.getRank() == 2 && type.getElementType().isF32() &&
         target.getGemmLayout(type.getDimSize(1), type.getDimSize(0), type.getElementType()).layout ==
             kernel::Layout::Panels;
}

/// input times weight [k, n], or with `transpose` [n, k].
static Value createTrainedGemm(OpBuilder &builder, Location loc, Type type, Value input, Value weight, bool transpose,
                               Value bias, const PlanTarget &target) {
  auto matrix = cast<RankedTensorType>(weight.getType());
  int64_t k = matrix.getDimSize(transpose ? 1 : 0), n = matrix.getDimSize(transpose ? 0 : 1);
  int64_t width = target.getGemmLayout(n, k, matrix.getElementType()).width;
  Value packed = kernel::PackPanelsOp::create(builder, loc, weight, width, transpose);
  return createPackedGemm(builder, loc, type, input, packed, bias, n, k, kernel::Layout::Panels);
}

/// Leading dimensions broadcast without comparing different symbols.
static bool hasSimpleBatch(ArrayRef<SymExpr> a, ArrayRef<SymExpr> b) {
  for (size_t i = 2; i < a.size() && i < b.size(); ++i) {
    const SymExpr &x = a[a.size() - 1 - i], &y = b[b.size() - 1 - i];
    if (x != y && !x.isConstant(1) && !y.isConstant(1))
      return false;
  }
  return true;
}

static void formLinear(lm::LinearOp op, const PlanTarget &target) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  Value weight = op.getWeight(), result;
  if (isRecipe(weight)) {
    if (op.getTransposeWeight())
      weight = lm::TransposeOp::create(builder, weight.getLoc(), weight, ArrayRef<int64_t>{1, 0});
    result = createGemm(builder, loc, op.getType(), op.getInput(), weight, op.getBias(), target);
  } else if (isTrainedMatrix(weight, target)) {
    Value bias = op.getBias() && isParameter(op.getBias()) ? op.getBias() : Value();
    result =
        createTrainedGemm(builder, loc, op.getType(), op.getInput(), weight, op.getTransposeWeight(), bias, target);
    if (op.getBias() && !bias)
      result = lm::AddOp::create(builder, loc, result, op.getBias());
  } else {
    Value input = op.getInput();
    SmallVector<SymExpr> dims = getDims(input);
    if (dims.size() < 2)
      input = lm::ReshapeOp::create(builder, loc, input, ArrayRef<SymExpr>{1, dims[0]});
    SmallVector<SymExpr> out = getDims(op.getType());
    if (dims.size() < 2)
      out.insert(out.begin(), SymExpr(1));
    result = kernel::BatchedMatmulOp::create(builder, loc, lm::getTensorType(out, op.getType().getElementType()), input,
                                             weight, false, op.getTransposeWeight(), llvm::APFloat(1.0));
    if (dims.size() < 2)
      result = lm::ReshapeOp::create(builder, loc, result, getDims(op.getType()));
    if (op.getBias())
      result = lm::AddOp::create(builder, loc, result, op.getBias());
  }
  op.getResult().replaceAllUsesWith(result);
  op.erase();
}

static void formMatMul(lm::MatMulOp op, const PlanTarget &target) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  Value a = op.getLhs(), b = op.getRhs();
  SmallVector<SymExpr> aDims = getDims(a), bDims = getDims(b);
  if (bDims.size() == 2 && isRecipe(b)) {
    Value result = createGemm(builder, loc, op.getType(), a, b, {}, target);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
    return;
  }
  Value source = getTransposed(b);
  if (Value weight = source ? source : b; aDims.size() >= 2 && isTrainedMatrix(weight, target)) {
    Value result = createTrainedGemm(builder, loc, op.getType(), a, weight, bool(source), {}, target);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
    return;
  }
  if (!hasSimpleBatch(aDims, bDims))
    return; // loops broadcast any pair of symbols
  SmallVector<SymExpr> out = getDims(op.getType());
  if (aDims.size() == 1) {
    a = lm::ReshapeOp::create(builder, loc, a, ArrayRef<SymExpr>{1, aDims[0]});
    out.insert(out.end() - (bDims.size() > 1 ? 1 : 0), SymExpr(1));
  }
  if (bDims.size() == 1) {
    b = lm::ReshapeOp::create(builder, loc, b, ArrayRef<SymExpr>{bDims[0], 1});
    out.push_back(1);
  }
  bool transposeA = false, transposeB = false;
  if (Value source = getTransposed(a)) {
    a = source;
    transposeA = true;
  }
  if (Value source = getTransposed(b)) {
    b = source;
    transposeB = true;
  }
  Type type = lm::getTensorType(out, getElementTypeOrSelf(op.getType()));
  Value result = kernel::BatchedMatmulOp::create(builder, loc, type, a, b, transposeA, transposeB, llvm::APFloat(1.0));
  if (aDims.size() == 1 || bDims.size() == 1)
    result = lm::ReshapeOp::create(builder, loc, result, getDims(op.getType()));
  op.getResult().replaceAllUsesWith(result);
  op.erase();
}

void plan::formProducts(func::FuncOp function, const PlanTarget &target) {
  for (Operation &op : llvm::make_early_inc_range(function.getBody().front())) {
    if (auto linear = dyn_cast<lm::LinearOp>(op)) {
      if (target.hasGemm(getElementTypeOrSelf(linear.getType())))
        formLinear(linear, target);
    } else if (auto product = dyn_cast<lm::MatMulOp>(op)) {
      if (target.hasGemm(getElementTypeOrSelf(product.getType())))
        formMatMul(product, target);
    }
  }
}
