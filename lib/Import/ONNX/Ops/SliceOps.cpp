// Slices, splits and pads.
//
// ONNX limits slice bounds to the dimension. A constant bound is limited exactly
// (with min and max in the size); a symbolic one is taken as it is, and what must
// hold for that is noted as a constraint: `position_ids[:, :sequence]` of 512
// positions gives [1, sequence] and "sequence <= 512", not [1, min(sequence, 512)],
// which would no longer add to [batch, sequence].
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// max(size, 0), which is `size` where that is known.
static SymExpr notNegative(Node &n, const SymExpr &size) {
  return n.importer.isNeverNegative(size) ? size : SymExpr::max(size, 0);
}

/// A bound in [low, high]. Backwards, of a dimension that may be empty, that range
/// may be [0, -1]: then it is -1, and nothing is left.
static SymExpr limitBound(Node &n, const SymExpr &bound, const SymExpr &dim, const SymExpr &low, const SymExpr &high) {
  std::optional<int64_t> constant = bound.getConstant();
  if (constant) {
    // Exporters write "to the end" as INT32_MAX or INT64_MAX (or minus those).
    if (*constant >= INT32_MAX)
      return high;
    if (*constant <= -INT32_MAX)
      return low;
    SymExpr from = *constant < 0 ? dim + bound : bound;
    if (high != dim && high.lowerBound().value_or(-1) < 0)
      return SymExpr::min(SymExpr::max(from, low), high);
    const SymExpr limited = SymExpr::min(from, high);
    return low.isConstant(0) ? notNegative(n, limited) : SymExpr::max(limited, low);
  }
  std::optional<int64_t> least = bound.lowerBound();
  if (!least || *least < 0) {
    // "-sequence" counts from the end, except for -0; of other signs nothing is known.
    std::optional<int64_t> most = (SymExpr(0) - bound).lowerBound();
    if (most && *most >= 0) {
      n.require(1, SymExpr(0) - bound);
      n.require(SymExpr(0) - bound, dim);
      return dim + bound;
    }
    n.require(0, bound);
  }
  // "sequence + 1" of a dimension "sequence": the end, whatever its size.
  if ((bound - high).lowerBound().value_or(-1) >= 0)
    return high;
  // What data decides may lie beyond the end; no name of a dimension depends on it.
  if (n.importer.mentionsCountsSince(bound, 0))
    return SymExpr::max(SymExpr::min(bound, high), low);
  n.require(bound, high);
  return bound;
}

static void slice(Node &n) {
  Value x = n.in(0);
  Dims starts, ends;
  std::optional<Ints> axesGiven, steps;
  if (n.opset() < 10) {
    for (int64_t i : n.intsAttr("starts").value_or(Ints()))
      starts.push_back(i);
    for (int64_t i : n.intsAttr("ends").value_or(Ints()))
      ends.push_back(i);
    axesGiven = n.intsAttr("axes");
  } else {
    starts = n.values(n.in(1), "the starts");
    ends = n.values(n.in(2), "the ends");
    axesGiven = n.intsFrom(3, "axes");
    steps = n.intsFrom(4, "steps");
  }
  if (n.failed())
    return;
  Dims dims = n.dims(x);
  Ints axes = axesGiven ? n.axes(*axesGiven, dims.size()) : Ints(llvm::to_vector(llvm::seq<int64_t>(0, starts.size())));
  if (!steps)
    steps.emplace(starts.size(), 1);
  if (n.failed())
    return;
  if (starts.size() != ends.size() || axes.size() != starts.size() || steps->size() != starts.size() ||
      starts.size() > dims.size())
    return n.error("expected as many starts as ends, axes and steps");

  Dims first(dims.size(), SymExpr(0)), sizes = dims;
  Ints strides(dims.size(), 1);
  for (auto [axis, start, end, step] : llvm::zip(axes, starts, ends, *steps)) {
    const SymExpr dim = dims[axis];
    // INT64_MIN has no magnitude.
    int64_t width = step == INT64_MIN ? INT64_MAX : std::abs(step);
    if (step == 0)
      return n.error("expected steps other than 0");
    SymExpr distance;
    if (step > 0) {
      first[axis] = limitBound(n, start, dim, 0, dim);
      SymExpr last = limitBound(n, end, dim, 0, dim);
      distance = last - first[axis];
      int64_t cut = last == dim ? start.getConstant().value_or(0) : 0;
      if (cut > 0 && cut < INT32_MAX) { // as long as x[:-1] by name, too
        distance = notNegative(n, dim - start);
      } else if (cut == -1 && !dim.isConstant(0)) { // one row by name: most shapes are numbers only so
        n.require(1, dim);
        first[axis] = dim - SymExpr(1);
        distance = 1;
      } else if (cut < 0 && cut > -INT32_MAX) {
        distance = SymExpr::min(SymExpr(0) - start, dim);
        first[axis] = dim - distance;
      }
    } else {
      // Backwards, the end may lie before the first element: at -1.
      first[axis] = limitBound(n, start, dim, 0, dim - SymExpr(1));
      distance = first[axis] - limitBound(n, end, dim, -1, dim - SymExpr(1));
    }
    sizes[axis] = notNegative(n, SymExpr::ceilDiv(distance, width));
    strides[axis] = step;
    if (sizes[axis].isConstant(0)) {
      first[axis] = 0;
      strides[axis] = 1;
    }
  }
  if (sizes == dims && llvm::all_of(strides, [](int64_t s) { return s == 1; }))
    return n.out(x);
  n.out(n.create<SliceOp>(x, first, sizes, strides));
}

static void split(Node &n) {
  Value x = n.in(0);
  int64_t rank = n.rank(x), axis = n.axis(n.intAttr("axis", 0), rank);
  if (n.failed())
    return;
  const SymExpr dim = n.dims(x)[axis];
  Dims sizes;
  if (n.opset() >= 13 && n.has(1)) {
    sizes = n.values(n.in(1), "the split");
  } else if (std::optional<Ints> given = n.intsAttr("split")) {
    for (int64_t size : *given)
      sizes.push_back(size);
  } else {
    // Equal parts; from opset 18 on the last one may be smaller.
    int64_t parts = n.intAttr("num_outputs", n.numOutputs());
    if (parts < 1 || parts > 1 << 20)
      return n.error("expected a positive number of parts");
    SymExpr part = SymExpr::ceilDiv(dim, parts), rest = dim;
    for (int64_t i = 0; i + 1 < parts; ++i) {
      sizes.push_back(SymExpr::min(part, rest));
      rest = rest - sizes.back();
    }
    sizes.push_back(rest);
  }
  if (n.failed())
    return;
  if (sizes.size() != n.numOutputs())
    return n.error("expected " + llvm::Twine(n.numOutputs()) + " sizes, but got " + llvm::Twine(sizes.size()));
  SymExpr start(0);
  for (auto [i, size] : llvm::enumerate(sizes)) {
    if (size.getConstant().value_or(0) < 0)
      return n.error("expected sizes that are not negative, but got " + size.str());
    if (n.wants(i))
      n.out(i, n.slice(x, axis, start, size));
    start += size;
  }
  if ((dim - start).getConstant().value_or(0) != 0)
    n.error("expected sizes that sum to " + dim.str() + ", but got " + start.str());
}

/// A dimension up to which a padded one is gathered.
static constexpr int64_t kMaxPaddedIndices = 1 << 16;

/// Where index i of a padded dimension reads: mirrored, repeated or wrapped.
static int64_t sourceIndex(int64_t i, int64_t size, llvm::StringRef mode) {
  if (mode == "edge")
    return std::clamp<int64_t>(i, 0, size - 1);
  if (mode == "wrap")
    return ((i % size) + size) % size;
  if (size == 1)
    return 0;
  int64_t period = 2 * (size - 1);
  i = ((i % period) + period) % period;
  return i < size ? i : period - i;
}

/// The same for a dimension known by name only, and pads of less than its size:
/// slices of x in front of x and behind it.
static Value padSymbolic(Node &n, Value x, int64_t axis, const SymExpr &low, const SymExpr &high,
                         llvm::StringRef mode) {
  Dims dims = n.dims(x);
  const SymExpr size = dims[axis], last = size - SymExpr(1);
  auto piece = [&](const SymExpr &start, const SymExpr &count, int64_t step) {
    Dims starts(dims.size(), SymExpr(0)), sizes = dims;
    Ints steps(dims.size(), 1);
    starts[axis] = start;
    sizes[axis] = count;
    steps[axis] = step;
    return n.create<SliceOp>(x, starts, sizes, steps);
  };
  auto repeated = [&](const SymExpr &start, const SymExpr &count) {
    Dims sizes = dims;
    sizes[axis] = count;
    return n.broadcast(piece(start, 1, 1), sizes);
  };
  bool mirrors = mode == "reflect";
  n.require(mode == "edge" ? SymExpr(1) : SymExpr::max(low, high), mirrors ? last : size);
  llvm::SmallVector<Value> parts;
  if (!low.isConstant(0))
    parts.push_back(mode == "edge" ? repeated(0, low) : mirrors ? piece(low, low, -1) : piece(size - low, low, 1));
  parts.push_back(x);
  if (!high.isConstant(0))
    parts.push_back(mode == "edge" ? repeated(last, high)
                    : mirrors      ? piece(last - SymExpr(1), high, -1)
                                   : piece(0, high, 1));
  return n.concat(parts, axis);
}

static void pad(Node &n) {
  Value x = n.in(0);
  Dims dims = n.dims(x), pads;
  int64_t rank = dims.size();
  std::string mode = n.stringAttr("mode", "constant");
  Value value = n.opset() >= 11 ? n.opt(2) : Value();
  if (n.opset() < 11) {
    for (int64_t i : n.intsAttr(n.opset() < 2 ? "paddings" : "pads").value_or(Ints()))
      pads.push_back(i);
    value = n.scalar(n.elem(x), n.floatAttr("value", 0));
  } else {
    pads = n.values(n.in(1), "the pads");
  }
  if (n.failed())
    return;
  Ints axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (n.has(3))
    axes = n.axes(n.constants(n.in(3), "the axes"), rank);
  if (n.failed())
    return;
  if (pads.size() != 2 * axes.size())
    return n.error("expected " + llvm::Twine(2 * axes.size()) + " pads, but got " + llvm::Twine(pads.size()));
  if (!value)
    value = n.scalar(n.elem(x), 0);
  Dims low(rank, SymExpr(0)), high(rank, SymExpr(0)), starts(rank, SymExpr(0)), kept = dims;
  for (auto [i, axis] : llvm::enumerate(axes)) {
    low[axis] = pads[i];
    high[axis] = pads[i + axes.size()];
  }
  // Negative pads cut. Behind a pad by constants, so that a dimension of nothing may
  // be cut on one side where the other fills it up; other modes repeat what is left.
  bool cuts = false;
  Dims result = dims;
  for (int64_t i = 0; i < rank; ++i)
    result[i] += low[i] + high[i];
  for (int64_t i = 0; i < rank; ++i) {
    for (SymExpr *side : {&low[i], &high[i]}) {
      if (side->getConstant().value_or(0) >= 0)
        continue;
      kept[i] += *side;
      if (side == &low[i])
        starts[i] = SymExpr(0) - *side;
      *side = 0;
      cuts = true;
    }
    if ((mode == "constant" ? result : kept)[i].getConstant().value_or(0) < 0)
      return n.error("expected pads that leave dimension " + llvm::Twine(i));
  }
  if (mode == "constant") {
    Dims padded = dims;
    for (int64_t i = 0; i < rank; ++i)
      padded[i] += low[i] + high[i];
    mlir::MLIRContext *context = n.b.getContext();
    x = n.create<PadOp>(getTensorType(padded, n.elem(x)), x, value, getSymValues(context, low),
                        getSymValues(context, high));
    return n.out(cuts ? n.create<SliceOp>(x, starts, result) : x);
  }
  if (cuts)
    x = n.create<SliceOp>(x, starts, kept);
  if (mode != "edge" && mode != "reflect" && mode != "wrap")
    return n.error("unknown mode '" + printable(mode) + "'");
  for (int64_t i = 0; i < rank; ++i) {
    if (low[i].isConstant(0) && high[i].isConstant(0))
      continue;
    // Slices for dimensions without a number, and for those too large to list.
    if (!n.failed() && n.dims(x)[i].getConstant().value_or(kMaxPaddedIndices + 1) > kMaxPaddedIndices) {
      x = padSymbolic(n, x, i, low[i], high[i], mode);
      continue;
    }
    int64_t size = n.staticDim(x, i, "a padded dimension");
    std::optional<int64_t> before = low[i].getConstant(), after = high[i].getConstant();
    if (n.failed() || !before || !after || size < 1 || *before + *after > 1 << 20)
      return n.error("expected constant pads of a dimension that is not empty");
    Ints index;
    for (int64_t j = -*before; j < size + *after; ++j)
      index.push_back(sourceIndex(j, size, mode));
    x = n.create<GatherOp>(x, n.intVector(index), i);
  }
  n.out(x);
}

void onnx_import::addSliceOps(OpTable &t) {
  t.add(kOnnx, "Slice", slice);
  t.add(kOnnx, "Split", split);
  t.add(kOnnx, "Pad", pad);
}
