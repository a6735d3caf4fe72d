// Convolution.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// Lower pads, then upper ones.
static std::optional<Ints> getPads(Node &n, Value x, const Ints &kernel, const Ints &strides, const Ints &dilations) {
  size_t rank = kernel.size();
  std::string mode = n.stringAttr("auto_pad", "NOTSET");
  if (mode == "NOTSET" || mode.empty())
    return n.intsAttr("pads").value_or(Ints(2 * rank, 0));
  Ints pads(2 * rank, 0);
  if (mode == "VALID")
    return pads;
  if (mode != "SAME_UPPER" && mode != "SAME_LOWER") {
    n.error("unknown auto_pad '" + printable(mode) + "'");
    return std::nullopt;
  }
  for (size_t i = 0; i < rank; ++i) {
    // The result has ceil(size / stride) elements.
    int64_t size = n.staticDim(x, i + 2, "a dimension with auto_pad");
    if (n.failed())
      return std::nullopt;
    int64_t count = (size + strides[i] - 1) / strides[i];
    int64_t total = std::max<int64_t>((count - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - size, 0);
    pads[i] = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
    pads[i + rank] = total - pads[i];
  }
  return pads;
}

static void conv(Node &n) {
  Value x = n.in(0), weight = n.in(1), bias = n.opt(2);
  if (!n.failed() && (n.rank(x) < 3 || n.rank(weight) != n.rank(x)))
    return n.error("expected input and weight of one rank of at least 3");
  if (n.failed())
    return;
  size_t rank = n.rank(x) - 2;
  Ints kernel;
  for (size_t i = 0; i < rank; ++i)
    kernel.push_back(n.staticDim(weight, i + 2, "the kernel"));
  Ints strides = n.intsAttr("strides").value_or(Ints(rank, 1));
  Ints dilations = n.intsAttr("dilations").value_or(Ints(rank, 1));
  constexpr int64_t limit = 1 << 20;
  auto sane = [&](const Ints &list, size_t size, int64_t low) {
    return list.size() == size && llvm::all_of(list, [&](int64_t i) { return i >= low && i <= limit; });
  };
  if (!sane(strides, rank, 1) || !sane(dilations, rank, 1))
    return n.error("expected " + llvm::Twine(rank) + " positive strides and dilations");
  std::optional<Ints> pads = getPads(n, x, kernel, strides, dilations);
  if (n.failed() || !pads)
    return;
  if (!sane(*pads, 2 * rank, 0))
    return n.error("expected " + llvm::Twine(2 * rank) + " pads that are not negative");
  int64_t groups = n.intAttr("group", 1);
  if (groups < 1)
    return n.error("expected a positive group");
  n.out(n.create<ConvOp>(x, weight, bias, strides, *pads, dilations, groups));
}

void onnx_import::addConvOps(OpTable &t) { t.add(kOnnx, "Conv", conv); }
