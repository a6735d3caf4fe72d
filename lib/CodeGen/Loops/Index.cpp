// Arithmetic of indices, and how the dimensions of a reshape correspond.
#include "Index.h"

using namespace llmopt::loops;

Index Index::var(int id, const SymExpr &coefficient) {
  Index index;
  index.add(id, coefficient);
  return index;
}

void Index::add(int var, const SymExpr &coefficient) {
  auto it = llvm::lower_bound(terms, var, [](const auto &term, int v) { return term.first < v; });
  if (it == terms.end() || it->first != var) {
    if (!coefficient.isConstant(0))
      terms.insert(it, {var, coefficient});
    return;
  }
  it->second += coefficient;
  if (it->second.isConstant(0))
    terms.erase(it);
}

SymExpr Index::coefficientOf(int var) const {
  for (const auto &[id, coefficient] : terms)
    if (id == var)
      return coefficient;
  return 0;
}

std::string Index::key() const {
  std::string text;
  for (const auto &[id, coefficient] : terms)
    text += "v" + std::to_string(id) + "*" + coefficient.str() + "+";
  return text + constant.str();
}

namespace llmopt::loops {

Index operator+(const Index &a, const Index &b) {
  Index sum = a;
  sum.constant += b.constant;
  for (const auto &[id, coefficient] : b.terms)
    sum.add(id, coefficient);
  return sum;
}

Index operator*(const Index &a, const SymExpr &b) {
  Index product(a.constant * b);
  for (const auto &[id, coefficient] : a.terms)
    product.add(id, coefficient * b);
  return product;
}

SmallVector<SymExpr> rowMajorStrides(ArrayRef<SymExpr> dims) {
  SmallVector<SymExpr> strides(dims.size(), SymExpr(1));
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = strides[i] * dims[i];
  return strides;
}

Index linearize(ArrayRef<Index> indices, ArrayRef<SymExpr> dims) {
  SmallVector<SymExpr> strides = rowMajorStrides(dims);
  Index sum;
  for (auto [index, stride] : llvm::zip(indices, strides))
    sum = sum + index * stride;
  return sum;
}

SmallVector<ReshapeGroup> matchReshape(ArrayRef<SymExpr> from, ArrayRef<SymExpr> to) {
  SmallVector<ReshapeGroup> groups;
  size_t i = 0, j = 0;
  auto skipOnes = [](ArrayRef<SymExpr> dims, size_t &at, llvm::SmallVectorImpl<size_t> &members) {
    while (at < dims.size() && dims[at].isConstant(1))
      members.push_back(at++);
  };
  while (true) {
    ReshapeGroup group;
    skipOnes(from, i, group.from);
    skipOnes(to, j, group.to);
    SymExpr a = 1, b = 1;
    if (i < from.size())
      a = from[i], group.from.push_back(i++);
    if (j < to.size())
      b = to[j], group.to.push_back(j++);
    while (a != b && (i < from.size() || j < to.size())) {
      std::optional<int64_t> ca = a.getConstant(), cb = b.getConstant();
      bool growA = ca && cb ? *ca < *cb : SymExpr::divideExactly(b, a).has_value();
      bool growB = ca && cb ? *cb < *ca : !growA && SymExpr::divideExactly(a, b).has_value();
      if (!growA && !growB)
        growA = growB = true;
      if (i == from.size())
        growB = true;
      if (j == to.size())
        growA = true;
      if (growA && i < from.size())
        a *= from[i], group.from.push_back(i++);
      if (growB && j < to.size())
        b *= to[j], group.to.push_back(j++);
    }
    if (i == from.size())
      while (j < to.size())
        group.to.push_back(j++);
    if (j == to.size())
      while (i < from.size())
        group.from.push_back(i++);
    if (group.from.empty() && group.to.empty())
      return groups;
    groups.push_back(std::move(group));
  }
}

bool isAtLeast(const SymExpr &a, const SymExpr &b) {
  std::optional<int64_t> low = (a - b).lowerBound();
  return low && *low >= 0;
}

} // namespace llmopt::loops
