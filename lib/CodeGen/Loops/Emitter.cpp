// The entry of the traversal, its cache, and what all families share.
#include "Emitter.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

Elem llmopt::loops::elemOfTensor(Value value) { return *elemOf(getElementTypeOrSelf(value)); }

Emitter::Emitter(ScalarBuilder &builder, Block &block, Findings *findings)
    : b(builder), block(block), findings(findings) {}

// ---- cache

Emitter::Cached *Emitter::lookUp(const std::string &key) {
  auto it = cache.find(key);
  if (it == cache.end() || !b.isOpen(it->second.level, it->second.serial))
    return nullptr;
  return &it->second;
}

void Emitter::remember(const std::string &key, Cached cached) {
  cached.serial = b.serialOf(cached.level);
  cache.insert_or_assign(key, std::move(cached));
}

static std::string keyOf(const void *what, ArrayRef<Index> indices) {
  std::string key = std::to_string(reinterpret_cast<uintptr_t>(what));
  for (const Index &index : indices)
    key += "," + index.key();
  return key;
}

Emitter::Cached &Emitter::rowState(const std::string &key, int32_t level, llvm::function_ref<Cached()> make) {
  if (Cached *cached = lookUp(key))
    return *cached;
  Cached made;
  b.atLevel(level, [&] { made = make(); });
  made.level = level;
  remember(key, std::move(made));
  return *lookUp(key);
}

// ---- elements

/// Results are elements of operands, rounded already.
static bool movesElements(Operation *op) {
  return isa<lm::ConstantOp, lm::ReshapeOp, lm::BroadcastOp, lm::TransposeOp, lm::ConcatOp, lm::SliceOp, lm::PadOp,
             lm::GatherOp, lm::GatherElementsOp, lm::GatherNDOp, lm::TriluOp, lm::WhereOp, lm::MinOp, lm::MaxOp,
             lm::ClipOp, lm::NegOp, lm::AbsOp, lm::ReluOp, lm::CastOp>(op);
}

S Emitter::emit(Value value, ArrayRef<Index> indices) {
  std::string key = keyOf(value.getAsOpaquePointer(), indices);
  if (Cached *cached = lookUp(key))
    return cached->values.front();
  S result;
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    Buffer buffer;
    buffer.index = argument.getArgNumber();
    buffer.elem = elemOfTensor(value);
    Address address = addressOf(linearize(indices, lm::getDims(value)));
    Elem elem = buffer.elem;
    if (isSmallFloat(elem))
      buffer.elem = Elem::U8;
    result = b.load(buffer, address.access, address.offset);
    if (isSmallFloat(elem))
      result = decode(result, elem);
  } else {
    result = emitOp(value.getDefiningOp(), indices);
    // One rounding per operation, as if its result had been stored.
    Elem elem = elemOfTensor(value);
    if ((elem == Elem::F16 || elem == Elem::BF16) && !movesElements(value.getDefiningOp()))
      result = b.op(elem == Elem::F16 ? Opcode::RoundF16 : Opcode::RoundBF16, {result});
  }
  remember(key, {{result}, std::nullopt, result.level, 0});
  return result;
}

S Emitter::emitOp(Operation *op, ArrayRef<Index> indices) {
  if (std::optional<S> s = emitElementwise(op, indices))
    return *s;
  if (std::optional<S> s = emitBits(op, indices))
    return *s;
  if (std::optional<S> s = emitShape(op, indices))
    return *s;
  if (std::optional<S> s = emitGathers(op, indices))
    return *s;
  if (std::optional<S> s = emitReductions(op, indices))
    return *s;
  if (std::optional<S> s = emitMatmuls(op, indices))
    return *s;
  if (std::optional<S> s = emitQuantization(op, indices))
    return *s;
  if (std::optional<S> s = emitTransformer(op, indices))
    return *s;
  llvm_unreachable("checked by isSupported");
}

SmallVector<Index> Emitter::broadcastIndices(Value operand, ArrayRef<Index> indices, ArrayRef<SymExpr> dims) {
  SmallVector<SymExpr> own = lm::getDims(operand);
  SmallVector<Index> result;
  size_t offset = dims.size() - own.size();
  for (auto [i, dim] : llvm::enumerate(own)) {
    const Index &index = indices[offset + i];
    std::optional<int64_t> constant = dim.getConstant();
    if (constant == 1)
      result.push_back(Index(0));
    else if (constant || dim == dims[offset + i] || isAtLeast(dim, 2))
      result.push_back(index);
    else // 1 or the result's size, once it is known
      result.push_back(index * SymExpr::min(dim - SymExpr(1), 1));
  }
  return result;
}

S Emitter::emitBroadcast(Value operand, ArrayRef<Index> indices, ArrayRef<SymExpr> dims) {
  return emit(operand, broadcastIndices(operand, indices, dims));
}

void Emitter::store(int64_t arg, Type type, ArrayRef<Index> indices, S value) {
  Buffer buffer;
  buffer.index = arg;
  buffer.elem = *elemOf(getElementTypeOrSelf(type));
  if (isSmallFloat(buffer.elem)) {
    value = encode(value, buffer.elem);
    buffer.elem = Elem::U8;
  }
  Index at = linearize(indices, lm::getDims(type));
  auto write = [&] { storeAt(buffer, at, value); };
  if (b.hasThreads() && !b.inLanes()) // every thread has the value; one writes it
    b.onFirstThread(write);
  else
    write();
}

void Emitter::storeAt(const Buffer &buffer, const Index &index, S value) {
  Address address = addressOf(index);
  b.store(buffer, address.access, address.offset, value);
}

S Emitter::loadAt(const Buffer &buffer, const Index &index) {
  Address address = addressOf(index);
  return b.load(buffer, address.access, address.offset);
}

/// `then` is evaluated only where `condition` holds, so it may read memory
/// that exists only there. To be called where the result is to be.
S Emitter::guard(S condition, Elem elem, llvm::function_ref<S()> then, llvm::function_ref<S()> otherwise) {
  if (!condition.vec)
    return b.branch(condition, {elem}, b.inLanes() && b.lanes() > 1, [&] { return SmallVector<S>{then()}; },
                    [&] { return SmallVector<S>{otherwise()}; })[0];
  S first, second;
  b.masked(condition, [&] { first = b.splat(then()); });
  b.masked(b.op(Opcode::Not, {condition}), [&] { second = b.splat(otherwise()); });
  // Both are defined everywhere; outside of their masks they are of no use.
  first.level = second.level = b.currentLevel();
  return b.op(Opcode::Select, {condition, first, second});
}

// ---- rows

int64_t Emitter::costOf(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return 1;
  auto it = costs.find(value);
  if (it != costs.end())
    return it->second;
  int64_t cost = 1;
  if (isa<lm::ExpOp, lm::LogOp, lm::SinOp, lm::CosOp, lm::ErfOp, lm::TanhOp, lm::SigmoidOp, lm::SoftplusOp, lm::EluOp,
          lm::PowOp, lm::GeluOp, lm::ModOp, lm::AcosOp, lm::AsinOp, lm::AtanOp, lm::AcoshOp, lm::AsinhOp, lm::AtanhOp,
          lm::RandomBitsOp, lm::DropoutOp>(op))
    cost = 16;
  if (isa<lm::ReduceOp, lm::ArgReduceOp, lm::MatMulOp, lm::LinearOp, lm::ConvOp, lm::AttentionOp, lm::AbsMaxScaleOp>(op))
    cost = 1000;
  for (Value operand : op->getOperands())
    cost = std::min<int64_t>(cost + costOf(operand), 1 << 20);
  return costs[value] = cost;
}

std::optional<Buffer> Emitter::stage(const SymExpr &extent, Elem elem, const Row &row, bool parallel) {
  if (b.inLanes())
    return std::nullopt;
  Buffer buffer = b.scratch(elem, extent);
  buffer.level = b.currentLevel();
  b.barrierSync();
  forElements(b.index(0), b.size(extent), extent, parallel, [&](int variable) {
    Index at = Index::var(variable);
    S value = row(at);
    Address address = addressOf(at);
    b.store(buffer, address.access, address.offset, value);
  });
  b.barrierSync();
  return buffer;
}

S Emitter::loadRow(const Buffer &row, const Index &index) { return loadAt(row, index); }

Emitter::Row Emitter::rowOf(Value value, ArrayRef<Index> indices, int64_t axis, bool mayStage) {
  SmallVector<Index> fixed(indices);
  Row direct = [this, value, fixed, axis](const Index &index) {
    SmallVector<Index> at = fixed;
    at[axis] = index;
    return emit(value, at);
  };
  if (!mayStage || costOf(value) <= 8)
    return direct;
  std::optional<Buffer> buffer = stage(lm::getDims(value)[axis], computeElem(elemOfTensor(value)), direct);
  if (!buffer)
    return direct;
  return [this, buffer](const Index &index) { return loadRow(*buffer, index); };
}

S Emitter::floatSize(Elem elem, const SymExpr &size) {
  if (std::optional<int64_t> constant = size.getConstant())
    return real(elem, static_cast<double>(*constant));
  return b.op(Opcode::Cast, {b.size(size)}, elem);
}

S Emitter::sumOf(const SymExpr &extent, Elem elem, const Row &row) {
  return reduce({extent}, {b.constant(elem, int64_t(0))},
                [&](ArrayRef<Index> at, ArrayRef<S> sum) {
                  return SmallVector<S>{b.op(Opcode::Add, {sum[0], row(at[0])})};
                },
                [&](ArrayRef<S> x, ArrayRef<S> y) { return SmallVector<S>{b.op(Opcode::Add, {x[0], y[0]})}; })[0];
}

S Emitter::maxOf(const SymExpr &extent, Elem elem, const Row &row) {
  return reduce({extent}, {real(elem, -std::numeric_limits<double>::infinity())},
                [&](ArrayRef<Index> at, ArrayRef<S> best) {
                  return SmallVector<S>{b.op(Opcode::Max, {best[0], row(at[0])})};
                },
                [&](ArrayRef<S> x, ArrayRef<S> y) { return SmallVector<S>{b.op(Opcode::Max, {x[0], y[0]})}; })[0];
}
