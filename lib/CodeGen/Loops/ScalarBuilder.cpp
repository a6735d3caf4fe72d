// Where values are placed, and which of them are vectors: the part of code
// generation that both back ends share.
#include "ScalarBuilder.h"

#include "mlir/IR/BuiltinTypes.h"

using namespace llmopt::loops;

std::optional<Elem> llmopt::loops::elemOf(mlir::Type type) {
  if (type.isF32())
    return Elem::F32;
  if (type.isF64())
    return Elem::F64;
  if (type.isF16())
    return Elem::F16;
  if (type.isBF16())
    return Elem::BF16;
  if (mlir::isa<mlir::Float8E4M3FNType>(type))
    return Elem::F8E4M3FN;
  if (mlir::isa<mlir::Float8E4M3FNUZType>(type))
    return Elem::F8E4M3FNUZ;
  if (mlir::isa<mlir::Float8E5M2Type>(type))
    return Elem::F8E5M2;
  if (mlir::isa<mlir::Float8E5M2FNUZType>(type))
    return Elem::F8E5M2FNUZ;
  if (mlir::isa<mlir::Float8E8M0FNUType>(type))
    return Elem::F8E8M0;
  if (mlir::isa<mlir::Float4E2M1FNType>(type))
    return Elem::F4E2M1;
  auto integer = mlir::dyn_cast<mlir::IntegerType>(type);
  if (!integer)
    return std::nullopt;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return Elem::Bool;
  case 2:
  case 4:
  case 8:
    return isUnsigned ? Elem::U8 : Elem::I8;
  case 16:
    return isUnsigned ? Elem::U16 : Elem::I16;
  case 32:
    return isUnsigned ? Elem::U32 : Elem::I32;
  case 64:
    return isUnsigned ? Elem::U64 : Elem::I64;
  default:
    return std::nullopt;
  }
}

unsigned llmopt::loops::bitWidth(Elem e) {
  switch (e) {
  case Elem::Bool:
    return 1;
  case Elem::I8:
  case Elem::U8:
  case Elem::F8E4M3FN:
  case Elem::F8E4M3FNUZ:
  case Elem::F8E5M2:
  case Elem::F8E5M2FNUZ:
  case Elem::F8E8M0:
  case Elem::F4E2M1:
    return 8;
  case Elem::I16:
  case Elem::U16:
  case Elem::F16:
  case Elem::BF16:
    return 16;
  case Elem::I32:
  case Elem::U32:
  case Elem::F32:
    return 32;
  default:
    return 64;
  }
}

int64_t llmopt::loops::elemBytes(Elem e) { return e == Elem::Bool ? 1 : bitWidth(e) / 8; }

ScalarBuilder::~ScalarBuilder() = default;

int32_t ScalarBuilder::barrier(bool vectors) const {
  for (int32_t i = levels.size() - 1; i > 0; --i)
    if (levels[i].kind == Level::Branch || (vectors && levels[i].kind == Level::Mask))
      return i;
  return 0;
}

void ScalarBuilder::pushLevel(Level::Kind kind) {
  Level level = levels.back(); // mask and lanes are inherited
  level.kind = kind;
  level.serial = nextSerial++;
  levels.push_back(level);
}

void ScalarBuilder::atLevel(int32_t level, llvm::function_ref<void()> body) {
  if (level >= currentLevel())
    return body();
  SmallVector<Level> deeper(levels.begin() + level + 1, levels.end());
  levels.truncate(level + 1);
  suspend(level);
  body();
  resume();
  levels.append(deeper.begin(), deeper.end());
}

SmallVector<S> ScalarBuilder::unify(ArrayRef<S> operands) {
  SmallVector<S> result(operands);
  if (llvm::any_of(operands, [](S s) { return s.vec; }))
    for (S &s : result)
      s = splat(s);
  return result;
}

static int32_t deepestOf(ArrayRef<S> operands) {
  int32_t level = 0;
  for (S s : operands)
    level = std::max(level, s.level);
  return level;
}

static bool isComparison(Opcode op) { return op >= Opcode::Eq && op <= Opcode::Ge; }

S ScalarBuilder::op(Opcode op, ArrayRef<S> operands, std::optional<Elem> elem) {
  // Index arithmetic on constants happens now.
  if (op == Opcode::IAdd || op == Opcode::IMul || op == Opcode::IDiv || op == Opcode::IRem) {
    std::optional<int64_t> a = getIndexConstant(operands[0]), b = getIndexConstant(operands[1]);
    if (a && b && (*b != 0 || op == Opcode::IAdd || op == Opcode::IMul))
      return index(op == Opcode::IAdd   ? *a + *b
                   : op == Opcode::IMul ? *a * *b
                   : op == Opcode::IDiv ? *a / *b
                                    : *a % *b);
    if (op == Opcode::IAdd && a == 0)
      return operands[1];
    if (op == Opcode::IAdd && b == 0)
      return operands[0];
    if (op == Opcode::IMul && a == 1)
      return operands[1];
    if ((op == Opcode::IMul || op == Opcode::IDiv) && b == 1)
      return operands[0];
    if ((op == Opcode::IMul && (a == 0 || b == 0)) || (op == Opcode::IRem && b == 1))
      return index(0);
  }
  SmallVector<S> in = unify(operands);
  S result;
  if (elem)
    result.elem = *elem;
  else if (isComparison(op))
    result.elem = Elem::Bool;
  else
    result.elem = in[op == Opcode::Select ? 1 : 0].elem;
  if ((op == Opcode::Cast || op == Opcode::Truncate) && result.elem == in[0].elem)
    return in[0];
  result.vec = in[0].vec;
  result.level = deepestOf(in);
  result.id = createOp(op, in, result);
  return result;
}

S ScalarBuilder::constant(Elem elem, double value) {
  S result;
  result.elem = elem;
  result.id = createConstant(result, value, 0);
  return result;
}

S ScalarBuilder::constant(Elem elem, int64_t value) {
  S result;
  result.elem = elem;
  if (isFloat(elem))
    return constant(elem, static_cast<double>(value));
  result.id = createConstant(result, 0, value);
  if (elem == Elem::I64)
    indexConstants.push_back({result.id, value});
  return result;
}

std::optional<int64_t> ScalarBuilder::getIndexConstant(S value) const {
  for (auto [id, constant] : llvm::reverse(indexConstants))
    if (id == value.id)
      return constant;
  return std::nullopt;
}

S ScalarBuilder::size(const SymExpr &expr) {
  if (std::optional<int64_t> constant = expr.getConstant())
    return index(*constant);
  size_t i = 0;
  while (i < dims.size() && dims[i] != expr)
    ++i;
  if (i == dims.size())
    dims.push_back(expr);
  S result;
  result.id = createDim(i, expr);
  return result;
}

S ScalarBuilder::splat(S value) {
  if (value.vec)
    return value;
  S result = value;
  result.vec = true;
  result.id = createSplat(value, result);
  return result;
}

S ScalarBuilder::laneIds() {
  S result;
  result.vec = true;
  result.id = createLaneIds(result);
  return result;
}

S ScalarBuilder::tile() {
  S result;
  result.id = createTile();
  return result;
}

S ScalarBuilder::load(const Buffer &buffer, Access access, S offset) {
  S result;
  result.elem = computeElem(buffer.elem);
  result.vec = access != Access::Uniform;
  result.level = std::max({offset.level, buffer.level, barrier(result.vec)});
  S mask = result.vec ? levels[result.level].mask : S();
  if (mask)
    mask = splat(mask);
  result.id = createLoad(buffer, access, offset, mask, result);
  return result;
}

void ScalarBuilder::store(const Buffer &buffer, Access access, S offset, S value) {
  if (access != Access::Uniform)
    value = splat(value);
  createStore(buffer, access, offset, value, {}, currentLevel());
}

Buffer ScalarBuilder::table(Elem elem, ArrayRef<double> floats, ArrayRef<int64_t> ints) {
  Buffer buffer;
  buffer.kind = Buffer::Table;
  buffer.elem = elem;
  buffer.index = createTable(elem, floats, ints);
  return buffer;
}

Buffer ScalarBuilder::scratch(Elem elem, const SymExpr &elements) {
  Buffer buffer;
  buffer.kind = Buffer::Scratch;
  buffer.elem = elem;
  buffer.offset = scratchBytes;
  SymExpr bytes = elements * SymExpr(elemBytes(elem));
  std::optional<int64_t> constant = bytes.getConstant();
  scratchBytes += constant && *constant % 64 == 0 ? bytes : SymExpr::ceilDiv(bytes, 64) * SymExpr(64);
  return buffer;
}

SmallVector<S> ScalarBuilder::loop(LoopKind kind, S lo, S hi, ArrayRef<S> initial,
                                   llvm::function_ref<SmallVector<S>(S, ArrayRef<S>)> body, llvm::StringRef name) {
  bool lanesLoop = kind == LoopKind::Lanes;
  SmallVector<S> start(initial);
  // What a loop inside of lanes accumulates may differ between them.
  if (lanesLoop || (inLanes() && lanes() > 1))
    for (S &s : start)
      s = splat(s);
  S variable;
  variable.level = currentLevel() + 1;
  SmallVector<S> carried(start);
  for (S &s : carried)
    s.level = variable.level;
  openLoop(kind, lo, hi, start, variable, carried, name);
  pushLevel(Level::Loop);
  levels.back().lanes |= kind != LoopKind::Serial;
  SmallVector<S> yielded = body(variable, carried);
  for (size_t i = 0; i < yielded.size(); ++i)
    if (start[i].vec)
      yielded[i] = splat(yielded[i]);
  popLevel();
  SmallVector<S> results(start);
  for (S &s : results)
    s.level = currentLevel();
  closeLoop(yielded, results);
  return results;
}

SmallVector<S> ScalarBuilder::branch(S condition, ArrayRef<Elem> types, bool vectors,
                                     llvm::function_ref<SmallVector<S>()> then,
                                     llvm::function_ref<SmallVector<S>()> otherwise) {
  SmallVector<S> results;
  for (Elem elem : types) {
    S s;
    s.elem = elem;
    s.vec = vectors;
    s.level = currentLevel();
    results.push_back(s);
  }
  auto run = [&](llvm::function_ref<SmallVector<S>()> body) {
    pushLevel(Level::Branch);
    SmallVector<S> yielded;
    if (body)
      yielded = body();
    if (vectors)
      for (S &s : yielded)
        s = splat(s);
    popLevel();
    return yielded;
  };
  openBranch(condition, results);
  SmallVector<S> first = run(then);
  openElse(first);
  SmallVector<S> second = run(otherwise);
  closeBranch(second, results);
  return results;
}

void ScalarBuilder::masked(S condition, llvm::function_ref<void()> body) {
  S outer = levels.back().mask;
  S mask = outer ? op(Opcode::And, {condition, outer}) : condition;
  openMask();
  pushLevel(Level::Mask);
  levels.back().mask = mask;
  body();
  popLevel();
  closeMask();
}

S ScalarBuilder::swapLanes(S vector, int64_t distance) {
  S result = vector;
  result.id = createLaneMove(vector, distance, false, result);
  return result;
}

S ScalarBuilder::extractLane(S vector, int64_t lane) {
  S result = vector;
  result.vec = false;
  result.id = createLaneMove(vector, lane, true, result);
  return result;
}
