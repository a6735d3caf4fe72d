// Everything without a kernel of its own: greedy clusters of producers and
// consumers as loop nests, and reshapes as views.
//
// A cluster grows from one result (its root) towards its producers, nearest
// first. A producer joins when nothing outside of the cluster needs it and it
// would not be computed again and again: an operand that a consumer reads more
// often than it has elements (a broadcast, the table of a gather), or that is read
// at two different indices, joins only where it is cheap.
#include "Partition.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

/// Operations of one cluster, and of those that are computed repeatedly.
static constexpr size_t kMaxMembers = 96, kMaxRepeated = 8;
/// Constants of up to so many elements are part of the code.
static constexpr int64_t kMaxInlineElements = 64;

/// More than a few instructions for an element.
static bool isExpensive(Operation *op) {
  return isa<lm::ExpOp, lm::LogOp, lm::SqrtOp, lm::ReciprocalOp, lm::SinOp, lm::CosOp, lm::ErfOp, lm::TanhOp,
             lm::SigmoidOp, lm::SoftplusOp, lm::EluOp, lm::DivOp, lm::PowOp, lm::ModOp, lm::GeluOp, lm::QuantizeOp,
             lm::FakeQuantizeOp, lm::AcosOp, lm::AsinOp, lm::AtanOp, lm::AcoshOp, lm::AsinhOp, lm::AtanhOp>(op);
}

static bool isIndexing(Operation *op) {
  return isa<lm::ReshapeOp, lm::BroadcastOp, lm::TransposeOp, lm::ConcatOp, lm::SliceOp, lm::PadOp, lm::GatherOp,
             lm::GatherElementsOp, lm::GatherNDOp, lm::IotaOp, lm::TriluOp, lm::WindowsOp>(op);
}

/// Reads many elements for one, or computes the neighbours over again.
static bool isHeavy(Operation *op) { return !isElementwise(op) && !isIndexing(op); }

static bool hasEqualCount(Value a, Value b) { return lm::getNumElements(a.getType()) == lm::getNumElements(b.getType()); }

/// Whether `user` reads elements of the operand more often than once.
static bool readsRepeatedly(OpOperand &use) {
  Operation *user = use.getOwner();
  if (isa<lm::ReshapeOp, lm::TransposeOp, lm::ConcatOp, lm::SliceOp, lm::TriluOp, lm::ReduceOp, lm::ArgReduceOp>(user))
    return false;
  if (isa<lm::PadOp>(user))
    return use.getOperandNumber() != 0;
  if (isa<lm::GatherOp, lm::GatherElementsOp, lm::GatherNDOp>(user) && use.getOperandNumber() == 0)
    return true;
  if (isElementwise(user) || isIndexing(user))
    return !hasEqualCount(use.get(), user->getResult(0));
  return true;
}

/// Has no operand but constants: rather computed twice than stored.
static bool isDuplicable(Operation *op) {
  if (isa<lm::IotaOp>(op))
    return true;
  return isa<lm::BroadcastOp, lm::ReshapeOp, lm::CastOp>(op) && isConstant(op->getOperand(0)) &&
         !isRecipe(op->getOperand(0));
}

static bool isSymbolic(lm::ConstantOp constant) { return isa<lm::SymValuesAttr>(constant.getValue()); }

/// Constants that become code; others are buffers.
static bool isInline(Value value) {
  auto constant = value.getDefiningOp<lm::ConstantOp>();
  if (!constant || isRecipe(value))
    return false;
  auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
  return isSymbolic(constant) || (dense && (dense.isSplat() || dense.getNumElements() <= kMaxInlineElements));
}

namespace {

class Cluster {
public:
  explicit Cluster(Operation *root) : root(root) { add(root, 0, false); }

  void grow();
  Operation *create();

private:
  struct Member {
    int64_t space;  // members of one space are read at one and the same index
    bool repeated;  // computed more than once for an element
  };
  void add(Operation *op, int64_t space, bool repeated);
  bool tryJoin(Operation *op);
  bool shouldStayView(Operation *op);

  Operation *root;
  DenseMap<Operation *, Member> members;
  SmallVector<Operation *> order; // root first, then towards producers
  SmallVector<Operation *> candidates;
  DenseSet<Operation *> seen;
  int64_t numSpaces = 1;
  size_t numRepeated = 0;
};

} // namespace

static bool isLoose(Operation *op) {
  return op && isa<lm::LMDialect>(op->getDialect()) && !isa<lm::ConstantOp, lm::WeightOp>(op) &&
         op->getNumResults() == 1 && !isRecipe(op->getResult(0));
}

void Cluster::add(Operation *op, int64_t space, bool repeated) {
  members[op] = {space, repeated};
  order.push_back(op);
  numRepeated += repeated;
  for (Value operand : op->getOperands())
    if (Operation *producer = operand.getDefiningOp(); isLoose(producer) && seen.insert(producer).second)
      candidates.push_back(producer);
}

/// Reading a stored value through a view costs nothing, computing its index does.
bool Cluster::shouldStayView(Operation *op) {
  Value source;
  if (auto reshape = dyn_cast<lm::ReshapeOp>(op))
    source = reshape.getInput();
  SymExpr offset;
  if (auto slice = dyn_cast<lm::SliceOp>(op); slice && isContiguousSlice(slice, offset))
    source = slice.getInput();
  if (!source || isInline(source))
    return false;
  Operation *producer = source.getDefiningOp();
  return !isLoose(producer) || (!producer->hasOneUse() && !isDuplicable(producer));
}

bool Cluster::tryJoin(Operation *op) {
  if (members.size() >= kMaxMembers || shouldStayView(op))
    return false;
  // Those have no value at an index; these have no arithmetic.
  if (op->hasTrait<lm::Sequential>() || isa<lm::BitcastOp>(op))
    return false;
  // Parts of a reduction are reduced side by side, in a kernel of their own.
  if (isa<lm::ReduceOp>(op) && llvm::all_of(op->getUsers(), llvm::IsaPred<lm::ReduceOp>))
    return false;
  bool duplicable = isDuplicable(op);
  bool repeated = false;
  std::optional<int64_t> space;
  for (OpOperand &use : op->getUses()) {
    auto user = members.find(use.getOwner());
    if (user == members.end()) {
      if (duplicable)
        continue;
      return false;
    }
    repeated |= user->second.repeated || readsRepeatedly(use);
    bool sameIndex = isElementwise(use.getOwner()) && haveEqualDims(op->getResult(0).getType(),
                                                                    use.getOwner()->getResult(0).getType());
    int64_t useSpace = sameIndex ? user->second.space : numSpaces++;
    repeated |= space && *space != useSpace;
    space = useSpace;
  }
  if (!duplicable && repeated && (isHeavy(op) || isExpensive(op) || numRepeated >= kMaxRepeated))
    return false;
  add(op, *space, repeated && !duplicable);
  return true;
}

void Cluster::grow() {
  // The last candidate in the block has no users among the others.
  while (!candidates.empty()) {
    auto last = llvm::max_element(candidates, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    Operation *op = *last;
    candidates.erase(last);
    tryJoin(op);
  }
}

Operation *Cluster::create() {
  llvm::sort(order, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  OpBuilder builder(root);
  llvm::SetVector<Value> inputs;
  SmallVector<Location> locs;
  for (Operation *op : order) {
    locs.push_back(op->getLoc());
    for (Value operand : op->getOperands())
      if (!members.contains(operand.getDefiningOp()) && !isInline(operand))
        inputs.insert(operand);
  }
  Location loc = builder.getFusedLoc(locs);
  OperationState state(loc, kernel::LoopsOp::getOperationName());
  state.addOperands(inputs.getArrayRef());
  state.addTypes(root->getResultTypes());
  state.addRegion();
  auto loops = cast<kernel::LoopsOp>(builder.create(state));
  Block &body = loops.getBody().emplaceBlock();
  IRMapping map;
  for (Value input : inputs)
    map.map(input, body.addArgument(input.getType(), loc));
  builder.setInsertionPointToStart(&body);
  for (Operation *op : order) {
    for (Value operand : op->getOperands())
      if (!map.contains(operand) && isInline(operand))
        map.map(operand, builder.clone(*operand.getDefiningOp())->getResult(0));
    builder.clone(*op, map);
  }
  kernel::YieldOp::create(builder, loc, map.lookup(root->getResult(0)));
  root->getResult(0).replaceAllUsesWith(loops->getResult(0));
  for (Operation *op : llvm::reverse(order))
    if (op->use_empty())
      op->erase();
  return loops;
}

/// kernel.view for a reshape, bitcast or contiguous slice whose operand is stored.
static bool formView(Operation *op) {
  SymExpr offset = 0;
  Value source;
  if (auto reshape = dyn_cast<lm::ReshapeOp>(op))
    source = reshape.getInput();
  else if (auto slice = dyn_cast<lm::SliceOp>(op);
           slice && !isLoose(slice.getInput().getDefiningOp()) && isContiguousSlice(slice, offset))
    source = slice.getInput();
  else if (auto bitcast = dyn_cast<lm::BitcastOp>(op))
    source = bitcast.getInput();
  if (!source || (isInline(source) && !isa<lm::BitcastOp>(op)))
    return false;
  OpBuilder builder(op);
  auto view = kernel::ViewOp::create(builder, op->getLoc(), op->getResult(0).getType(), source,
                                     lm::getSymValues(op->getContext(), offset));
  op->getResult(0).replaceAllUsesWith(view.getResult());
  op->erase();
  return true;
}

/// Values that depend on shapes have no bytes until a kernel writes them.
static void storeSymbolicConstants(func::FuncOp function) {
  for (auto constant : llvm::make_early_inc_range(function.getOps<lm::ConstantOp>())) {
    if (!isSymbolic(constant) || constant->use_empty())
      continue;
    OpBuilder builder(constant->getContext());
    builder.setInsertionPointAfter(constant);
    OperationState state(constant.getLoc(), kernel::LoopsOp::getOperationName());
    state.addTypes(constant->getResultTypes());
    state.addRegion();
    auto loops = cast<kernel::LoopsOp>(builder.create(state));
    constant.getResult().replaceAllUsesWith(loops->getResult(0));
    builder.setInsertionPointToStart(&loops.getBody().emplaceBlock());
    Operation *inside = builder.clone(*constant);
    kernel::YieldOp::create(builder, constant.getLoc(), inside->getResult(0));
    constant.erase();
  }
}

LogicalResult plan::formLoops(func::FuncOp function) {
  // New operations are created in front of those they replace, so going backwards
  // meets consumers before producers.
  Block &block = function.getBody().front();
  for (Operation *op = &block.back(); op;) {
    if (!isLoose(op) || op->use_empty()) {
      op = op->getPrevNode();
      continue;
    }
    Operation *next = op->getNextNode();
    if (!formView(op)) {
      Cluster cluster(op);
      cluster.grow();
      cluster.create();
    }
    op = next->getPrevNode(); // what replaced it
  }
  storeSymbolicConstants(function);
  return success();
}
