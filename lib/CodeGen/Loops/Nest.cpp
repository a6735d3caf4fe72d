// Planning by trial runs, and writing the loops that were planned.
#include "Nest.h"

#include "DryBuilder.h"
#include "Sequential.h"

using namespace llmopt;
using namespace llmopt::loops;

/// Operations in a tile, about: 20 us of work, far above the cost of a claim.
static constexpr int64_t kTileCost = 65536;
/// Elements of a tile without rows come in multiples of this.
static constexpr int64_t kTileElements = 64;

/// The index of each dimension of a result as a sum of parts.
static SmallVector<Index> indicesOf(const Nest &nest, mlir::Value result) {
  SmallVector<SymExpr> dims = lm::getDims(result);
  SmallVector<Index> indices(dims.size());
  for (size_t i = nest.parts.size(); i-- > 0;) {
    const Nest::Part &part = nest.parts[i];
    if (dims[part.dim].isConstant(1))
      continue;
    SymExpr stride = 1;
    for (size_t j = i + 1; j < nest.parts.size() && nest.parts[j].dim == part.dim; ++j)
      stride *= nest.parts[j].extent;
    indices[part.dim] = indices[part.dim] + Index::var(i, stride);
  }
  return indices;
}

static void emitResult(Emitter &emitter, const Nest &nest, const Result &result) {
  SmallVector<Index> indices = indicesOf(nest, result.value);
  emitter.store(result.arg, result.value.getType(), indices, emitter.emit(result.value, indices));
}

/// One trial with a loop for every part.
static void tryOut(mlir::Block &block, const Nest &nest, DryBuilder &builder, Findings &findings) {
  Emitter emitter(builder, block, &findings);
  for (size_t i = 0; i < nest.parts.size(); ++i)
    emitter.addVar(S(), nest.parts[i].extent, false, {(int)i});
  std::function<void(size_t)> open = [&](size_t depth) {
    if (depth == nest.order.size()) {
      builder.openingRoots = false;
      for (const Result &result : nest.perRow)
        emitResult(emitter, nest, result);
      emitResult(emitter, nest, nest.leader);
      for (const Result &result : nest.others)
        emitResult(emitter, nest, result);
      return;
    }
    builder.openingRoots = true;
    int part = nest.order[depth];
    builder.loop(LoopKind::Serial, builder.index(0), builder.size(nest.parts[part].extent), {},
                 [&](S variable, ArrayRef<S>) {
                   emitter.var(part).value = variable;
                   open(depth + 1);
                   return SmallVector<S>();
                 });
  };
  open(0);
}

static void naturalOrder(Nest &nest) {
  nest.order.clear();
  for (size_t i = 0; i < nest.parts.size(); ++i)
    nest.order.push_back(i);
}

static void split(Nest &nest, const Findings &findings) {
  // Inner parts first, so that numbers stay valid; one split per part and trial.
  std::set<int> done;
  SmallVector<std::pair<int, SymExpr>> wanted;
  for (auto [var, size] : llvm::zip(findings.splitVars, findings.splitSizes))
    if (done.insert(var).second)
      wanted.push_back({var, size});
  llvm::sort(wanted, [](const auto &x, const auto &y) { return x.first > y.first; });
  for (const auto &[var, size] : wanted) {
    Nest::Part &part = nest.parts[var];
    Nest::Part inner{part.dim, size};
    part.extent = *SymExpr::divideExactly(part.extent, size);
    nest.parts.insert(nest.parts.begin() + var + 1, inner);
  }
  naturalOrder(nest);
}

/// Whether parts order[first..] have the coefficients of one row-major number.
static bool isJoint(const Nest &nest, const Findings &findings, size_t first) {
  for (const Findings::Use &use : findings.uses)
    for (size_t i = nest.order.size() - 1; i > first; --i)
      if (use.index.coefficientOf(nest.order[i - 1]) !=
          use.index.coefficientOf(nest.order[i]) * nest.parts[nest.order[i]].extent)
        return false;
  return true;
}

static SymExpr positive(const SymExpr &value) {
  return isAtLeast(value, 1) ? value : SymExpr::max(value, SymExpr(1));
}

static bool isSequential(const Result &result) {
  mlir::Operation *op = result.value.getDefiningOp();
  return op && op->hasTrait<lm::Sequential>();
}

static Nest planNest(mlir::Block &block, Nest nest) {
  if (isSequential(nest.leader)) {
    nest.tiles = getSequentialTiles(nest.leader.value.getDefiningOp());
    return nest;
  }
  SmallVector<SymExpr> dims = lm::getDims(nest.leader.value);
  for (auto [i, dim] : llvm::enumerate(dims))
    if (!dim.isConstant(1))
      nest.parts.push_back({i, dim});
  naturalOrder(nest);
  for (int trial = 0; trial < 8; ++trial) {
    DryBuilder builder;
    Findings findings;
    tryOut(block, nest, builder, findings);
    if (findings.splitVars.empty())
      break;
    split(nest, findings);
  }
  auto measure = [&] {
    auto builder = std::make_unique<DryBuilder>();
    Findings findings;
    tryOut(block, nest, *builder, findings);
    return std::make_pair(std::move(builder), std::move(findings));
  };
  auto [builder, findings] = measure();
  // What a reduction does not depend on goes inside, or it would be repeated.
  SmallVector<int64_t> independent(nest.parts.size());
  for (const std::set<int> &reduction : findings.reductions)
    for (size_t i = 0; i < nest.parts.size(); ++i)
      independent[i] += !reduction.count(i);
  llvm::stable_sort(nest.order, [&](int x, int y) { return independent[x] < independent[y]; });
  if (!llvm::is_sorted(nest.order))
    std::tie(builder, findings) = measure();

  size_t count = nest.order.size();
  nest.outer = count ? count - 1 : 0;
  while (nest.outer > 0 && isJoint(nest, findings, nest.outer - 1))
    --nest.outer;
  if (count)
    for (const Findings::Use &use : findings.uses) {
      SymExpr stride = use.index.coefficientOf(nest.order.back());
      // Rather one sum by lanes than many sums with gathered elements.
      if (use.inReduction && !stride.isConstant(0) && !stride.isConstant(1))
        nest.parallel = false;
    }
  for (size_t i = 0; i < count; ++i)
    (i < nest.outer ? nest.rows : nest.elements) *= nest.parts[nest.order[i]].extent;

  SymExpr cost = 1, repeats = 1;
  for (size_t i = 0; i <= count; ++i) {
    if (i > nest.outer && nest.outer > 0)
      repeats *= nest.parts[nest.order[i - 1]].extent;
    cost += builder->costAt(i) * repeats;
  }
  bool byElements = nest.outer == 0;
  int64_t unit = byElements && nest.parallel ? kTileElements : 1;
  nest.rowsPerTile = positive(SymExpr::floorDiv(kTileCost, positive(cost * SymExpr(unit)))) * SymExpr(unit);
  nest.tiles = SymExpr::ceilDiv(byElements ? nest.elements : nest.rows, nest.rowsPerTile);
  return nest;
}

/// Whether `small` has the dimensions of `large` with 1 from some one on.
static bool isPerRow(ArrayRef<SymExpr> small, ArrayRef<SymExpr> large) {
  if (small.size() != large.size())
    return false;
  size_t i = 0;
  while (i < large.size() && small[i] == large[i])
    ++i;
  if (i == large.size())
    return false;
  return llvm::all_of(small.drop_front(i), [](const SymExpr &dim) { return dim.isConstant(1); });
}

/// A nest can write one element per row only where its rows are those elements.
static bool rowsFit(const Nest &nest) {
  if (!nest.perRow.empty() && nest.outer == 0)
    return false;
  for (const Result &result : nest.perRow) {
    SmallVector<SymExpr> dims = lm::getDims(result.value);
    for (auto [i, part] : llvm::enumerate(nest.order))
      if (dims[nest.parts[part].dim].isConstant(1) != (i >= nest.outer))
        return false;
  }
  return true;
}

std::vector<Nest> llmopt::loops::planNests(mlir::Block &block, ArrayRef<Result> results) {
  std::vector<Nest> nests;
  SmallVector<Result> sorted(results);
  // Larger results first: they lead.
  auto ones = [](const Result &r) {
    return llvm::count_if(lm::getDims(r.value), [](const SymExpr &dim) { return dim.isConstant(1); });
  };
  llvm::stable_sort(sorted, [&](const Result &x, const Result &y) { return ones(x) < ones(y); });
  for (const Result &result : sorted) {
    if (isSequential(result)) {
      Nest nest;
      nest.leader = result;
      nests.push_back(std::move(nest));
      continue;
    }
    SmallVector<SymExpr> dims = lm::getDims(result.value);
    auto same = llvm::find_if(nests, [&](const Nest &nest) {
      return !isSequential(nest.leader) && ArrayRef<SymExpr>(lm::getDims(nest.leader.value)) == ArrayRef<SymExpr>(dims);
    });
    auto row = llvm::find_if(nests, [&](const Nest &nest) {
      return !isSequential(nest.leader) && isPerRow(dims, lm::getDims(nest.leader.value));
    });
    if (same != nests.end()) {
      same->others.push_back(result);
    } else if (row != nests.end()) {
      row->perRow.push_back(result);
    } else {
      Nest nest;
      nest.leader = result;
      nests.push_back(std::move(nest));
    }
  }
  std::vector<Nest> planned;
  for (size_t i = 0; i < nests.size(); ++i) {
    Nest nest = planNest(block, nests[i]);
    if (!rowsFit(nest)) {
      for (const Result &result : nest.perRow) {
        Nest own;
        own.leader = result;
        nests.push_back(std::move(own));
      }
      nests[i].perRow.clear();
      nest = planNest(block, nests[i]);
    }
    planned.push_back(std::move(nest));
  }
  return planned;
}

void llmopt::loops::emitNest(ScalarBuilder &b, mlir::Block &block, const Nest &nest, S tile) {
  Emitter emitter(b, block);
  if (isSequential(nest.leader))
    return SequentialEmitter(emitter, nest.leader.arg).emit(nest.leader.value.getDefiningOp(), tile);
  for (const Nest::Part &part : nest.parts)
    emitter.addVar(S(), part.extent);
  bool byElements = nest.outer == 0;
  ArrayRef<int> order(nest.order);
  SymExpr total = byElements ? nest.elements : nest.rows;
  S lo = b.index(0), hi = b.size(total);
  if (!nest.tiles.isConstant(1)) {
    lo = b.op(Opcode::IMul, {tile, b.size(nest.rowsPerTile)});
    hi = b.op(Opcode::Min, {b.op(Opcode::IAdd, {lo, b.size(nest.rowsPerTile)}), hi});
  }
  auto elements = [&](int variable) {
    emitter.addGroup(variable, order.drop_front(nest.outer));
    emitResult(emitter, nest, nest.leader);
    for (const Result &result : nest.others)
      emitResult(emitter, nest, result);
  };
  if (byElements)
    return emitter.forElements(lo, hi, total, nest.parallel, elements);
  b.loop(LoopKind::Serial, lo, hi, {}, [&](S variable, ArrayRef<S>) {
    emitter.addGroup(emitter.addVar(variable, total), order.take_front(nest.outer));
    for (const Result &result : nest.perRow)
      emitResult(emitter, nest, result);
    emitter.forElements(b.index(0), b.size(nest.elements), nest.elements, nest.parallel, elements);
    return SmallVector<S>();
  }, "row");
}
