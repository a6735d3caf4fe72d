#include "Spatial.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// Larger kernels, strides and pads are no model's; products of a few stay below 2^63.
static constexpr int64_t kLimit = 1 << 20;

bool Spatial::isPadded() const {
  auto isZero = [](const SymExpr &e) { return e.isConstant(0); };
  return !llvm::all_of(low, isZero) || !llvm::all_of(high, isZero) || !llvm::all_of(extra, isZero);
}

Ints onnx_import::axesBetween(int64_t first, int64_t last) {
  return llvm::to_vector(llvm::seq<int64_t>(first, std::max(first, last)));
}

Ints onnx_import::readInts(Node &n, llvm::StringRef name, size_t count, int64_t fallback, int64_t least) {
  Ints list = n.intsAttr(name).value_or(Ints(count, fallback));
  if (list.size() == count && llvm::all_of(list, [&](int64_t i) { return i >= least && i <= kLimit; }))
    return list;
  n.error("expected " + llvm::Twine(count) + " numbers of at least " + llvm::Twine(least) + " as '" + name + "'");
  return Ints(count, fallback);
}

Ints onnx_import::readKernelShape(Node &n, Value x) {
  int64_t rank = n.rank(x) - 2;
  if (!n.failed() && (rank < 1 || !n.attr("kernel_shape")))
    n.error("expected a rank of at least 3 and attribute 'kernel_shape'");
  return n.failed() ? Ints() : readInts(n, "kernel_shape", rank, 1, 1);
}

Dims onnx_import::kernelOf(Node &n, Value x, Value &weight) {
  if (!n.failed() && (n.rank(x) < 3 || n.rank(weight) != n.rank(x)))
    n.error("expected input and weight of one rank of at least 3");
  if (n.failed())
    return {};
  Dims dims = n.dims(weight);
  if (n.attr("kernel_shape")) {
    Ints given = readInts(n, "kernel_shape", dims.size() - 2, 1, 1);
    for (auto [dim, size] : llvm::zip(llvm::MutableArrayRef(dims).drop_front(2), given)) {
      if (dim.getConstant().value_or(size) != size) {
        n.error("expected a kernel_shape that is the weight's");
        return {};
      }
      dim = size;
    }
    weight = n.unify(weight, dims, "the weight");
  }
  Dims kernel(dims.begin() + 2, dims.end());
  if (!llvm::all_of(kernel, [](const SymExpr &k) {
        int64_t size = k.getConstant().value_or(1);
        return size >= 1 && size <= kLimit;
      }))
    n.error("expected a kernel that is not empty");
  return n.failed() ? Dims() : kernel;
}

std::optional<Spatial> onnx_import::readSpatial(Node &n, Value x, Dims kernel) {
  if (n.failed() || kernel.empty())
    return std::nullopt;
  Spatial s;
  s.kernel = std::move(kernel);
  size_t rank = s.rank();
  s.strides = readInts(n, "strides", rank, 1, 1);
  s.dilations = readInts(n, "dilations", rank, 1, 1);
  Ints pads = readInts(n, "pads", 2 * rank, 0, 0);
  std::string mode = n.stringAttr("auto_pad", "NOTSET");
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER", automatic = same || mode == "VALID";
  if (!automatic && mode != "NOTSET" && !mode.empty())
    n.error("unknown auto_pad '" + printable(mode) + "'");
  bool ceil = n.boolAttr("ceil_mode", false) && !automatic;
  if (n.failed())
    return std::nullopt;
  Dims dims = n.dims(x);
  for (size_t i = 0; i < rank; ++i) {
    const SymExpr size = dims[dims.size() - rank + i], stride(s.strides[i]), reach = s.reach(i);
    SymExpr low(automatic ? 0 : pads[i]), high(automatic ? 0 : pads[rank + i]), extra(0), count;
    if (same) {
      count = SymExpr::ceilDiv(size, stride);
      SymExpr total = SymExpr::max((count - SymExpr(1)) * stride + reach - size, 0);
      SymExpr half = SymExpr::floorDiv(total, 2);
      low = mode == "SAME_UPPER" ? half : total - half;
      high = total - low;
    }
    SymExpr padded = size + low + high;
    if ((padded - reach).getConstant().value_or(0) < 0)
      n.error("expected a kernel that fits into " + padded.str() + " elements, but it takes " + reach.str());
    else
      n.require(reach, padded);
    if (ceil) {
      // A window that would begin in the upper padding does not count.
      count = SymExpr::min(SymExpr::ceilDiv(padded - reach, stride) + SymExpr(1), SymExpr::ceilDiv(size + low, stride));
      extra = SymExpr::max((count - SymExpr(1)) * stride + reach - padded, 0);
    } else if (!same) {
      count = SymExpr::floorDiv(padded - reach, stride) + SymExpr(1);
    }
    s.low.push_back(low);
    s.high.push_back(high);
    s.extra.push_back(extra);
    s.counts.push_back(count);
  }
  return n.failed() ? std::nullopt : std::optional(std::move(s));
}

void onnx_import::requireSize(Node &n, Value x, unsigned i, const SymExpr &wanted, const llvm::Twine &what) {
  Dims dims = n.dims(x);
  if (n.failed())
    return;
  if (i >= dims.size() || (dims[i] - wanted).getConstant().value_or(0) != 0)
    return n.error("expected " + what + " of " + wanted.str() + ", but got " +
                   (i < dims.size() ? dims[i].str() : std::string("too few dimensions")));
  n.require(wanted, dims[i]);
  n.require(dims[i], wanted);
}

Value onnx_import::sizeScalar(Node &n, const SymExpr &size) {
  if (n.failed())
    return {};
  if (size.isUnknown()) {
    n.error("expected a size that follows from the shapes of inputs");
    return {};
  }
  return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {size}));
}

std::optional<llvm::SmallVector<double>> onnx_import::constantFloats(Value value) {
  mlir::Operation *op = value ? value.getDefiningOp() : nullptr;
  if (!llvm::isa_and_nonnull<ConstantOp, WeightOp>(op))
    return std::nullopt;
  llvm::Expected<llvm::SmallVector<Tensor>> tensors = tryEvaluateOp(op, {});
  if (!tensors) {
    llvm::consumeError(tensors.takeError());
    return std::nullopt;
  }
  if (!tensors->front().isFloat())
    return std::nullopt;
  return llvm::to_vector(tensors->front().floats());
}

Value onnx_import::padOrCut(Node &n, Value x, Dims low, Dims high, Value filler) {
  if (n.failed() || !x)
    return {};
  Dims kept = n.dims(x), starts(kept.size(), SymExpr(0)), result;
  bool cuts = false, pads = false;
  for (size_t i = 0; i < kept.size(); ++i) {
    for (SymExpr *side : {&low[i], &high[i]}) {
      if (side->getConstant().value_or(0) >= 0) {
        pads |= !side->isConstant(0);
        continue;
      }
      kept[i] += *side;
      if (side == &low[i])
        starts[i] = SymExpr(0) - *side;
      *side = 0;
      cuts = true;
    }
    if (kept[i].getConstant().value_or(0) < 0) {
      n.error("expected pads that leave dimension " + llvm::Twine(i));
      return {};
    }
    result.push_back(kept[i] + low[i] + high[i]);
  }
  if (cuts)
    x = n.create<SliceOp>(x, starts, kept);
  if (!pads || !x)
    return x;
  mlir::MLIRContext *context = n.b.getContext();
  return n.create<PadOp>(getTensorType(result, n.elem(x)), x, filler, getSymValues(context, low),
                         getSymValues(context, high));
}

Value onnx_import::makeWindows(Node &n, Value x, const Spatial &s, Value filler) {
  if (n.failed() || !x)
    return {};
  int64_t lead = n.rank(x) - static_cast<int64_t>(s.rank());
  Dims low(lead, SymExpr(0)), high(lead, SymExpr(0));
  for (size_t i = 0; i < s.rank(); ++i) {
    low.push_back(s.low[i]);
    high.push_back(s.high[i] + s.extra[i]);
  }
  Ints axes = axesBetween(lead, n.rank(x)), kernel;
  for (const SymExpr &size : s.kernel) {
    if (!size.getConstant()) {
      n.error("expected a kernel_shape of numbers, but got '" + size.str() + "'");
      return {};
    }
    kernel.push_back(*size.getConstant());
  }
  Value windows = n.create<WindowsOp>(padOrCut(n, x, low, high, filler), axes, kernel, s.strides, s.dilations);
  // With ceil_mode there may be one window too many.
  for (size_t i = 0; i < s.rank() && windows; ++i)
    windows = n.slice(windows, lead + i, 0, s.counts[i]);
  return windows;
}
