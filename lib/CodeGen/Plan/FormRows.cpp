// Kernels over whole rows: embeddings, norms with what is added before them, softmax.
#include "Partition.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using kernel::EmbedOp;
using lm::getDims;
using lm::SymExpr;

static bool hasStaticWidth(Value value) {
  SmallVector<SymExpr> dims = getDims(value);
  return !dims.empty() && dims.back().getConstant().has_value();
}

static EmbedOp createEmbed(OpBuilder &builder, Location loc, TypeRange types, ValueRange tables, ValueRange ids,
                           Value scale = {}, Value bias = {}, lm::NormKindAttr kind = {},
                           llvm::APFloat epsilon = llvm::APFloat(0.0)) {
  return EmbedOp::create(builder, loc, types[0], types.size() > 1 ? types[1] : Type(), tables, ids, scale, bias, kind,
                         epsilon);
}

/// An embedding, and a gather of whole rows, are lookups without a norm.
static void formLookups(func::FuncOp function, const PlanTarget &target) {
  for (Operation &op : llvm::make_early_inc_range(function.getBody().front())) {
    Value table, ids;
    if (auto embedding = dyn_cast<lm::EmbeddingOp>(op)) {
      table = embedding.getTable();
      ids = embedding.getIds();
    } else if (auto gather = dyn_cast<lm::GatherOp>(op); gather && gather.getAxis() == 0 &&
                                                         getDims(gather.getInput()).size() == 2 &&
                                                         isRecipe(gather.getInput())) {
      table = gather.getInput();
      ids = gather.getIndices();
    }
    if (!table || !target.hasRows(getElementTypeOrSelf(table)) || !hasStaticWidth(table) ||
        !(getElementTypeOrSelf(ids).isSignlessInteger(64) || getElementTypeOrSelf(ids).isSignlessInteger(32)))
      continue;
    OpBuilder builder(&op);
    EmbedOp embed = createEmbed(builder, op.getLoc(), op.getResultTypes(), table, ids);
    op.getResult(0).replaceAllUsesWith(embed.getResult());
    op.erase();
  }
}

/// The rows of `small` serve every row block of `large`: its dimensions are the
/// last ones of `large`, behind ones.
static bool repeatsOver(Value small, Value large) {
  SmallVector<SymExpr> s = getDims(small), l = getDims(large);
  ArrayRef<SymExpr> tail = s;
  while (!tail.empty() && tail.front().isConstant(1))
    tail = tail.drop_front();
  return tail.size() <= l.size() && std::equal(tail.begin(), tail.end(), l.end() - tail.size());
}

static EmbedOp getPlainEmbed(Value value) {
  auto op = value.getDefiningOp<EmbedOp>();
  return op && op->hasOneUse() && !op.getKind() ? op : EmbedOp();
}

/// embed + embed -> one embed of all tables, where one side has the shape of the sum.
static void mergeSums(func::FuncOp function) {
  for (auto add : llvm::make_early_inc_range(function.getOps<lm::AddOp>())) {
    EmbedOp a = getPlainEmbed(add.getLhs()), b = getPlainEmbed(add.getRhs());
    if (!a || !b || a == b || a.getTables().size() + b.getTables().size() > 3)
      continue;
    bool fits = haveEqualDims(a.getResult().getType(), add.getType()) ||
                haveEqualDims(b.getResult().getType(), add.getType());
    for (EmbedOp part : {a, b})
      fits &= repeatsOver(part.getResult(), add.getResult());
    if (!fits)
      continue;
    OpBuilder builder(add);
    SmallVector<Value> tables(a.getTables()), ids(a.getIds());
    tables.append(b.getTables().begin(), b.getTables().end());
    ids.append(b.getIds().begin(), b.getIds().end());
    Location loc = builder.getFusedLoc({a.getLoc(), b.getLoc(), add.getLoc()});
    EmbedOp sum = createEmbed(builder, loc, add->getResultTypes(), tables, ids);
    add.getResult().replaceAllUsesWith(sum.getResult());
    add.erase();
  }
}

/// norm(embed) -> the norm in the embed.
static bool normIntoEmbed(lm::NormOp norm) {
  auto embed = norm.getInput().getDefiningOp<EmbedOp>();
  if (!embed || embed.getKind() || !haveEqualDims(embed.getResult().getType(), norm.getType()))
    return false;
  OpBuilder builder(norm);
  bool sumUsed = !embed.getResult().hasOneUse();
  SmallVector<Type> types{norm.getType()};
  if (sumUsed) {
    // The sum must be there for its other users.
    types.push_back(embed.getResult().getType());
    for (Operation *user : embed.getResult().getUsers())
      if (user->isBeforeInBlock(norm))
        return false;
  }
  EmbedOp fused = createEmbed(builder, builder.getFusedLoc({embed.getLoc(), norm.getLoc()}), types, embed.getTables(),
                              embed.getIds(), norm.getScale(), norm.getBias(),
                              lm::NormKindAttr::get(norm.getContext(), norm.getKind()), norm.getEpsilon());
  norm.getResult().replaceAllUsesWith(fused.getResult());
  norm.erase();
  if (sumUsed)
    embed.getResult().replaceAllUsesWith(fused.getSum());
  embed.erase();
  return true;
}

/// norm(a + b (+ vector)) -> the additions in the norm.
static void formNorm(lm::NormOp norm) {
  OpBuilder builder(norm);
  Value input = norm.getInput(), residual, inputBias, sum;
  SmallVector<Location> locs;
  if (auto add = input.getDefiningOp<lm::AddOp>();
      add && haveEqualDims(add.getLhs().getType(), add.getType()) &&
      haveEqualDims(add.getRhs().getType(), add.getType()) && getDims(add.getType()).size() > 1) {
    // All users of the sum must come behind the norm, which then gives it.
    bool usable = true;
    for (Operation *user : add->getUsers())
      usable &= user == norm || norm->isBeforeInBlock(user);
    if (usable) {
      if (!add->hasOneUse())
        sum = add.getResult();
      input = add.getLhs();
      residual = add.getRhs();
      locs.push_back(add.getLoc());
    }
  }
  if (residual)
    for (Value *side : {&input, &residual})
      if (auto add = side->getDefiningOp<lm::AddOp>(); add && add->hasOneUse() && !inputBias) {
        bool left = getDims(add.getLhs()).size() == 1;
        Value vector = left ? add.getLhs() : add.getRhs(), other = left ? add.getRhs() : add.getLhs();
        // Vectors of a norm have one type.
        Type vectorType = getElementTypeOrSelf(norm.getScale() ? norm.getScale() : norm.getInput());
        if (getElementTypeOrSelf(vector) == vectorType && getDims(vector).size() == 1 && isRecipe(vector) && haveEqualDims(other.getType(), add.getType()) &&
            getDims(vector)[0] == getDims(add.getType()).back()) {
          inputBias = vector;
          *side = other;
          locs.push_back(add.getLoc());
        }
      }
  locs.push_back(norm.getLoc());
  auto fused =
      kernel::NormOp::create(builder, builder.getFusedLoc(locs), norm.getType(), sum ? sum.getType() : Type(),
                             norm.getKind(), input, residual, inputBias, norm.getScale(), norm.getBias(),
                             norm.getEpsilon());
  norm.getResult().replaceAllUsesWith(fused.getResult());
  norm.erase();
  if (sum)
    sum.replaceAllUsesWith(fused.getSum());
}

void plan::formRows(func::FuncOp function, const PlanTarget &target) {
  formLookups(function, target);
  mergeSums(function);
  for (auto norm : llvm::make_early_inc_range(function.getOps<lm::NormOp>()))
    if (target.hasRows(getElementTypeOrSelf(norm.getType())) && hasStaticWidth(norm.getInput()))
      if (!normIntoEmbed(norm))
        formNorm(norm);
  for (auto softmax : llvm::make_early_inc_range(function.getOps<lm::SoftmaxOp>())) {
    Value input = softmax.getInput();
    int64_t rank = getDims(input).size(), axis = softmax.getAxis();
    if (!target.hasRows(getElementTypeOrSelf(input)))
      continue;
    OpBuilder builder(softmax);
    Location loc = softmax.getLoc();
    SmallVector<int64_t> perm(llvm::to_vector(llvm::seq<int64_t>(rank)));
    std::swap(perm[axis], perm[rank - 1]); // its own inverse
    if (axis != rank - 1)
      input = lm::TransposeOp::create(builder, loc, input, perm);
    Value result = kernel::SoftmaxOp::create(builder, loc, input.getType(), input, softmax.getLog());
    if (axis != rank - 1)
      result = lm::TransposeOp::create(builder, loc, result, perm);
    softmax.getResult().replaceAllUsesWith(result);
    softmax.erase();
  }
  eraseDead(function);
}
