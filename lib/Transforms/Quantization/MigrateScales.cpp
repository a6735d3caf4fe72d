#include "llmopt/Transforms/Quantization/MigrateScales.h"

#include "llmopt/Transforms/Matching.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

/// The place where a vector of factors can be put: the norm or linear layer, and
/// the first of its columns that are meant.
namespace {
struct Producer {
  Operation *op = nullptr;
  int64_t offset = 0;
};
} // namespace

/// The columns of `value` that `slice` takes, where it takes whole rows otherwise.
static std::optional<int64_t> getColumnOffset(SliceOp slice) {
  SmallVector<SymExpr> from = getDims(slice.getInput()), to = getDims(slice.getResult());
  SmallVector<SymExpr> starts = getExprs(slice.getStarts());
  if (from.size() != to.size() || !llvm::all_of(slice.getSteps(), [](int64_t step) { return step == 1; }))
    return std::nullopt;
  for (size_t i = 0; i + 1 < from.size(); ++i)
    if (from[i] != to[i] || !starts[i].isConstant(0))
      return std::nullopt;
  return starts.back().getConstant();
}

/// Only `users` read `value`, each through one operand or more.
static bool isOnlyReadBy(Value value, ArrayRef<Operation *> users) {
  return llvm::all_of(value.getUsers(), [&](Operation *user) { return llvm::is_contained(users, user); });
}

static Producer findProducer(Value x, ArrayRef<Operation *> users) {
  Operation *op = x.getDefiningOp();
  if (!op || !isOnlyReadBy(x, users) || !getElementTypeOrSelf(x).isF32())
    return {};
  if (auto norm = dyn_cast<NormOp>(op)) {
    bool fixed =
        (!norm.getScale() || isWeightDerived(norm.getScale())) && (!norm.getBias() || isWeightDerived(norm.getBias()));
    return fixed ? Producer{op, 0} : Producer{};
  }
  if (auto linear = dyn_cast<LinearOp>(op)) {
    bool fixed = isWeightDerived(linear.getWeight()) && !linear.getWeight().getDefiningOp<DequantizeOp>() &&
                 (!linear.getBias() || isWeightDerived(linear.getBias()));
    return fixed ? Producer{op, 0} : Producer{};
  }
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    // Each output column is a mean of one column of the values.
    if (attention.getNumHeads() != attention.getKvNumHeads())
      return {};
    Value value = attention.getValue();
    if (value == attention.getQuery() || value == attention.getKey())
      return {};
    return findProducer(value, {op});
  }
  if (auto slice = dyn_cast<SliceOp>(op)) {
    // Other slices of the same linear layer take other columns.
    auto linear = slice.getInput().getDefiningOp<LinearOp>();
    std::optional<int64_t> offset = getColumnOffset(slice);
    if (!linear || !offset)
      return {};
    int64_t width = getDims(x).back().getConstant().value_or(0);
    for (Operation *user : linear.getResult().getUsers()) {
      auto other = dyn_cast<SliceOp>(user);
      std::optional<int64_t> start = other ? getColumnOffset(other) : std::nullopt;
      std::optional<int64_t> size = other ? getDims(other.getResult()).back().getConstant() : std::nullopt;
      if (!start || !size || (other != slice && *start < *offset + width && *offset < *start + *size))
        return {};
    }
    SmallVector<Operation *> readers(linear.getResult().user_begin(), linear.getResult().user_end());
    Producer producer = findProducer(linear.getResult(), readers);
    producer.offset = *offset;
    return producer;
  }
  if (auto product = dyn_cast<MulOp>(op)) // act(gate) * up: up is linear in its weight
    for (Value factor : product.getOperands())
      if (haveSameDims(factor, x))
        if (Producer producer = findProducer(factor, {op});
            producer.op && isa<LinearOp, SliceOp>(factor.getDefiningOp()))
          return producer;
  return {};
}

static SmallVector<Operation *> toOperations(ArrayRef<LinearOp> consumers) {
  SmallVector<Operation *> users;
  for (LinearOp linear : consumers)
    users.push_back(linear);
  return users;
}

bool llmopt::canMigrateScales(Value x, ArrayRef<LinearOp> consumers) {
  return findProducer(x, toOperations(consumers)).op != nullptr;
}

/// `vector` as a weight that multiplies along dimension `axis` of a matrix.
static Value createFactors(OpBuilder &builder, Location loc, ArrayRef<float> vector, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, builder.getF32Type());
  return ConstantOp::create(builder, loc, DenseElementsAttr::get(type, vector));
}

static Value multiply(OpBuilder &builder, Location loc, Value weight, ArrayRef<float> factors, int64_t axis) {
  SmallVector<int64_t> shape(cast<RankedTensorType>(weight.getType()).getRank(), 1);
  shape[axis] = factors.size();
  return MulOp::create(builder, loc, weight, createFactors(builder, loc, factors, shape));
}

void llmopt::migrateScales(Value x, ArrayRef<LinearOp> consumers, ArrayRef<float> scales) {
  Producer producer = findProducer(x, toOperations(consumers));
  SmallVector<float> inverse;
  for (float s : scales)
    inverse.push_back(1 / s);
  OpBuilder builder(producer.op);
  Location loc = producer.op->getLoc();
  if (auto norm = dyn_cast<NormOp>(producer.op)) {
    auto size = static_cast<int64_t>(scales.size());
    norm.getScaleMutable().assign(norm.getScale() ? multiply(builder, loc, norm.getScale(), inverse, 0)
                                                  : createFactors(builder, loc, inverse, {size}));
    if (norm.getBias())
      norm.getBiasMutable().assign(multiply(builder, loc, norm.getBias(), inverse, 0));
  } else {
    auto linear = cast<LinearOp>(producer.op);
    bool transposed = linear.getTransposeWeight();
    int64_t n = cast<RankedTensorType>(linear.getWeight().getType()).getDimSize(transposed ? 0 : 1);
    SmallVector<float> factors(n, 1.0f);
    std::copy(inverse.begin(), inverse.end(), factors.begin() + producer.offset);
    linear.getWeightMutable().set(multiply(builder, loc, linear.getWeight(), factors, transposed ? 0 : 1));
    if (linear.getBias())
      linear.getBiasMutable().assign(multiply(builder, loc, linear.getBias(), factors, 0));
  }
  for (LinearOp linear : consumers) {
    builder.setInsertionPoint(linear);
    int64_t axis = linear.getTransposeWeight() ? 1 : 0;
    linear.getWeightMutable().set(multiply(builder, linear.getLoc(), linear.getWeight(), scales, axis));
  }
}
