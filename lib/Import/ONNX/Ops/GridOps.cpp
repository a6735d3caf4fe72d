// Operators that read images between their elements, at positions that come from
// data: GridSample, RoiAlign, DeformConv; and AffineGrid, which makes positions.
#include "Interpolation.h"
#include "Spatial.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// A size as a scalar of a float type.
static Value realSize(Node &n, const SymExpr &size, mlir::Type type) { return n.cast(sizeScalar(n, size), type); }

//===- GridSample ----------------------------------------------------------------===//

namespace {

/// How positions beside the image are brought back into it.
struct Padding {
  enum Kind { Zeros, Border, Reflection } kind = Zeros;
  bool alignCorners = false;
};

} // namespace

/// Mirrors what is outside of [low, high] at these, as often as needed.
static Value reflected(Node &n, Value x, Value low, Value high) {
  mlir::Type type = n.elem(x);
  Value below = n.compare(Predicate::LT, x, low), above = n.compare(Predicate::GT, x, high);
  Value range = n.sub(high, low), beyond = n.select(below, n.sub(low, x), n.sub(x, high));
  Value times = n.create<FloorOp>(n.div(beyond, range)), rest = n.sub(beyond, n.mul(times, range));
  Value odd = n.compare(Predicate::EQ, n.create<ModOp>(times, n.scalar(type, 2), true), n.scalar(type, 1));
  Value fromLow = n.create<XorOp>(below, odd);
  Value inside = n.select(fromLow, n.add(low, rest), n.sub(high, rest));
  return n.select(n.create<OrOp>(below, above), inside, x);
}

/// Brings positions that are outside of the image, or of its pixels' areas, back.
static Value broughtBack(Node &n, Value x, const SymExpr &size, const Padding &padding) {
  if (padding.kind == Padding::Zeros)
    return x;
  mlir::Type type = n.elem(x);
  double edge = padding.alignCorners ? 0 : 0.5;
  Value low = n.scalar(type, -edge), last = n.add(realSize(n, size, type), -1), high = n.add(last, edge);
  if (padding.kind == Padding::Reflection)
    return reflected(n, x, low, high);
  Value outside = n.create<OrOp>(n.compare(Predicate::LT, x, low), n.compare(Predicate::GT, x, high));
  return n.select(outside, n.create<ClipOp>(x, n.scalar(type, 0), last), x);
}

static std::optional<Padding> readPadding(Node &n) {
  Padding padding;
  padding.alignCorners = n.boolAttr("align_corners", false);
  std::string mode = n.stringAttr("padding_mode", "zeros");
  if (mode == "border")
    padding.kind = Padding::Border;
  else if (mode == "reflection")
    padding.kind = Padding::Reflection;
  else if (mode != "zeros")
    n.error("unknown padding_mode '" + printable(mode) + "'");
  return n.failed() ? std::nullopt : std::optional(padding);
}

// x [N, C, spatial...], grid [N, points..., spatial rank] in [-1, 1], innermost
// dimension first.
static void gridSample(Node &n) {
  Value x = n.in(0), grid = n.in(1);
  Dims dims = n.dims(x), points = n.dims(grid);
  std::string mode = n.stringAttr("mode", "linear");
  bool cubic = mode == "cubic" || mode == "bicubic", nearest = mode == "nearest";
  std::optional<Padding> padding = readPadding(n);
  if (!n.failed() && !cubic && !nearest && mode != "linear" && mode != "bilinear")
    n.error("unknown mode '" + printable(mode) + "'");
  size_t rank = dims.size() < 3 ? 0 : dims.size() - 2;
  if (!n.failed() && (!rank || points.size() < 3))
    n.error("expected an image and a grid of ranks of at least 3");
  requireSize(n, grid, points.size() - 1, static_cast<int64_t>(rank), "points");
  if (n.failed())
    return;
  mlir::Type type = n.elem(grid).isF64() ? n.elem(grid) : mlir::Type(n.b.getF32Type());
  llvm::SmallVector<TapAxis> axes;
  for (size_t d = 0; d < rank; ++d) {
    const SymExpr &size = dims[2 + d];
    Value unit = n.slice(grid, points.size() - 1, SymExpr(static_cast<int64_t>(rank - 1 - d)), 1);
    unit = n.add(n.cast(n.reshape(unit, llvm::ArrayRef<SymExpr>(points).drop_back()), type), 1);
    Value length = realSize(n, size, type);
    Value position =
        padding->alignCorners ? n.mul(n.mul(unit, 0.5), n.add(length, -1)) : n.mul(n.add(n.mul(unit, length), -1), 0.5);
    if (nearest)
      position = n.create<RoundOp>(position);
    if (!cubic) // where each tap is brought back by itself
      position = broughtBack(n, position, size, *padding);
    TapAxis axis;
    Near near = elementsNear(n, position, cubic ? -1 : 0, cubic ? 4 : nearest ? 1 : 2);
    if (!nearest)
      axis.weight = cubic ? cubicWeight(n, near.distance, -0.75) : linearWeight(n, near.distance);
    if (padding->kind == Padding::Zeros)
      axis.inside = isInside(n, near.place, size);
    else if (padding->kind == Padding::Reflection)
      near.place = broughtBack(n, near.place, size, *padding);
    axis.index = asIndex(n, near.place, size);
    axes.push_back(axis);
  }
  Value image = nearest || n.elem(x).isF64() ? x : n.cast(x, n.b.getF32Type());
  Value taps = readTaps(n, image, axes);
  n.out(n.cast(
      n.reduce(ReduceKind::Sum, taps, axesBetween(n.rank(taps) - static_cast<int64_t>(rank), n.rank(taps)), false),
      n.elem(x)));
}

//===- AffineGrid ----------------------------------------------------------------===//

// theta [N, d, d + 1] applied to (x, y, .., 1) of the elements of an image.
static void affineGrid(Node &n) {
  Value theta = n.in(0);
  Dims sizes = n.values(n.in(1), "the size"), dims = n.dims(theta);
  size_t rank = sizes.size() < 3 ? 0 : sizes.size() - 2;
  if (!n.failed() && (!rank || dims.size() != 3))
    n.error("expected matrices, and the size of images");
  SymExpr order(static_cast<int64_t>(rank));
  requireSize(n, theta, 1, order, "rows");
  requireSize(n, theta, 2, order + SymExpr(1), "columns");
  if (n.failed())
    return;
  mlir::Type type = n.elem(theta);
  bool align = n.boolAttr("align_corners", false);
  Dims image(sizes.begin() + 2, sizes.end()), column = image;
  SymExpr points = product(image);
  column.push_back(1);
  llvm::SmallVector<Value> parts;
  for (size_t d = rank; d-- > 0;) {
    // (2 i + 1 - size) / size; with align_corners the ends are -1 and 1, one element is 0.
    Value twice = n.add(n.mul(n.iota(type, column, d), 2), 1), size = realSize(n, image[d], type);
    Value gaps = align ? n.create<MaxOp>(n.add(size, -1), n.scalar(type, 1)) : size;
    parts.push_back(n.div(n.sub(twice, size), gaps));
  }
  parts.push_back(n.filled(type, 1, column));
  Value base = n.reshape(n.concat(parts, rank), {points, order + SymExpr(1)});
  Dims result{dims[0]};
  result.append(image);
  result.push_back(order);
  n.out(n.reshape(n.create<MatMulOp>(base, n.swapLast(theta)), result));
}

//===- RoiAlign ------------------------------------------------------------------===//

// Every bin of a region is sampled ratio x ratio times.
static void roiAlign(Node &n) {
  Value x = n.in(0), rois = n.in(1), batches = n.in(2);
  Dims dims = n.dims(x), regions = n.dims(rois);
  int64_t ratio = n.intAttr("sampling_ratio", 0);
  int64_t bins[2] = {n.intAttr("output_height", 1), n.intAttr("output_width", 1)};
  double scale = n.floatAttr("spatial_scale", 1.0f);
  std::string mode = n.stringAttr("mode", "avg");
  std::string transform =
      n.stringAttr("coordinate_transformation_mode", n.opset() < 16 ? "output_half_pixel" : "half_pixel");
  bool half = transform == "half_pixel";
  if (!n.failed() && (dims.size() != 4 || regions.size() != 2))
    n.error("expected an image of rank 4 and regions of rank 2");
  requireSize(n, rois, 1, 4, "regions");
  if (!n.failed() && ((mode != "avg" && mode != "max") || (!half && transform != "output_half_pixel")))
    n.error("unknown mode '" + printable(mode) + "' or '" + printable(transform) + "'");
  if (std::min({bins[0], bins[1]}) < 1 || std::max({bins[0], bins[1], ratio}) > 1 << 12)
    n.error("expected a positive output_height and output_width");
  if (!n.failed() && ratio <= 0)
    n.unsupported("with sampling_ratio 0", "export with a fixed sampling_ratio");
  if (n.failed())
    return;
  mlir::Type type = n.elem(x).isF64() ? n.elem(x) : mlir::Type(n.b.getF32Type());
  Value image = n.create<GatherOp>(n.cast(x, type), batches, 0);
  Value edges = n.add(n.mul(n.cast(rois, type), scale), half ? -0.5 : 0.0);
  llvm::SmallVector<TapAxis> axes;
  for (int64_t d = 0; d < 2; ++d) {
    const SymExpr &size = dims[2 + d];
    Value start = n.slice(edges, 1, 1 - d, 1), length = n.sub(n.slice(edges, 1, 3 - d, 1), start);
    if (!half)
      length = n.create<MaxOp>(length, n.scalar(type, 1));
    // Sample i of all is at (i + 0.5) / ratio bins.
    SymExpr count(bins[d] * ratio);
    Value step = n.mul(n.add(n.iota(type, {SymExpr(1), count}, 1), 0.5), 1.0 / ratio);
    Value position = n.add(start, n.mul(step, n.mul(length, 1.0 / bins[d])));
    Value beside = n.create<OrOp>(n.compare(Predicate::LT, position, n.scalar(type, -1)),
                                  n.compare(Predicate::GT, position, realSize(n, size, type)));
    Value last = n.add(realSize(n, size, type), -1);
    Near near = elementsNear(n, n.create<ClipOp>(position, n.scalar(type, 0), last), 0, 2);
    // [regions, samples down, samples across, 2]
    Dims wide{regions[0], d == 0 ? count : SymExpr(1), d == 0 ? SymExpr(1) : count};
    Dims taps = wide;
    taps.push_back(2);
    wide.push_back(1);
    axes.push_back({n.reshape(asIndex(n, near.place, size), taps), n.reshape(n.create<NotOp>(beside), wide),
                    n.reshape(linearWeight(n, near.distance), taps)});
  }
  Value taps = readTaps(n, image, axes);
  SymExpr each(ratio);
  taps = n.reshape(taps, {regions[0], dims[1], SymExpr(bins[0]), each, SymExpr(bins[1]), each, SymExpr(2), SymExpr(2)});
  Value result = mode == "max" ? n.reduce(ReduceKind::Max, taps, {3, 5, 6, 7}, false)
                               : n.mul(n.reduce(ReduceKind::Sum, taps, {3, 5, 6, 7}, false), 1.0 / (ratio * ratio));
  n.out(n.cast(result, n.elem(x)));
}

//===- DeformConv ----------------------------------------------------------------===//

// x [N, C, in...], weight [M, C/g, kernel...], offset [N, o * places * rank, out...]:
// every place of the kernel reads where the window would, moved by its offset.
static void deformConv(Node &n) {
  Value x = n.in(0), weight = n.in(1), offset = n.in(2), bias = n.opt(3), mask = n.opt(4);
  std::optional<Spatial> s = readSpatial(n, x, kernelOf(n, x, weight));
  if (!s)
    return;
  int64_t rank = s->rank(), groups = n.intAttr("group", 1), offsetGroups = n.intAttr("offset_group", 1);
  Dims dims = n.dims(x), places = s->kernel;
  if (!n.failed() && (groups < 1 || offsetGroups < 1 || n.rank(offset) != n.rank(x)))
    n.error("expected positive groups, and offsets of the input's rank");
  if (n.failed())
    return;
  SymExpr images = dims[0] * SymExpr(offsetGroups), numPlaces = product(places), outputs = n.dims(weight)[0];
  SymExpr perOffset = n.quotient(dims[1], offsetGroups, "the number of channels");
  SymExpr perInput = n.quotient(dims[1], groups, "the number of channels");
  SymExpr perGroup = n.quotient(outputs, groups, "the number of output channels");
  n.requireEqual(n.dims(weight)[1], perInput, "a weight of channels");
  if (n.failed())
    return;
  mlir::Type type = n.elem(x);
  Dims apart{images}, points{images}, numbers;
  apart.append(places);
  points.append(places);
  apart.push_back(rank);
  apart.append(s->counts);
  points.append(s->counts);
  Value moves = n.reshape(offset, apart);
  llvm::SmallVector<TapAxis> axes;
  for (int64_t d = 0; d < rank; ++d) {
    Value move = n.reshape(n.slice(moves, 1 + rank, d, 1), points);
    Dims along(points.size(), SymExpr(1)), across = along;
    along[1 + d] = places[d];
    across[1 + rank + d] = s->counts[d];
    Value regular = n.add(n.mul(n.iota(type, along, 1 + d), s->dilations[d]),
                          n.mul(n.iota(type, across, 1 + rank + d), s->strides[d]));
    Value position = n.add(n.sub(regular, realSize(n, s->low[d], type)), move);
    Near near = elementsNear(n, position, 0, 2);
    axes.push_back(
        {asIndex(n, near.place, dims[2 + d]), isInside(n, near.place, dims[2 + d]), linearWeight(n, near.distance)});
  }
  Dims split{images, perOffset};
  split.append(dims.begin() + 2, dims.end());
  Value taps = readTaps(n, n.reshape(x, split), axes);
  Value columns = n.reduce(ReduceKind::Sum, taps, axesBetween(n.rank(taps) - rank, n.rank(taps)), false);
  if (mask) {
    Dims shape = points;
    shape.insert(shape.begin() + 1, SymExpr(1));
    columns = n.mul(columns, n.reshape(mask, shape));
  }
  // [N, g, C/g * places, out] by [g, M/g, C/g * places]
  SymExpr inner = perInput * numPlaces, out = product(s->counts);
  columns = n.reshape(columns, {dims[0], SymExpr(groups), inner, out});
  Value result = n.create<MatMulOp>(n.reshape(weight, {SymExpr(groups), perGroup, inner}), columns);
  Dims shape{dims[0], outputs}, channel(1 + rank, SymExpr(1));
  shape.append(s->counts);
  channel[0] = outputs;
  result = n.reshape(result, shape);
  n.out(bias ? n.add(result, n.reshape(bias, channel)) : result);
}

void onnx_import::addGridOps(OpTable &t) {
  t.add(kOnnx, "GridSample", gridSample);
  t.add(kOnnx, "AffineGrid", affineGrid);
  t.add(kOnnx, "RoiAlign", roiAlign);
  t.add(kOnnx, "DeformConv", deformConv);
}
