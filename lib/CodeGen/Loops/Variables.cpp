// From symbolic indices to numbers: addresses, quotients, joint variables.
#include "Emitter.h"

using namespace llmopt::loops;

int Emitter::addVar(S value, const SymExpr &extent, bool lane, std::set<int> roots) {
  Var v;
  v.value = value;
  v.lane = lane;
  v.extent = extent;
  v.roots = std::move(roots);
  vars.push_back(std::move(v));
  return vars.size() - 1;
}

void Emitter::addGroup(int loopVar, ArrayRef<int> members) {
  VarGroup group;
  group.loop = loopVar;
  group.members.append(members.begin(), members.end());
  for (int member : members) {
    vars[member].group = groups.size();
    vars[member].value = vars[loopVar].value;
    vars[member].lane = vars[loopVar].lane;
  }
  groups.push_back(std::move(group));
}

SmallVector<Index> Emitter::splitVar(int loopVar, ArrayRef<SymExpr> dims) {
  SmallVector<Index> indices;
  SmallVector<int> members;
  for (const SymExpr &dim : dims) {
    if (dim.isConstant(1)) {
      indices.push_back(Index(0));
      continue;
    }
    members.push_back(addVar(S(), dim));
    indices.push_back(Index::var(members.back()));
  }
  if (!members.empty())
    addGroup(loopVar, members);
  return indices;
}

int32_t Emitter::levelOf(const Index &index) {
  int32_t level = 0;
  for (const auto &[id, coefficient] : index.terms)
    level = std::max(level, vars[id].value.level);
  return level;
}

bool Emitter::isVector(const Index &index) {
  return llvm::any_of(index.terms, [&](const auto &term) {
    return vars[term.first].lane || vars[term.first].value.vec;
  });
}

std::set<int> Emitter::rootsOf(const Index &index) {
  std::set<int> roots;
  for (const auto &[id, coefficient] : index.terms)
    roots.insert(vars[id].roots.begin(), vars[id].roots.end());
  return roots;
}

int32_t Emitter::placeFor(ArrayRef<Index> indices) {
  int32_t level = 0;
  bool vector = false;
  for (const Index &index : indices) {
    level = std::max(level, levelOf(index));
    vector |= isVector(index);
  }
  return std::max(level, b.barrier(vector));
}

int32_t Emitter::placeForReduction(ArrayRef<Index> indices) {
  if (findings) {
    std::set<int> roots;
    for (const Index &index : indices)
      roots.merge(rootsOf(index));
    findings->reductions.push_back(std::move(roots));
  }
  return placeFor(indices);
}

// ---- numbers

/// Members first..last of a group as one number.
S Emitter::partOfGroup(int groupId, size_t first, size_t last) {
  const VarGroup &group = groups[groupId];
  std::string key = "part " + std::to_string(groupId) + " " + std::to_string(first) + " " + std::to_string(last);
  if (Cached *cached = lookUp(key))
    return cached->values.front();
  SymExpr inner = 1, size = 1;
  for (size_t i = last + 1; i < group.members.size(); ++i)
    inner *= vars[group.members[i]].extent;
  for (size_t i = first; i <= last; ++i)
    size *= vars[group.members[i]].extent;
  const Var &loop = vars[group.loop];
  S value = loop.lane ? b.op(Opcode::IAdd, {loop.value, b.laneIds()}) : loop.value;
  value = b.op(Opcode::IDiv, {value, b.size(inner)});
  if (first > 0)
    value = b.op(Opcode::IRem, {value, b.size(size)});
  remember(key, {{value}, std::nullopt, value.level, 0});
  return value;
}

SmallVector<Emitter::Term> Emitter::termsOf(const Index &index) {
  if (findings)
    findings->uses.push_back({index, reductionDepth > 0});
  SmallVector<Term> terms;
  std::set<int> seen;
  for (const auto &[id, coefficient] : index.terms) {
    const Var &v = vars[id];
    if (v.group < 0) {
      terms.push_back({v.value, coefficient, v.lane});
      continue;
    }
    if (!seen.insert(v.group).second)
      continue;
    const VarGroup &group = groups[v.group];
    int64_t count = group.members.size();
    SmallVector<SymExpr> coefficients, extents;
    for (int member : group.members) {
      coefficients.push_back(index.coefficientOf(member));
      extents.push_back(vars[member].extent);
    }
    // Runs of members whose coefficients are those of one row-major number.
    for (int64_t last = count - 1; last >= 0;) {
      int64_t first = last;
      while (first > 0 && coefficients[first - 1] == coefficients[first] * extents[first])
        --first;
      if (!coefficients[last].isConstant(0)) {
        if (first == 0 && last == count - 1)
          terms.push_back({vars[group.loop].value, coefficients[last], vars[group.loop].lane});
        else
          terms.push_back({partOfGroup(v.group, first, last), coefficients[last], false});
      }
      last = first - 1;
    }
  }
  return terms;
}

/// Outer values first, so that the sum of the inner ones is all an inner loop does.
S Emitter::sumTerms(SmallVector<Term> terms, const SymExpr &constant) {
  llvm::stable_sort(terms, [](const Term &x, const Term &y) {
    return std::make_pair(x.value.vec, x.value.level) < std::make_pair(y.value.vec, y.value.level);
  });
  S sum = b.size(constant);
  for (const Term &term : terms)
    sum = b.op(Opcode::IAdd, {sum, b.op(Opcode::IMul, {term.value, b.size(term.coefficient)})});
  return sum;
}

Emitter::Address Emitter::addressOf(const Index &index) {
  SmallVector<Term> terms = termsOf(index);
  SymExpr stride = 0;
  bool apart = false;
  for (const Term &term : terms) {
    if (term.lane)
      stride += term.coefficient;
    apart |= term.value.vec;
  }
  bool even = stride.isConstant(0);
  S offset = sumTerms(terms, index.constant);
  if (!apart && even)
    return {Access::Uniform, offset};
  if (!apart && stride.isConstant(1))
    return {Access::Contiguous, offset};
  if (!even)
    offset = b.op(Opcode::IAdd, {offset, b.op(Opcode::IMul, {b.laneIds(), b.size(stride)})});
  return {Access::Gather, offset};
}

S Emitter::valueOf(const Index &index) {
  SmallVector<Term> terms = termsOf(index);
  SymExpr stride = 0;
  for (const Term &term : terms)
    if (term.lane)
      stride += term.coefficient;
  S value = sumTerms(terms, index.constant);
  if (!stride.isConstant(0))
    value = b.op(Opcode::IAdd, {value, b.op(Opcode::IMul, {b.laneIds(), b.size(stride)})});
  return value;
}

// ---- quotients

std::optional<SymExpr> Emitter::maximumOf(const Index &index) {
  SymExpr maximum = index.constant;
  for (const auto &[id, coefficient] : index.terms) {
    if (isAtLeast(coefficient, 0)) {
      if (vars[id].extent.isUnknown())
        return std::nullopt;
      maximum += coefficient * (vars[id].extent - SymExpr(1));
    } else if (!isAtLeast(SymExpr(0) - coefficient, 0)) {
      return std::nullopt;
    }
  }
  return maximum;
}

std::optional<SymExpr> Emitter::minimumOf(const Index &index) {
  SymExpr minimum = index.constant;
  for (const auto &[id, coefficient] : index.terms) {
    if (isAtLeast(coefficient, 0))
      continue;
    if (!isAtLeast(SymExpr(0) - coefficient, 0) || vars[id].extent.isUnknown())
      return std::nullopt;
    minimum += coefficient * (vars[id].extent - SymExpr(1));
  }
  return minimum;
}

/// Quotient and remainder of an index that is never negative.
std::pair<Index, Index> Emitter::divMod(const Index &index, const SymExpr &divisor) {
  if (divisor.isConstant(1))
    return {index, Index(0)};
  Index quotient, rest;
  std::optional<int64_t> constant = index.constant.getConstant(), size = divisor.getConstant();
  if (constant && size && *size > 0) {
    int64_t q = *constant >= 0 ? *constant / *size : -((-*constant + *size - 1) / *size);
    quotient.constant = q;
    rest.constant = *constant - q * *size;
  } else if (std::optional<SymExpr> exact = SymExpr::divideExactly(index.constant, divisor)) {
    quotient.constant = *exact;
  } else {
    rest.constant = index.constant;
  }
  for (const auto &[id, coefficient] : index.terms) {
    if (std::optional<SymExpr> exact = SymExpr::divideExactly(coefficient, divisor))
      quotient.add(id, *exact);
    else
      rest.add(id, coefficient);
  }
  std::optional<SymExpr> low = minimumOf(rest), high = maximumOf(rest);
  bool notNegative = low && isAtLeast(*low, 0);
  if (notNegative && high && isAtLeast(divisor - SymExpr(1), *high))
    return {quotient, rest};
  if (!notNegative) {
    quotient = Index();
    rest = index;
    high = maximumOf(rest);
  }
  if (findings)
    for (const auto &[id, coefficient] : rest.terms) {
      // id = outer * part + inner would make the division exact.
      std::optional<SymExpr> part = SymExpr::divideExactly(divisor, coefficient);
      if (part && !part->isConstant(1) && isAtLeast(*part, 1) && vars[id].roots.count(id) && vars[id].extent != *part &&
          SymExpr::divideExactly(vars[id].extent, *part) &&
          findings->splits.insert({id, part->str()}).second) {
        findings->splitVars.push_back(id);
        findings->splitSizes.push_back(*part);
      }
    }
  std::string key = rest.key() + "/" + divisor.str();
  auto it = quotients.find(key);
  if (it == quotients.end() || !b.isOpen(it->second.level, it->second.serial)) {
    S value = valueOf(rest), by = b.size(divisor);
    S q = b.op(Opcode::IDiv, {value, by}), r = b.op(Opcode::IRem, {value, by});
    SymExpr bound = high ? SymExpr::floorDiv(*high, divisor) + SymExpr(1) : SymExpr::unknown();
    std::set<int> roots = rootsOf(rest);
    Quotient entry{Index::var(addVar(q, bound, false, roots)), Index::var(addVar(r, divisor, false, roots)), q.level,
                   b.serialOf(q.level)};
    it = quotients.insert_or_assign(key, entry).first;
  }
  return {quotient + it->second.quotient, it->second.remainder};
}

// ---- loops

void Emitter::forElements(S lo, S hi, const SymExpr &extent, bool parallel, llvm::function_ref<void(int)> body,
                          std::set<int> roots) {
  auto run = [&](LoopKind kind, S from, S to) {
    b.loop(kind, from, to, {}, [&](S variable, ArrayRef<S>) {
      body(addVar(variable, extent, kind == LoopKind::Lanes, roots));
      return SmallVector<S>();
    }, "i");
  };
  if (!parallel || b.inLanes())
    return run(LoopKind::Serial, lo, hi);
  if (b.hasThreads())
    return run(LoopKind::Threads, lo, hi);
  int64_t lanes = b.lanes();
  std::optional<int64_t> known = extent.getConstant();
  if (lanes == 1 || (known && *known < lanes))
    return run(LoopKind::Serial, lo, hi);
  S width = b.index(lanes);
  S count = b.op(Opcode::IAdd, {hi, b.op(Opcode::IMul, {lo, b.index(-1)})});
  S middle = b.op(Opcode::IAdd, {lo, b.op(Opcode::IMul, {b.op(Opcode::IDiv, {count, width}), width})});
  run(LoopKind::Lanes, lo, middle);
  if (!b.getIndexConstant(middle) || b.getIndexConstant(middle) != b.getIndexConstant(hi))
    run(LoopKind::Serial, middle, hi);
}

SmallVector<S> Emitter::reduce(ArrayRef<SymExpr> extents, ArrayRef<S> initial, Body body, Combine combine) {
  ++reductionDepth;
  SmallVector<Index> at;
  S zero = b.index(0);
  auto serial = [&](S lo, S hi, const SymExpr &extent, ArrayRef<S> start, bool lanes) {
    return b.loop(lanes ? LoopKind::Lanes : LoopKind::Serial, lo, hi, start, [&](S variable, ArrayRef<S> carried) {
      at.push_back(Index::var(addVar(variable, extent, lanes)));
      SmallVector<S> next = body(at, carried);
      at.pop_back();
      return next;
    });
  };
  std::function<SmallVector<S>(size_t, ArrayRef<S>)> nest = [&](size_t i, ArrayRef<S> carried) -> SmallVector<S> {
    if (i == extents.size())
      return body(at, carried);
    S size = b.size(extents[i]);
    if (i + 1 < extents.size())
      return b.loop(LoopKind::Serial, zero, size, carried, [&](S variable, ArrayRef<S> inner) {
        at.push_back(Index::var(addVar(variable, extents[i])));
        // Every inner sum by itself: rounding errors then grow with the sum of
        // the extents, not with their product.
        SmallVector<S> next = combine(inner, nest(i + 1, initial));
        at.pop_back();
        return next;
      });
    std::optional<int64_t> known = extents[i].getConstant();
    int64_t lanes = b.lanes();
    if (b.inLanes() || (known && *known < lanes) || (lanes == 1 && !b.hasThreads()))
      return serial(zero, size, extents[i], carried, false);
    SmallVector<S> partial;
    S middle = size;
    if (b.hasThreads()) {
      partial = b.loop(LoopKind::Threads, zero, size, initial, [&](S variable, ArrayRef<S> inner) {
        at.push_back(Index::var(addVar(variable, extents[i])));
        SmallVector<S> next = body(at, inner);
        at.pop_back();
        return next;
      });
      partial = b.combineThreads(partial, combine);
    } else {
      S width = b.index(lanes);
      middle = b.op(Opcode::IMul, {b.op(Opcode::IDiv, {size, width}), width});
      partial = serial(zero, middle, extents[i], initial, true);
      for (int64_t distance = lanes / 2; distance > 0; distance /= 2) {
        SmallVector<S> swapped;
        for (S s : partial)
          swapped.push_back(b.swapLanes(s, distance));
        partial = combine(partial, swapped);
      }
      for (S &s : partial)
        s = b.extractLane(s, 0);
    }
    SmallVector<S> total = partial; // `carried` is neutral
    if (b.hasThreads() || (known && *known % lanes == 0))
      return total;
    return serial(middle, size, extents[i], total, false);
  };
  SmallVector<S> result = nest(0, initial);
  --reductionDepth;
  return result;
}
