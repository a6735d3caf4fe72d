// Attention on tensor cores for heads of up to 128 elements (flash_attention.cuh), one
// block per query beyond that (attention.cuh); and what appends to a cache.
#include "Drafts.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

namespace {

constexpr int64_t kAttentionThreads = 128; // of attention.cuh
constexpr int64_t kFewQueryRows = 16;      // of flash_attention.cuh

/// Keys of few queries are cut into parts of so many at least, until two blocks come to a
/// multiprocessor: what they do is wait for memory.
constexpr int64_t kMostKeySplits = 16, kLeastPartKeys = 128, kBlocksOfFew = 2 * kEnoughBlocks;

/// Rows of a block: 16 per warp.
int64_t chooseRows(const SymExpr &queries) {
  std::optional<int64_t> count = queries.getConstant();
  return !count || *count > 32 ? 64 : *count > 16 ? 32 : 16;
}

int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// FlashForm::kSharedBytes; the generated text asserts it.
int64_t flashSharedBytes(int64_t rows, int64_t dim, int64_t valueDim, int64_t size) {
  const int64_t keys = size == 2 ? 64 : 16, pitch = roundUp(dim, 32 / size) * size + 16,
                valuePitch = roundUp(valueDim, 16) * size + 16;
  return rows * pitch + 2 * keys * (pitch + valuePitch);
}

} // namespace

LogicalResult cuda::draftAttention(kernel::AttentionOp attention, Draft &d) {
  if (attention.getKeyScale())
    return attention.emitError() << "expected keys and values of float32 on a GPU, but got int8";
  SmallVector<SymExpr> q = getDims(attention.getQuery()), k = getDims(attention.getKey()),
                       v = getDims(attention.getValue());
  Type element = getElementTypeOrSelf(attention.getQuery());
  const std::string type = typeText(element);
  const int64_t heads = attention.getNumHeads(), group = heads / static_cast<int64_t>(attention.getKvNumHeads()),
                dim = attention.getHeadDim(), valueDim = attention.getValueHeadDim();
  d.hint = std::string(element.isF16()    ? "attention_f16"
                       : element.isBF16() ? "attention_bf16"
                                          : "attention") +
           "_" + std::to_string(heads) + "_" + std::to_string(dim);
  auto columns = [&](const char *name, uint64_t offset) {
    return d.buffer("const " + type, name) + (offset ? " + " + std::to_string(offset) : "");
  };
  std::string query = columns("q", attention.getQOffset()), key = columns("k", attention.getKOffset()),
              value = columns("v", attention.getVOffset()),
              mask = d.optional(attention.getMask(), "const void", "mask"), out = d.buffer(type, "y");
  const bool flash = dim <= kMaxFlashDim && valueDim <= kMaxFlashDim;
  // Whether queries are few, mostly shows at run time: a prompt has many, a token behind it one.
  // Both kernels of f32 beside each other need more registers than there are.
  const bool mayBeFew = flash && !element.isF32() && q[1].getConstant().value_or(0) * group <= kFewQueryRows;
  const int64_t rows = mayBeFew ? 64 : chooseRows(q[1]);
  SymExpr isFew(0), splits(1), units = q[0] * SymExpr(heads / group);
  std::string split = "{1, nullptr, nullptr}";
  if (mayBeFew) {
    isFew = isAtMost(q[1] * SymExpr(group), kFewQueryRows);
    splits = chooseSplits(units, SymExpr::min(SymExpr(kMostKeySplits), SymExpr::ceilDiv(k[1], SymExpr(kLeastPartKeys))),
                          kBlocksOfFew);
    const SymExpr some = SymExpr::min(splits - SymExpr(1), SymExpr(1)) * isFew;
    const std::string partials =
        d.temporary("float", "partials", some * units * splits * SymExpr(rows * (roundUp(valueDim, 16) + 2) * 4));
    const std::string counters = d.zeros(some * units, "counters");
    split = "{" + d.size(splits, "splits") + ", " + partials + ", " + counters + "}";
    d.note = "of few queries, parts of the keys " + splits.str();
  }
  SmallVector<SymExpr> strides(4, SymExpr(0));
  if (attention.getMask() && attention.getMaskKind() != lm::MaskKind::KeyLengths) {
    SmallVector<SymExpr> dims = getDims(attention.getMask());
    for (int64_t i = 0; i < 4; ++i)
      if (!dims[i].isConstant(1))
        strides[i] = product(ArrayRef(dims).drop_front(i + 1));
  }
  std::string shape = "{" + d.size(q[1], "query_length") + ", " + d.size(k[1], "key_length") + ", " +
                      std::to_string(heads) + ", " + std::to_string(group) + ", " + d.size(q[2], "query_row") + ", " +
                      d.size(k[2], "key_row") + ", " + d.size(v[2], "value_row") + ", " +
                      d.size(kernel::getTokenRows(attention.getKey()), "key_rows") + ", " +
                      d.size(kernel::getTokenRows(attention.getValue()), "value_rows") + ", " + std::to_string(dim) +
                      ", " + std::to_string(valueDim);
  const char *names[] = {"mask_batch", "mask_head", "mask_query", "mask_key"};
  for (auto [stride, name] : llvm::zip(strides, names))
    shape += ", " + d.size(stride, name);
  shape += "}";
  const std::string form = "llmopt::MaskKind::" + lm::stringifyMaskKind(attention.getMaskKind()).str() + ", " +
                           boolText(attention.getCausal()) +
                           ", llmopt::FullyMasked::" + lm::stringifyFullyMasked(attention.getFullyMasked()).str();
  const std::string scale = floatLiteral(attention.getScale().convertToDouble());
  if (!flash) {
    d.threads = kAttentionThreads;
    d.body = "llmopt::attention<" + form + ", " + std::to_string(valueDim) + ">(" + query + ", " + key + ", " + value +
             ", " + mask + ", " + out + ", " + shape + ", " + scale + ");";
    d.step.tiles = q[0] * q[1] * SymExpr(heads);
    return success();
  }
  const int64_t size = element.getIntOrFloatBitWidth() / 8;
  int64_t align = kChunkBytes;
  auto restrict = [&](Value operand, uint64_t offset, int64_t head) {
    for (int64_t limit : {alignmentOf(operand, size), alignmentOf(getDims(operand)[2], size),
                          alignmentOf(SymExpr(static_cast<int64_t>(offset)), size), alignmentOf(SymExpr(head), size)})
      align = std::min(align, limit);
  };
  restrict(attention.getQuery(), attention.getQOffset(), dim);
  restrict(attention.getKey(), attention.getKOffset(), dim);
  restrict(attention.getValue(), attention.getVOffset(), valueDim);
  d.threads = static_cast<int>(2 * rows);
  d.sharedBytes = flashSharedBytes(rows, dim, valueDim, size);
  const char *mma = element.isF16() ? "MmaF16" : element.isBF16() ? "MmaBf16" : "MmaF32";
  auto formText = [&](const char *kind) {
    return std::string("llmopt::FlashForm<llmopt::") + mma + ", " + std::to_string(dim) + ", " +
           std::to_string(valueDim) + ", " + std::to_string(rows) + ", " + form + ", llmopt::FlashKind::" + kind +
           ", " + std::to_string(align) + ">";
  };
  d.body = "using Form = " + formText("batched") + (mayBeFew ? ";\n  using Few = " + formText("decode") : "") +
           ";\n  static_assert(Form::kThreads == " + std::to_string(d.threads) +
           " && Form::kSharedBytes == " + std::to_string(d.sharedBytes) +
           ", \"as launched\");\n  llmopt::" + (mayBeFew ? "flash_any_queries<Form, Few>" : "flash_attention<Form>") +
           "(" + query + ", " + key + ", " + value + ", " + out + ", {" + shape + ", " + mask + ", nullptr, nullptr, " +
           scale + ", 1.0f, " + split + "});";
  d.step.tiles = isFew * units * SymExpr::min(q[1], SymExpr(1)) * splits +
                 (SymExpr(1) - isFew) * q[0] * SymExpr(heads) * SymExpr::ceilDiv(q[1], rows);
  return success();
}

LogicalResult cuda::draftKVAppend(kernel::KVAppendOp append, Draft &d) {
  SmallVector<SymExpr> input = getDims(append.getInput());
  const std::string type = typeText(getElementTypeOrSelf(append.getInput()));
  d.hint = "kv_append";
  d.threads = kAttentionThreads;
  std::string cache = d.buffer(type, "cache"), x = d.buffer("const " + type, "x");
  d.body = "llmopt::kv_append(" + cache + ", " + x + ", " + d.size(input[1], "tokens") + ", " +
           d.size(lm::getExprs(append.getPast())[0], "past") + ", " +
           d.size(kernel::getTokenRows(append.getResult()), "capacity") + ", " + d.size(input[2], "width") + ");";
  d.step.tiles = input[0] * input[1];
  return success();
}
