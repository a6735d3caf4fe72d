// Transposed convolution and Col2Im: strides become zeros between the elements of
// the operand, over which windows of stride 1 then slide.
#include "Spatial.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// x [.., spatial...] with stride - 1 zeros behind every element.
static Value spreadApart(Node &n, Value x, llvm::ArrayRef<int64_t> strides) {
  Dims dims = n.dims(x), apart, joined;
  if (n.failed() || llvm::all_of(strides, [](int64_t s) { return s == 1; }))
    return x;
  size_t lead = dims.size() - strides.size();
  Dims low, high;
  for (auto [i, dim] : llvm::enumerate(dims)) {
    int64_t stride = i < lead ? 1 : strides[i - lead];
    apart.append({dim, SymExpr(1)});
    high.append({SymExpr(0), SymExpr(stride - 1)});
    joined.push_back(dim * SymExpr(stride));
  }
  low.assign(apart.size(), SymExpr(0));
  return n.reshape(padOrCut(n, n.reshape(x, apart), low, high, n.scalar(n.elem(x), 0)), joined);
}

/// What slides over x [.., spatial...] so that the result has `sizes` elements, of
/// which `low` in front are cut off.
static Value framed(Node &n, Value x, const Dims &kernel, const Ints &strides, const Ints &dilations, const Dims &lows,
                    const Dims &sizes) {
  Value spread = spreadApart(n, x, strides);
  if (n.failed())
    return {};
  size_t lead = n.rank(x) - kernel.size();
  Dims low(lead, SymExpr(0)), high(lead, SymExpr(0)), dims = n.dims(spread);
  bool numbers = true;
  for (size_t i = 0; i < kernel.size(); ++i) {
    SymExpr room = (kernel[i] - SymExpr(1)) * SymExpr(dilations[i]);
    low.push_back(room - lows[i]);
    high.push_back(sizes[i] + room - dims[lead + i] - low.back());
    numbers &= low.back().getConstant() && high.back().getConstant();
  }
  Value zero = n.scalar(n.elem(x), 0);
  if (numbers)
    return padOrCut(n, spread, low, high, zero);
  // Of a symbol it is not known whether it adds or cuts.
  Dims before, after, starts, kept;
  for (auto [dim, l, h] : llvm::zip(dims, low, high)) {
    before.push_back(SymExpr::max(l, 0));
    after.push_back(SymExpr::max(h, 0));
    starts.push_back(SymExpr::max(SymExpr(0) - l, 0));
    kept.push_back(dim + l + h);
  }
  return n.create<SliceOp>(padOrCut(n, spread, before, after, zero), starts, kept);
}

namespace {
/// What is cut off in front, and what is left.
struct Extent {
  Dims low, sizes;
};
} // namespace

static std::optional<Extent> readExtent(Node &n, Value x, const Dims &kernel, const Ints &strides,
                                        const Ints &dilations) {
  size_t rank = kernel.size();
  Ints pads = readInts(n, "pads", 2 * rank, 0, 0), outputPads = readInts(n, "output_padding", rank, 0, 0);
  std::optional<Ints> given = n.intsAttr("output_shape");
  std::string mode = n.stringAttr("auto_pad", "NOTSET");
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (!same && mode != "NOTSET" && mode != "VALID" && !mode.empty())
    n.error("unknown auto_pad '" + printable(mode) + "'");
  if (given && given->size() != rank && given->size() != rank + 2)
    n.error("expected " + llvm::Twine(rank) + " sizes as output_shape");
  if (n.failed())
    return std::nullopt;
  Extent result;
  for (size_t i = 0; i < rank; ++i) {
    const SymExpr size = n.dims(x)[2 + i], stride(strides[i]);
    SymExpr full =
        (size - SymExpr(1)) * stride + (kernel[i] - SymExpr(1)) * SymExpr(dilations[i]) + SymExpr(1 + outputPads[i]);
    SymExpr low(mode == "VALID" ? 0 : pads[i]), left = full - low - SymExpr(mode == "VALID" ? 0 : pads[rank + i]);
    if (given || same) {
      left = given ? SymExpr((*given)[given->size() - rank + i]) : size * stride;
      // A result beyond what the windows reach has zeros behind.
      SymExpr cut = SymExpr::max(full - left, 0), half = SymExpr::floorDiv(cut, 2);
      low = mode == "SAME_UPPER" ? half : cut - half;
    }
    if (left.getConstant().value_or(1) < 1) {
      n.error("expected pads that leave something of dimension " + llvm::Twine(2 + i));
      return std::nullopt;
    }
    result.low.push_back(low);
    result.sizes.push_back(left);
  }
  return result;
}

/// [C, M/g, kernel...] -> [M, C/g, kernel...], the kernel backwards.
static Value turned(Node &n, Value weight, int64_t groups) {
  Dims dims = n.dims(weight);
  if (n.failed())
    return {};
  SymExpr in = n.quotient(dims[0], groups, "the number of input channels"), out = dims[1];
  if (n.failed())
    return {};
  Dims apart{SymExpr(groups), in, out}, joined{out * SymExpr(groups), in}, starts(dims.size(), SymExpr(0));
  Ints perm{0, 2, 1}, steps(dims.size(), 1);
  for (size_t i = 2; i < dims.size(); ++i) {
    apart.push_back(dims[i]);
    joined.push_back(dims[i]);
    perm.push_back(i + 1);
    starts[i] = dims[i] - SymExpr(1);
    steps[i] = -1;
  }
  Value moved = n.reshape(n.transpose(n.reshape(weight, apart), perm), joined);
  return n.failed() ? Value() : n.create<SliceOp>(moved, starts, joined, steps);
}

static void convTranspose(Node &n) {
  Value x = n.in(0), weight = n.in(1);
  Dims kernel = kernelOf(n, x, weight);
  size_t rank = kernel.size();
  Ints strides = readInts(n, "strides", rank, 1, 1), dilations = readInts(n, "dilations", rank, 1, 1);
  int64_t groups = n.intAttr("group", 1);
  std::optional<Extent> extent = n.failed() ? std::nullopt : readExtent(n, x, kernel, strides, dilations);
  if (!extent)
    return;
  if (!n.failed() && groups < 1)
    return n.error("expected a positive group");
  Value frame = framed(n, x, kernel, strides, dilations, extent->low, extent->sizes);
  n.out(n.create<ConvOp>(frame, turned(n, weight, groups), n.opt(2), Ints(rank, 1), Ints(2 * rank, 0), dilations,
                         groups));
}

// The sum over the places k of a window of the columns that belong to k, each moved
// by its distance from the window's first element.
static void col2Im(Node &n) {
  Value x = n.in(0);
  Dims image = n.values(n.in(1), "the image's shape");
  Ints kernel = n.constants(n.in(2), "the block's shape");
  size_t rank = kernel.size();
  Dims dims = n.dims(x);
  if (!n.failed() && (dims.size() != 3 || rank == 0 || image.size() != rank ||
                      llvm::any_of(kernel, [](int64_t k) { return k < 1 || k > 1 << 20; })))
    n.error("expected columns of rank 3, and as many sizes of an image as of a block");
  if (n.failed())
    return;
  Ints strides = readInts(n, "strides", rank, 1, 1), dilations = readInts(n, "dilations", rank, 1, 1),
       pads = readInts(n, "pads", 2 * rank, 0, 0);
  SymExpr places(1), blocks(1);
  Dims counts, low;
  for (size_t i = 0; i < rank; ++i) {
    SymExpr room = image[i] + SymExpr(pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1);
    counts.push_back(SymExpr::floorDiv(room, strides[i]) + SymExpr(1));
    low.push_back(pads[i]);
    places *= SymExpr(kernel[i]);
    blocks *= counts.back();
  }
  std::optional<int64_t> numPlaces = places.getConstant();
  SymExpr channels = SymExpr::floorDiv(dims[1], places);
  requireSize(n, x, 1, channels * places, "columns");
  requireSize(n, x, 2, blocks, "blocks");
  if (n.failed() || !numPlaces)
    return;
  Dims columns{dims[0], channels, places};
  columns.append(counts);
  Value frame = framed(n, n.reshape(x, columns), asDims(kernel), strides, dilations, low, image);
  Value windows = n.create<WindowsOp>(frame, axesBetween(3, 3 + rank), kernel, Ints(rank, 1),
                                      dilations); // [B, C, K, image, kernel]
  // Place k belongs to element K - 1 - k of the window: an antidiagonal.
  Ints perm{0, 1};
  perm.append(axesBetween(3, 3 + rank));
  perm.push_back(2);
  perm.append(axesBetween(3 + rank, 3 + 2 * rank));
  Dims flat{dims[0], channels};
  flat.append(image);
  flat.push_back(places * places);
  Value squares = n.reshape(n.transpose(windows, perm), flat);
  if (n.failed())
    return;
  Dims starts(flat.size(), SymExpr(0));
  Ints steps(flat.size(), 1);
  starts.back() = *numPlaces - 1;
  steps.back() = std::max<int64_t>(*numPlaces - 1, 1);
  flat.back() = places;
  Value diagonal = n.create<SliceOp>(squares, starts, flat, steps);
  n.out(n.reduce(ReduceKind::Sum, diagonal, {static_cast<int64_t>(2 + rank)}, false));
}

void onnx_import::addConvTransposeOps(OpTable &t) {
  t.add(kOnnx, "ConvTranspose", convTranspose);
  t.add(kOnnx, "Col2Im", col2Im);
}
