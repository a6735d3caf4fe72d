// Einsum, as transposes, sums and matrix products, two operands at a time.
#include "OpTable.h"

#include "llvm/ADT/StringExtras.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

namespace {

/// One character per dimension. Dimensions of an ellipsis are numbered from the
/// right: '\1' is the last one.
using Labels = std::string;

struct Term {
  Value value;
  Labels labels;
};

bool parseTerm(llvm::StringRef text, int64_t ellipsisRank, Labels &labels) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("...")) {
      for (int64_t d = ellipsisRank; d > 0; --d)
        labels.push_back(static_cast<char>(d));
      i += 2;
    } else if (llvm::isAlpha(text[i])) {
      labels.push_back(text[i]);
    } else {
      return false;
    }
  }
  return true;
}

Ints positions(const Labels &wanted, const Labels &labels) {
  Ints result;
  for (char c : wanted)
    result.push_back(labels.find(c));
  return result;
}

bool contains(const Labels &labels, char c) { return labels.find(c) != Labels::npos; }

/// The diagonal over dimensions of one label.
Term takeDiagonals(Node &n, Term term) {
  for (size_t i = 0; i < term.labels.size() && !n.failed(); ++i)
    for (size_t j = term.labels.size() - 1; j > i && !n.failed(); --j) {
      if (term.labels[j] != term.labels[i])
        continue;
      Dims dims = n.dims(term.value), one = dims;
      one[j] = 1;
      term.value = n.create<GatherElementsOp>(term.value, n.iota(n.b.getI64Type(), one, i), j);
      dims.erase(dims.begin() + j);
      term.value = n.reshape(term.value, dims);
      term.labels.erase(j, 1);
    }
  return term;
}

/// Sums away what no one needs.
Term reduceTo(Node &n, Term term, const Labels &needed) {
  Ints axes;
  Labels kept;
  for (auto [i, c] : llvm::enumerate(term.labels)) {
    if (contains(needed, c))
      kept.push_back(c);
    else
      axes.push_back(i);
  }
  if (axes.empty())
    return term;
  return {n.reduce(ReduceKind::Sum, term.value, axes, /*keepDims=*/false), kept};
}

Term multiply(Node &n, Term a, Term b, const Labels &needed) {
  a = reduceTo(n, a, needed + b.labels);
  b = reduceTo(n, b, needed + a.labels);
  Labels batch, contracted, left, right;
  for (char c : a.labels)
    (contains(b.labels, c) ? (contains(needed, c) ? batch : contracted) : left).push_back(c);
  for (char c : b.labels)
    if (!contains(a.labels, c))
      right.push_back(c);
  a.value = n.transpose(a.value, positions(batch + left + contracted, a.labels));
  b.value = n.transpose(b.value, positions(batch + contracted + right, b.labels));
  if (n.failed())
    return {};
  auto group = [&](Value v, size_t first, size_t second) {
    Dims dims = n.dims(v);
    llvm::ArrayRef<SymExpr> all(dims);
    Dims result(all.take_front(batch.size()));
    result.push_back(product(all.slice(batch.size(), first)));
    result.push_back(product(all.slice(batch.size() + first, second)));
    return n.reshape(v, result);
  };
  Dims leftDims = n.dims(a.value), rightDims = n.dims(b.value);
  Value result = n.create<MatMulOp>(group(a.value, left.size(), contracted.size()),
                                    group(b.value, contracted.size(), right.size()));
  if (n.failed())
    return {};
  Dims dims = n.dims(result);
  dims.resize(batch.size(), SymExpr(1));
  dims.append(leftDims.begin() + batch.size(), leftDims.begin() + batch.size() + left.size());
  dims.append(rightDims.end() - right.size(), rightDims.end());
  return {n.reshape(result, dims), batch + left + right};
}

} // namespace

static void einsum(Node &n) {
  std::string equation;
  for (char c : n.stringAttr("equation", ""))
    if (c != ' ')
      equation.push_back(c);
  auto [left, right] = llvm::StringRef(equation).split("->");
  bool isExplicit = llvm::StringRef(equation).contains("->");
  llvm::SmallVector<llvm::StringRef> texts;
  left.split(texts, ',');
  if (texts.size() != n.numInputs())
    return n.error("expected an equation with " + llvm::Twine(n.numInputs()) + " operands, but got '" +
                   printable(equation) + "'");
  llvm::SmallVector<Term> terms;
  int64_t ellipsisRank = 0;
  Labels occurrences;
  for (auto [i, text] : llvm::enumerate(texts)) {
    Value v = n.in(i);
    int64_t named = llvm::count_if(text, [](char c) { return llvm::isAlpha(c); });
    int64_t rank = text.contains("...") ? n.rank(v) - named : 0;
    Labels labels;
    if (n.failed() || rank < 0 || !parseTerm(text, rank, labels) || static_cast<int64_t>(labels.size()) != n.rank(v))
      return n.error("expected an equation that fits the operands, but got '" + printable(equation) + "'");
    ellipsisRank = std::max(ellipsisRank, rank);
    terms.push_back(takeDiagonals(n, {v, labels}));
    occurrences += labels;
  }
  if (n.failed())
    return;
  Labels output;
  if (isExplicit) {
    if (!parseTerm(right, ellipsisRank, output))
      return n.error("unknown equation '" + printable(equation) + "'");
  } else {
    // The ellipsis, then every label that occurs once, in order.
    for (int64_t d = ellipsisRank; d > 0; --d)
      output.push_back(static_cast<char>(d));
    std::map<char, int> counts;
    for (char c : occurrences)
      ++counts[c];
    for (auto [c, count] : counts)
      if (count == 1 && llvm::isAlpha(c))
        output.push_back(c);
  }
  for (char c : output)
    if (llvm::none_of(terms, [&](const Term &t) { return contains(t.labels, c); }))
      return n.error("expected output labels that occur in operands, but got '" + printable(equation) + "'");
  Term result = terms.front();
  for (size_t i = 1; i < terms.size(); ++i) {
    Labels needed = output;
    for (size_t j = i + 1; j < terms.size(); ++j)
      needed += terms[j].labels;
    result = multiply(n, result, terms[i], needed);
  }
  result = reduceTo(n, result, output);
  if (n.failed())
    return;
  n.out(n.transpose(result.value, positions(output, result.labels)));
}

void onnx_import::addEinsumOps(OpTable &t) { t.add(kOnnx, "Einsum", einsum); }
