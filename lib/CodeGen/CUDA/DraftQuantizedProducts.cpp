// Products whose weights, or both operands, are integers or e4m3: what they read, and the tile that
// a block computes (mma_gemm_narrow.cuh, mma_gemm.cuh; few rows: gemv.cuh, gemv_integer.cuh).
#include "Products.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

namespace {

constexpr int64_t kStages = 4;

/// NarrowTile of mma_gemm_narrow.cuh.
struct NarrowTile {
  int64_t m, n, warpM, warpN;
  int64_t threads() const { return 32 * (m / warpM) * (n / warpN); }
  int64_t sharedBytes(int64_t xBytes, int64_t sliceBytes) const {
    const int64_t ring = kStages * (m * 32 * xBytes + n * sliceBytes), result = threads() / 32 * 16 * (warpN + 4) * 4;
    return std::max(ring, result);
  }
};
constexpr NarrowTile kLargeTile{128, 128, 64, 32}, kSmallTile{64, 64, 32, 32};

int64_t countTiles(const SymExpr &rows, int64_t m, int64_t n, int64_t columns) {
  return llvm::divideCeil(rows.getConstant().value_or(0), m) * llvm::divideCeil(columns, n);
}

/// The sides of a product as text and numbers.
struct Product {
  Value x;
  SymExpr rows;
  int64_t n, k;

  int64_t xBytes() const { return getElementTypeOrSelf(x).getIntOrFloatBitWidth() / 8; }
  int64_t alignment() const { return std::min(alignmentOf(x, xBytes()), alignmentOf(SymExpr(k), xBytes())); }
  std::string shape(Draft &d) const {
    const std::string width = std::to_string(k);
    return "{" + d.size(rows, "rows") + ", " + std::to_string(n) + ", " + width + ", " + width + ", 0}";
  }
};

constexpr int64_t kFewRowsOfFloat8 = 4; // kFewRows<e4m3>

/// How many blocks there are where up to `most` rows are few, which mostly shows at run
/// time, and more are `tiles`.
SymExpr blocksOf(const Product &p, const FewRows &few, int64_t most, const SymExpr &tiles) {
  const SymExpr isFew = isAtMost(p.rows, most), some = SymExpr::min(p.rows, SymExpr(1));
  return isFew * some * SymExpr(static_cast<int64_t>(llvm::divideCeil(p.n, few.columns()))) +
         (SymExpr(1) - isFew) * tiles;
}

std::string fewText(const FewRows &few) {
  return "llmopt::AnyRows<" + std::to_string(few.perWarp) + ", " + std::to_string(few.sharing) + ">";
}

/// A weight as the kernels take it: its type, the object, and bytes of 32 elements.
struct Weight {
  std::string type, object;
  int64_t sliceBytes;
};

Weight int4Weight(int64_t group, const char *scale, bool zeroPoints, int64_t offset, const Product &p,
                  const std::string &w) {
  return {"llmopt::Int4Weight<" + std::to_string(group) + ", " + scale + ", " + boolText(zeroPoints) +
              (offset == 8 ? "" : ", " + std::to_string(offset)) + ">",
          "llmopt::packed_int4<Weight>(" + w + ", " + std::to_string(p.n) + ", " + std::to_string(p.k) + ")", 16};
}

/// The call, and what launches it. `xType` is that of an element of x, `scales` what follows the epilogue.
void finishNarrow(const Product &p, const std::string &xType, const std::string &x, const Weight &weight,
                  const std::string &epilogue, const std::string &scales, Draft &d) {
  Type element = getElementTypeOrSelf(p.x);
  const std::string mma = element.isF16()    ? "MmaF16"
                          : element.isBF16() ? "MmaBf16"
                          : element.isF32()  ? "MmaF32"
                                             : "MmaS8";
  const int64_t size = p.xBytes(), few = getFewRows(size);
  // f32 takes the registers of a large tile twice.
  const bool large = size < 4 && p.rows.getConstant().value_or(0) > few &&
                     countTiles(p.rows, kLargeTile.m, kLargeTile.n, p.n) >= kEnoughBlocks;
  const NarrowTile &tile = large ? kLargeTile : kSmallTile;
  const bool anyRows = p.rows.getConstant().value_or(0) <= few;
  d.threads = static_cast<int>(tile.threads());
  d.sharedBytes = tile.sharedBytes(size, weight.sliceBytes);
  const SymExpr tiles = SymExpr::ceilDiv(p.rows, tile.m) * SymExpr(static_cast<int64_t>(llvm::divideCeil(p.n, tile.n)));
  const FewRows form = chooseFewRows(p.n);
  d.step.tiles = anyRows ? blocksOf(p, form, few, tiles) : tiles;
  const std::string shape = p.shape(d);
  d.body = "using Weight = " + weight.type + ";\n  using Tile = llmopt::NarrowTile<" + xType + ", Weight";
  for (int64_t number : {tile.m, tile.n, tile.warpM, tile.warpN, kStages})
    d.body += ", " + std::to_string(number);
  d.body += ">;\n  static_assert(Tile::kThreads == " + std::to_string(d.threads) +
            " && Tile::kSharedBytes == " + std::to_string(d.sharedBytes) +
            ", \"as launched\");\n  using Epilogue = " + epilogue + "};\n  const Weight weight = " + weight.object +
            ";\n  llmopt::" + (anyRows ? "narrow_any_rows" : "mma_gemm_narrow") + "<llmopt::" + mma + ", Tile, " +
            (anyRows ? fewText(form) + ", " : "") + std::to_string(p.alignment()) + ">(" + x + ", weight, " + shape +
            ", epilogue" + scales + ");";
}

/// What all products read and write behind their operands, as GemmEpilogue takes it.
template <typename Gemm> struct Ends {
  std::string bias, residual, y;
  Ends(Gemm gemm, Draft &d) {
    const std::string type = typeText(getElementTypeOrSelf(gemm.getType()));
    bias = d.optional(gemm.getBias(), biasType(gemm.getBias()), "bias");
    residual = d.optional(gemm.getResidual(), "const " + type, "residual");
    y = d.buffer(type, "y");
  }
  std::string text(Gemm gemm, const std::string &rowScale, const std::string &columnScale, int stride,
                   const std::string &zero = "", const std::string &sums = "") const {
    const bool scaled = columnScale != "nullptr";
    return epilogueText(gemm.getType(), gemm.getActivation(), gemm.getBias(), gemm.getResidual(), scaled, !zero.empty(),
                        y + ", " + bias + ", " + residual + ", " + rowScale + ", " + columnScale + ", " +
                            std::to_string(stride) + ", 1.0f, 1.0f" + (zero.empty() ? "" : ", " + zero + ", " + sums));
  }
};

template <typename Gemm> Product productOf(Gemm gemm) {
  return {gemm.getInput(), rowsOf(gemm.getType()), static_cast<int64_t>(gemm.getN()),
          static_cast<int64_t>(gemm.getK())};
}

std::string sizesText(const Product &p) { return "_" + std::to_string(p.k) + "_" + std::to_string(p.n); }

LogicalResult expectRows(Operation *op, kernel::Layout layout) {
  if (layout == kernel::Layout::Rows)
    return success();
  return op->emitError() << "expected a weight in rows, but got " << kernel::stringifyLayout(layout);
}

LogicalResult expectChunks(Operation *op, Value weight) {
  if (cast<RankedTensorType>(weight.getType()).getDimSize(2) == kChunkBytes)
    return success();
  return op->emitError() << "expected a weight in rows of " << kChunkBytes << ", but got " << weight.getType();
}

/// Products of bytes by bytes: `fewCall` for up to `most` rows or where that shows at run
/// time, else `call`; both without what follows the tile.
void finishBytes(const Product &p, const std::string &fewCall, const std::string &call, int64_t most,
                 const std::string &x, const std::string &w, const std::string &epilogue, Draft &d) {
  const Tile &tile = chooseTile(p.rows, p.n, /*wide=*/false);
  const bool anyRows = p.rows.getConstant().value_or(0) <= most && tile.threads == kFewThreads;
  const SymExpr tiles = SymExpr::ceilDiv(p.rows, tile.m) * SymExpr(static_cast<int64_t>(llvm::divideCeil(p.n, tile.n)));
  const FewRows few = chooseFewRows(p.n);
  d.threads = static_cast<int>(tile.threads);
  d.sharedBytes = tile.sharedBytes;
  d.step.tiles = anyRows ? blocksOf(p, few, most, tiles) : tiles;
  const std::string shape = p.shape(d);
  d.body = std::string("using Tile = llmopt::") + tile.name +
           ";\n  static_assert(Tile::kThreads == " + std::to_string(tile.threads) +
           " && Tile::kSharedBytes == " + std::to_string(tile.sharedBytes) +
           ", \"as launched\");\n  using Epilogue = " + epilogue +
           "};\n  llmopt::" + (anyRows ? fewCall + fewText(few) + ", " : call) + std::to_string(p.alignment()) + ">(" +
           x + ", " + w + ", " + shape + ", epilogue);";
}

} // namespace

LogicalResult cuda::draftGemmWQ(kernel::GemmWQOp gemm, Draft &d) {
  if (failed(expectRows(gemm, gemm.getLayout())))
    return failure();
  const Product p = productOf(gemm);
  const int64_t group = gemm.getGroup();
  if (!group && failed(expectChunks(gemm, gemm.getWeight())))
    return failure();
  Type element = getElementTypeOrSelf(gemm.getInput());
  const std::string type = typeText(element);
  d.hint = std::string(group ? "gemm_w4" : "gemm_w8") +
           (element.isF16()    ? "_f16"
            : element.isBF16() ? "_bf16"
                               : "") +
           sizesText(p);
  const std::string x = d.buffer("const " + type, "x"), w = d.buffer(group ? "const uint8_t" : "const int8_t", "w"),
                    wScale = d.optional(gemm.getWeightScale(), "const float", "w_scale");
  const Ends<kernel::GemmWQOp> ends(gemm, d);
  const Weight weight = group ? int4Weight(group, gemm.getHalfScales() ? "llmopt::f16" : "float", gemm.getZeroPoints(),
                                           gemm.getOffset(), p, w)
                              : Weight{"llmopt::Int8Weight", "{" + w + ", " + wScale + "}", 32};
  finishNarrow(p, type, x, weight, ends.text(gemm, "nullptr", "nullptr", 0), "", d);
  return success();
}

LogicalResult cuda::draftGemmW4A8(kernel::GemmW4A8Op gemm, Draft &d) {
  if (failed(expectRows(gemm, gemm.getLayout())))
    return failure();
  const Product p = productOf(gemm);
  d.hint = "gemm_w4a8" + sizesText(p);
  const std::string x = d.buffer("const int8_t", "x"), xScale = d.buffer("const float", "x_scale"),
                    w = d.buffer("const uint8_t", "w");
  const Ends<kernel::GemmW4A8Op> ends(gemm, d);
  const int64_t perRow = *getDims(gemm.getInputScale()).back().getConstant();
  finishNarrow(p, "int8_t", x, int4Weight(gemm.getGroup(), "float", gemm.getZeroPoints(), gemm.getOffset(), p, w),
               ends.text(gemm, "nullptr", "nullptr", 0), ", {" + xScale + ", " + std::to_string(perRow) + "}", d);
  return success();
}

LogicalResult cuda::draftGemmS8(kernel::GemmS8Op gemm, Draft &d) {
  if (failed(expectRows(gemm, gemm.getLayout())) || failed(expectChunks(gemm, gemm.getWeight())))
    return failure();
  const Product p = productOf(gemm);
  d.hint = "gemm_s8" + sizesText(p);
  const std::string x = d.buffer("const int8_t", "x"), xScale = d.buffer("const float", "x_scale"),
                    zero = gemm.getInputZeroPoint() ? d.buffer("const int8_t", "x_zero") : "",
                    sums = gemm.getColumnSums() ? d.buffer("const int32_t", "column_sums") : "",
                    w = d.buffer("const int8_t", "w"), wScale = d.buffer("const float", "w_scale");
  const Ends<kernel::GemmS8Op> ends(gemm, d);
  const bool perRow = !lm::getNumElements(gemm.getInputScale().getType()).isConstant(1);
  finishBytes(p, "s8_any_rows<Tile, ", "mma_gemm<llmopt::MmaS8, Tile, ", getFewRows(1), x, w,
              ends.text(gemm, xScale, wScale, perRow, zero, sums), d);
  return success();
}

LogicalResult cuda::draftGemmF8(kernel::GemmF8Op gemm, Draft &d) {
  if (failed(expectChunks(gemm, gemm.getWeight())))
    return failure();
  const Product p = productOf(gemm);
  d.hint = "gemm_f8" + sizesText(p);
  const std::string x = d.buffer("const llmopt::e4m3", "x"), xScale = d.buffer("const float", "x_scale"),
                    w = d.buffer("const llmopt::e4m3", "w"), wScale = d.buffer("const float", "w_scale");
  const Ends<kernel::GemmF8Op> ends(gemm, d);
  finishBytes(p, "gemm_any_rows<llmopt::MmaE4m3, Tile, ", "mma_gemm<llmopt::MmaE4m3, Tile, ", kFewRowsOfFloat8, x, w,
              ends.text(gemm, xScale, wScale, 1), d);
  return success();
}
