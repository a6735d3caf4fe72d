// Products by constant weights are tensor-core kernels (mma_gemm.cuh); which tile of
// the result a block computes is chosen here.
#include "Products.h"

#include "llmopt/CodeGen/CUDA/EmitCuda.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"

#include <numeric>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

namespace {

constexpr int64_t kMatmulThreads = 256; // of batched_matmul, one per element

constexpr Tile kTiles[] = {
    {"GemmTile128x128", 128, 128, 256, 64 << 10, 64},
    {"GemmTile128x64", 128, 64, 256, 48 << 10, 64},
    {"GemmTile64x64", 64, 64, 128, 32 << 10, 64},
    {"GemmTile64x32", 64, 32, 128, 48 << 10, 128},
};

/// K is cut where tiles are too few, into parts of so many bytes at least: a part fills the
/// ring of slices twice, and costs a tile written and read.
constexpr int64_t kMostSplits = 8, kLeastPartBytes = 512;

/// How many parts K may have.
int64_t getMostSplits(const Tile &tile, int64_t k, int64_t size) {
  const int64_t slices = llvm::divideCeil(k * size, tile.sliceBytes);
  return std::clamp<int64_t>(slices / (kLeastPartBytes / tile.sliceBytes), 1, kMostSplits);
}

} // namespace

const Tile &cuda::chooseTile(const SymExpr &rows, int64_t n, bool wide) {
  std::optional<int64_t> m = rows.getConstant();
  if (!m)
    return n > 32 ? kTiles[2] : kTiles[3];
  for (const Tile &tile : ArrayRef(kTiles).drop_front(wide ? 1 : 0))
    if (llvm::divideCeil(*m, tile.m) * llvm::divideCeil(n, tile.n) >= kEnoughBlocks)
      return tile;
  return kTiles[3];
}

namespace {

struct Product {
  Value x;
  SymExpr rows, stride, offset;
  int64_t n, k;
};

/// The call, and what launches it.
LogicalResult finish(const Product &p, const std::string &mma, const std::string &x, const std::string &w,
                     const std::string &epilogue, bool wide, Draft &d) {
  const int64_t size = getElementTypeOrSelf(p.x).getIntOrFloatBitWidth() / 8;
  const Tile &tile = chooseTile(p.rows, p.n, wide);
  const int64_t align = std::min({alignmentOf(p.x, size), alignmentOf(p.stride, size), alignmentOf(p.offset, size)});
  const SymExpr tiles = SymExpr::ceilDiv(p.rows, tile.m) * SymExpr(static_cast<int64_t>(llvm::divideCeil(p.n, tile.n)));
  // Whether there are few rows, mostly shows at run time.
  const bool anyRows = p.rows.getConstant().value_or(0) <= getFewRows(size) && tile.threads == kFewThreads;
  const SymExpr isFew = anyRows ? isAtMost(p.rows, getFewRows(size)) : SymExpr(0);
  const SymExpr splits = chooseSplits(tiles, SymExpr(getMostSplits(tile, p.k, size)), kEnoughBlocks);
  std::string split;
  if (!splits.isConstant(1)) {
    const SymExpr some = SymExpr::min(splits - SymExpr(1), SymExpr(1)) * (SymExpr(1) - isFew);
    const std::string partials =
        d.temporary("uint32_t", "partials", some * tiles * splits * SymExpr(tile.m * tile.n * 4));
    const std::string counters = d.zeros(some * tiles, "counters");
    split = ", {" + d.size(splits, "splits") + ", " + partials + ", " + counters + "}";
    d.note = "parts of K " + splits.str();
  }
  const std::string rows = d.size(p.rows, "rows");
  const std::string shape = "{" + rows + ", " + std::to_string(p.n) + ", " + std::to_string(p.k) + ", " +
                            d.size(p.stride, "row_stride") + ", " + d.size(p.offset, "row_offset") + "}";
  const std::string name = std::string("llmopt::") + tile.name;
  d.threads = static_cast<int>(tile.threads);
  d.sharedBytes = tile.sharedBytes;
  const FewRows few = chooseFewRows(p.n);
  std::string call = "llmopt::mma_gemm<llmopt::" + mma + ", Tile, ";
  d.step.tiles = tiles * splits;
  if (anyRows) {
    call = "llmopt::gemm_any_rows<llmopt::" + mma + ", Tile, llmopt::AnyRows<" + std::to_string(few.perWarp) + ", " +
           std::to_string(few.sharing) + ">, ";
    d.prologue = "llmopt::prefetch_few_rows<llmopt::AnyRows<" + std::to_string(few.perWarp) + ", " +
                 std::to_string(few.sharing) + ">>(" + w + ", " + rows + ", " + std::to_string(p.n) + ", " +
                 std::to_string(p.k) + ");";
    const SymExpr some = SymExpr::min(p.rows, SymExpr(1));
    d.step.tiles = isFew * some * SymExpr(static_cast<int64_t>(llvm::divideCeil(p.n, few.columns()))) +
                   (SymExpr(1) - isFew) * tiles * splits;
  }
  d.body = "using Tile = " + name + ";\n  static_assert(Tile::kThreads == " + std::to_string(tile.threads) +
           " && Tile::kSharedBytes == " + std::to_string(tile.sharedBytes) +
           ", \"as launched\");\n  using Epilogue = " + epilogue + "};\n  " + call + std::to_string(align) +
           (split.empty() ? "" : ", true") + ">(" + x + ", " + w + ", " + shape + ", epilogue" + split + ");";
  return success();
}

} // namespace

FewRows cuda::chooseFewRows(int64_t n) {
  return n >= 16 * kEnoughBlocks ? FewRows{4, 1} : n >= 4 * kEnoughBlocks ? FewRows{4, 4} : FewRows{1, 4};
}

std::string cuda::biasType(Value bias) { return "const " + (bias ? typeText(getElementTypeOrSelf(bias)) : "float"); }

std::string cuda::epilogueText(Type result, kernel::Activation activation, Value bias, Value residual, bool scales,
                               bool zero, const std::string &fields) {
  const std::string vector = bias ? typeText(getElementTypeOrSelf(bias)) : "float";
  const std::string type = typeText(getElementTypeOrSelf(result));
  return "llmopt::GemmEpilogue<" + type + ", " + activationText(activation) + ", " + boolText(bool(bias)) + ", " +
         boolText(bool(residual)) + ", " + boolText(scales) + ", " + type + ", " + vector + (zero ? ", true" : "") +
         ">;\n  const Epilogue epilogue{" + fields;
}

namespace {

/// Fills in what cuBLASLt can compute: operands of one 16-bit type, an activation or a
/// residual, not both.
void offerToLibrary(kernel::GemmOp gemm, const Product &p, Draft &d) {
  Type element = getElementTypeOrSelf(p.x);
  const kernel::Activation activation = gemm.getActivation();
  const bool isNone = activation == kernel::Activation::None;
  if (element.isF32() || gemm.getAlpha().convertToDouble() != 1.0 || (gemm.getResidual() && !isNone) ||
      (gemm.getBias() && getElementTypeOrSelf(gemm.getBias()) != element) ||
      (!isNone && activation != kernel::Activation::Relu && activation != kernel::Activation::GeluTanh))
    return;
  ModelTables::LibraryProduct product;
  uint32_t next = 0;
  product.x = next++;
  product.w = next++;
  product.bias = gemm.getBias() ? next++ : LLMOPT_NONE;
  product.residual = gemm.getResidual() ? next++ : LLMOPT_NONE;
  product.y = next++;
  product.dtype = element.isF16() ? LLMOPT_F16 : LLMOPT_BF16;
  product.activation = isNone                                   ? LLMOPT_LIBRARY_NONE
                       : activation == kernel::Activation::Relu ? LLMOPT_LIBRARY_RELU
                                                                : LLMOPT_LIBRARY_GELU_TANH;
  product.n = p.n;
  product.k = p.k;
  d.libraryType = element.isF16() ? "f16" : "bf16";
  llvm::SmallVector<StringRef> parts;
  if (gemm.getBias())
    parts.push_back("bias");
  if (!isNone)
    parts.push_back(kernel::stringifyActivation(activation));
  if (gemm.getResidual())
    parts.push_back("residual");
  d.libraryEpilogue = parts.empty() ? "none" : llvm::join(parts, "+");
  d.step.libraryRows = p.rows;
  d.step.libraryStride = p.stride;
  d.step.libraryOffset = p.offset;
  d.step.library = product;
}

} // namespace

LogicalResult cuda::draftGemm(kernel::GemmOp gemm, Draft &d) {
  Type element = getElementTypeOrSelf(gemm.getInput());
  Product p{gemm.getInput(),
            rowsOf(gemm.getType()),
            SymExpr(static_cast<int64_t>(gemm.getK())),
            SymExpr(0),
            static_cast<int64_t>(gemm.getN()),
            static_cast<int64_t>(gemm.getK())};
  if (gemm.getRowStride()) {
    p.stride = lm::getExprs(*gemm.getRowStride())[0];
    p.offset = lm::getExprs(*gemm.getRowOffset())[0];
  }
  const std::string type = typeText(element);
  d.hint = std::string(element.isF16()    ? "gemm_f16"
                       : element.isBF16() ? "gemm_bf16"
                                          : "gemm") +
           "_" + std::to_string(p.k) + "_" + std::to_string(p.n);
  std::string x = d.buffer("const " + type, "x"), w = d.buffer("const " + type, "w"),
              bias = d.optional(gemm.getBias(), biasType(gemm.getBias()), "bias"),
              residual = d.optional(gemm.getResidual(), "const " + type, "residual"), y = d.buffer(type, "y");
  offerToLibrary(gemm, p, d);
  const std::string fields = y + ", " + bias + ", " + residual + ", nullptr, nullptr, 0, " +
                             floatLiteral(gemm.getAlpha().convertToDouble()) + ", 1.0f";
  return finish(p,
                element.isF16()    ? "MmaF16"
                : element.isBF16() ? "MmaBf16"
                                   : "MmaF32",
                x, w,
                epilogueText(gemm.getType(), gemm.getActivation(), gemm.getBias(), gemm.getResidual(),
                             /*scales=*/false, /*zero=*/false, fields),
                /*wide=*/element.isF32(), d);
}

LogicalResult cuda::draftMatmul(kernel::BatchedMatmulOp matmul, Draft &d) {
  SmallVector<SymExpr> a = getDims(matmul.getLhs()), b = getDims(matmul.getRhs()), y = getDims(matmul.getType());
  // One stride per operand: leading dimensions are all there, or all missing.
  auto batchStride = [&](ArrayRef<SymExpr> dims) -> std::optional<SymExpr> {
    ArrayRef<SymExpr> batch = dims.drop_back(2), whole = ArrayRef(y).drop_back(2);
    if (product(batch).isConstant(1))
      return SymExpr(0);
    return product(batch) == product(whole) ? std::optional(dims[dims.size() - 2] * dims.back()) : std::nullopt;
  };
  std::optional<SymExpr> strideA = batchStride(a), strideB = batchStride(b);
  if (!strideA || !strideB)
    return matmul.emitError() << "no CUDA kernel for a matrix product that broadcasts " << matmul.getLhs().getType()
                              << " and " << matmul.getRhs().getType();
  SymExpr batch = product(ArrayRef(y).drop_back(2)), m = y[y.size() - 2], n = y.back(),
          k = a[a.size() - (matmul.getTransposeLhs() ? 2 : 1)];
  const std::string type = typeText(getElementTypeOrSelf(matmul.getType()));
  d.hint = "batched_matmul";
  std::string lhs = d.buffer("const " + type, "a"), rhs = d.buffer("const " + type, "b"), out = d.buffer(type, "y");
  std::string shape = d.size(batch, "batch") + ", " + d.size(m, "m") + ", " + d.size(n, "n") + ", " + d.size(k, "k") +
                      ", " + d.size(*strideA, "batch_stride_a") + ", " + d.size(*strideB, "batch_stride_b");
  d.body = std::string("llmopt::batched_matmul<") + type + ", " + boolText(matmul.getTransposeLhs()) + ", " +
           boolText(matmul.getTransposeRhs()) + ">(" + lhs + ", " + rhs + ", " + out + ", {" + shape + "}, " +
           floatLiteral(matmul.getAlpha().convertToDouble()) + ");";
  d.step.tiles = SymExpr::ceilDiv(batch * m * n, kMatmulThreads);
  return success();
}
