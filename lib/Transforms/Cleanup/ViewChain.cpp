// Composition of reshapes and transposes through common factors.
#include "llmopt/Transforms/ViewChain.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static bool hasUnknownDim(ArrayRef<SymExpr> dims) {
  return llvm::any_of(dims, [](const SymExpr &dim) { return dim.isUnknown(); });
}

/// Replaces `atom` by itself (now the outer factor) and a new inner one.
void ViewChain::split(unsigned atom, const SymExpr &inner, Groups &current) {
  unsigned added = atoms.size();
  atoms[atom] = *SymExpr::divideExactly(atoms[atom], inner);
  atoms.push_back(inner);
  for (Groups *groups : {&current, &resultDims})
    for (SmallVector<unsigned> &group : *groups)
      if (auto it = llvm::find(group, atom); it != group.end())
        group.insert(std::next(it), added);
}

/// Groups the atoms of `current` in order so that the products are `dims`.
/// Fails, possibly with some atoms split, where the factors do not line up.
bool ViewChain::regroup(ArrayRef<SymExpr> dims, Groups &current) {
  Groups grouped;
  unsigned position = 0; // in the flattened atoms
  auto flatten = [&] {
    SmallVector<unsigned> flat;
    for (const SmallVector<unsigned> &group : current)
      llvm::append_range(flat, group);
    return flat;
  };
  for (const SymExpr &dim : dims) {
    SmallVector<unsigned> group;
    SymExpr remaining = dim;
    while (!remaining.isConstant(1)) {
      SmallVector<unsigned> flat = flatten();
      if (position == flat.size())
        return false;
      unsigned atom = flat[position];
      std::optional<SymExpr> rest = SymExpr::divideExactly(remaining, atoms[atom]);
      if (!rest) {
        std::optional<SymExpr> inner = SymExpr::divideExactly(atoms[atom], remaining);
        if (!inner || inner->isConstant(0)) // of an empty dimension everything is a factor
          return false;
        split(atom, *inner, current);
        rest = SymExpr(1);
      }
      group.push_back(atom);
      remaining = *rest;
      ++position;
    }
    grouped.push_back(group);
  }
  if (position != flatten().size())
    return false;
  current = std::move(grouped);
  return true;
}

ViewChain ViewChain::compose(Value result) {
  ViewChain chain;
  chain.source = result;
  chain.resultType = result.getType();
  SmallVector<SymExpr> dims = getDims(result);
  if (hasUnknownDim(dims))
    return chain;
  for (const SymExpr &dim : dims) {
    SmallVector<unsigned> group;
    if (!dim.isConstant(1)) {
      group.push_back(chain.atoms.size());
      chain.atoms.push_back(dim);
    }
    chain.resultDims.push_back(group);
  }
  Groups current = chain.resultDims;
  while (Operation *op = chain.source.getDefiningOp()) {
    ViewChain saved = chain;
    if (auto transpose = dyn_cast<TransposeOp>(op)) {
      Groups operand(current.size());
      for (auto [i, from] : llvm::enumerate(transpose.getPerm()))
        operand[from] = current[i];
      current = std::move(operand);
    } else if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      SmallVector<SymExpr> operandDims = getDims(reshape.getInput());
      Groups attempt = current;
      if (hasUnknownDim(operandDims) || !chain.regroup(operandDims, attempt)) {
        chain = std::move(saved);
        break;
      }
      current = std::move(attempt);
    } else {
      break;
    }
    chain.source = op->getOperand(0);
    chain.ops.push_back(op);
  }
  chain.sourceDims = std::move(current);
  return chain;
}

/// The dimension that each atom is in.
static SmallVector<int64_t> getOwners(ArrayRef<SmallVector<unsigned>> groups, size_t numAtoms) {
  SmallVector<int64_t> owners(numAtoms, -1);
  for (auto [i, group] : llvm::enumerate(groups))
    for (unsigned atom : group)
      owners[atom] = i;
  return owners;
}

/// Neighbours in both orders may travel as one dimension. Merging them saves
/// reshapes where a dimension of source or result is split, and costs some where
/// two dimensions only happen to stay together: `mergeAcrossDims`.
ViewChain::Emission ViewChain::computeEmission(bool mergeAcrossDims) const {
  SmallVector<int64_t> sourceOwner = getOwners(sourceDims, atoms.size()),
                       resultOwner = getOwners(resultDims, atoms.size());
  auto mayMerge = [&](unsigned a, unsigned b) {
    return mergeAcrossDims || (sourceOwner[a] == sourceOwner[b] && resultOwner[a] == resultOwner[b]);
  };
  // Runs of neighbours, numbered by source order.
  SmallVector<unsigned> inSource, inResult;
  for (const auto &group : sourceDims)
    llvm::append_range(inSource, group);
  for (const auto &group : resultDims)
    llvm::append_range(inResult, group);
  SmallVector<int64_t> nextInResult(atoms.size(), -1), run(atoms.size(), -1);
  for (size_t i = 0; i + 1 < inResult.size(); ++i)
    nextInResult[inResult[i]] = inResult[i + 1];
  Emission emission;
  for (auto [i, atom] : llvm::enumerate(inSource)) {
    if (i > 0 && nextInResult[inSource[i - 1]] == atom && mayMerge(inSource[i - 1], atom)) {
      run[atom] = run[inSource[i - 1]];
      emission.before.back() *= atoms[atom];
    } else {
      run[atom] = emission.before.size();
      emission.before.push_back(atoms[atom]);
    }
  }
  SmallVector<int64_t> order;
  for (unsigned atom : inResult)
    if (order.empty() || order.back() != run[atom])
      order.push_back(run[atom]);
  if (llvm::is_sorted(order)) // a single run: nothing moves
    return Emission();

  // Keep the source's or the result's own dimensions where they are the runs
  // but for dimensions of size 1, so that no reshape is needed for those.
  SmallVector<SymExpr> source = getDims(this->source), result = getDims(resultType);
  auto withoutOnes = [](ArrayRef<SymExpr> dims) {
    SmallVector<SymExpr> kept;
    for (const SymExpr &dim : dims)
      if (!dim.isConstant(1))
        kept.push_back(dim);
    return kept;
  };
  SmallVector<SymExpr> moved;
  for (int64_t index : order)
    moved.push_back(emission.before[index]);
  SmallVector<int64_t> ones, perm;
  if (withoutOnes(source) == emission.before && source.size() == result.size()) {
    // Permute dimensions of size 1 along, in order, to where the result has them.
    SmallVector<int64_t> realDims;
    for (auto [i, dim] : llvm::enumerate(source))
      (dim.isConstant(1) ? ones : realDims).push_back(i);
    size_t nextOne = 0, nextReal = 0;
    bool fits = withoutOnes(result) == moved;
    for (const SymExpr &dim : result) {
      if (!fits)
        break;
      perm.push_back(dim.isConstant(1) ? ones[nextOne++] : realDims[order[nextReal++]]);
    }
    if (fits) {
      emission.before = source;
      emission.after = result;
      emission.perm = perm;
      return emission;
    }
  }
  emission.perm = order;
  emission.after = moved;
  return emission;
}

unsigned ViewChain::countOps(const Emission &emission) const {
  if (emission.perm.empty())
    return source.getType() == resultType ? 0 : 1;
  Type elementType = getElementTypeOrSelf(resultType);
  return 1 + (source.getType() != getTensorType(emission.before, elementType)) +
         (resultType != getTensorType(emission.after, elementType));
}

ViewChain::Emission ViewChain::getEmission() const {
  Emission merged = computeEmission(true), separate = computeEmission(false);
  return countOps(separate) < countOps(merged) ? separate : merged;
}

unsigned ViewChain::getEmittedLength() const { return ops.empty() ? 0 : countOps(getEmission()); }

Value ViewChain::emit(OpBuilder &builder, Location loc) const {
  Emission emission = getEmission();
  Type elementType = getElementTypeOrSelf(resultType);
  Value value = source;
  auto reshapeTo = [&](Type type) {
    if (value.getType() != type)
      value = ReshapeOp::create(builder, loc, type, value);
  };
  if (!emission.perm.empty()) {
    reshapeTo(getTensorType(emission.before, elementType));
    value = TransposeOp::create(builder, loc, getTensorType(emission.after, elementType), value,
                                builder.getDenseI64ArrayAttr(emission.perm));
  }
  reshapeTo(resultType);
  return value;
}
