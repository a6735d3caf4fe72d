// Every kernel operation as an instance of the header library.
#include "StepEmitter.h"

#include "llmopt/CodeGen/CUDA/EmitCuda.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

namespace {

constexpr int64_t kTile = 64; // kGemmTile of gemm.cuh
constexpr int64_t kThreads = 256;

std::string floatLiteral(double value) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << llvm::format("%.9g", static_cast<double>(static_cast<float>(value)));
  if (text.find_first_of(".en") == std::string::npos)
    text += ".0";
  return text + "f";
}

const char *boolText(bool value) { return value ? "true" : "false"; }

SymExpr rowsOf(Type type) { return product(ArrayRef(getDims(type)).drop_back()); }

std::string activationText(kernel::Activation activation) {
  return "llmopt::Activation::" + kernel::stringifyActivation(activation).str();
}

/// nullptr for a type that ids cannot have.
const char *idType(Value ids) {
  Type element = getElementTypeOrSelf(ids);
  return element.isInteger(32) ? "int32_t" : element.isInteger(64) ? "int64_t" : nullptr;
}

LogicalResult draftGemm(kernel::GemmOp gemm, Draft &d) {
  int64_t n = gemm.getN(), k = gemm.getK();
  SymExpr rows = rowsOf(gemm.getType());
  d.hint = "gemm_" + std::to_string(k) + "_" + std::to_string(n);
  std::string x = d.buffer("const float", "x"), w = d.buffer("const float", "w"),
              bias = d.optional(gemm.getBias(), "const float", "bias"),
              residual = d.optional(gemm.getResidual(), "const float", "residual"), y = d.buffer("float", "y");
  std::string rowCount = d.size(rows, "rows"), stride = std::to_string(k), offset = "0";
  if (gemm.getRowStride()) {
    stride = d.size(lm::getExprs(*gemm.getRowStride())[0], "row_stride");
    offset = d.size(lm::getExprs(*gemm.getRowOffset())[0], "row_offset");
  }
  d.body = "llmopt::gemm_f32<" + activationText(gemm.getActivation()) + ", " + boolText(bool(gemm.getBias())) + ", " +
           boolText(bool(gemm.getResidual())) + ">(" + x + ", " + w + ", " + bias + ", " + residual + ", " + y + ", {" +
           rowCount + ", " + std::to_string(n) + ", " + std::to_string(k) + ", " + stride + ", " + offset + "}, " +
           floatLiteral(gemm.getAlpha().convertToDouble()) + ");";
  d.step.tiles = SymExpr::ceilDiv(rows, kTile) * SymExpr((n + kTile - 1) / kTile);
  return success();
}

LogicalResult draftQuantizeRows(kernel::QuantizeRowsOp quantize, Draft &d) {
  d.hint = "quantize_rows";
  std::string x = d.buffer("const float", "x"), q = d.buffer("int8_t", "q"), scale = d.buffer("float", "scale");
  d.body = "llmopt::quantize_rows(" + x + ", " + q + ", " + scale + ", " +
           d.size(getDims(quantize.getInput()).back(), "width") + ");";
  d.step.tiles = rowsOf(quantize.getInput().getType());
  return success();
}

LogicalResult draftGemmS8(kernel::GemmS8Op gemm, Draft &d) {
  int64_t n = gemm.getN(), k = gemm.getK();
  if (gemm.getLayout() != kernel::Layout::Panels || cast<RankedTensorType>(gemm.getWeight().getType()).getDimSize(2) != kTile)
    return gemm.emitError() << "expected an int8 weight in panels of " << kTile << " columns, but got "
                            << kernel::stringifyLayout(gemm.getLayout()) << " of " << gemm.getWeight().getType();
  SymExpr rows = rowsOf(gemm.getType());
  if (gemm.getInputZeroPoint() || rowsOf(gemm.getInputScale().getType()) != rows)
    return gemm.emitError() << "expected one scale for each row and no zero point, but got "
                            << gemm.getInputScale().getType();
  d.hint = "gemm_s8_" + std::to_string(k) + "_" + std::to_string(n);
  std::string x = d.buffer("const int8_t", "x"), xScale = d.buffer("const float", "x_scale"),
              w = d.buffer("const int8_t", "w"), wScale = d.buffer("const float", "w_scale"),
              bias = d.optional(gemm.getBias(), "const float", "bias"),
              residual = d.optional(gemm.getResidual(), "const float", "residual"), y = d.buffer("float", "y");
  std::string shape = d.size(rows, "rows") + ", " + std::to_string(n) + ", " + std::to_string(k) + ", " +
                      std::to_string(k) + ", 0";
  d.body = "llmopt::gemm_s8<" + activationText(gemm.getActivation()) + ", " + boolText(bool(gemm.getBias())) + ", " +
           boolText(bool(gemm.getResidual())) + ">(" + x + ", " + xScale + ", " + w + ", " + wScale + ", " + bias +
           ", " + residual + ", " + y + ", {" + shape + "});";
  d.step.tiles = SymExpr::ceilDiv(rows, kTile) * SymExpr((n + kTile - 1) / kTile);
  return success();
}

LogicalResult draftMatmul(kernel::BatchedMatmulOp matmul, Draft &d) {
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
  d.hint = "batched_matmul";
  std::string lhs = d.buffer("const float", "a"), rhs = d.buffer("const float", "b"), out = d.buffer("float", "y");
  std::string shape = d.size(batch, "batch") + ", " + d.size(m, "m") + ", " + d.size(n, "n") + ", " + d.size(k, "k") +
                      ", " + d.size(*strideA, "batch_stride_a") + ", " + d.size(*strideB, "batch_stride_b");
  d.body = std::string("llmopt::batched_matmul_f32<") + boolText(matmul.getTransposeLhs()) + ", " +
           boolText(matmul.getTransposeRhs()) + ">(" + lhs + ", " + rhs + ", " + out + ", {" + shape + "}, " +
           floatLiteral(matmul.getAlpha().convertToDouble()) + ");";
  d.step.tiles = SymExpr::ceilDiv(batch * m * n, kThreads);
  return success();
}

LogicalResult draftAttention(kernel::AttentionOp attention, Draft &d) {
  if (attention.getKeyScale())
    return attention.emitError() << "expected keys and values of float32 on a GPU, but got int8";
  SmallVector<SymExpr> q = getDims(attention.getQuery()), k = getDims(attention.getKey()),
                       v = getDims(attention.getValue());
  int64_t heads = attention.getNumHeads(), group = heads / static_cast<int64_t>(attention.getKvNumHeads());
  d.hint = "attention_" + std::to_string(heads) + "_" + std::to_string(attention.getHeadDim());
  d.threads = 128; // kAttentionThreads
  auto columns = [&](const char *name, uint64_t offset) {
    return d.buffer("const float", name) + (offset ? " + " + std::to_string(offset) : "");
  };
  std::string query = columns("q", attention.getQOffset()), key = columns("k", attention.getKOffset()),
              value = columns("v", attention.getVOffset()), mask = d.optional(attention.getMask(), "const void", "mask"),
              out = d.buffer("float", "y");
  SmallVector<SymExpr> strides(4, SymExpr(0));
  if (attention.getMask() && attention.getMaskKind() != lm::MaskKind::KeyLengths) {
    SmallVector<SymExpr> dims = getDims(attention.getMask());
    for (int64_t i = 0; i < 4; ++i)
      if (!dims[i].isConstant(1))
        strides[i] = product(ArrayRef(dims).drop_front(i + 1));
  }
  std::string shape = d.size(q[1], "query_length") + ", " + d.size(k[1], "key_length") + ", " + std::to_string(heads) +
                      ", " + std::to_string(group) + ", " + d.size(q[2], "query_row") + ", " +
                      d.size(k[2], "key_row") + ", " + d.size(v[2], "value_row") + ", " +
                      d.size(kernel::getTokenRows(attention.getKey()), "key_rows") + ", " +
                      d.size(kernel::getTokenRows(attention.getValue()), "value_rows") + ", " +
                      std::to_string(attention.getHeadDim()) + ", " + std::to_string(attention.getValueHeadDim());
  const char *names[] = {"mask_batch", "mask_head", "mask_query", "mask_key"};
  for (auto [stride, name] : llvm::zip(strides, names))
    shape += ", " + d.size(stride, name);
  d.body = "llmopt::attention<llmopt::MaskKind::" + lm::stringifyMaskKind(attention.getMaskKind()).str() + ", " +
           boolText(attention.getCausal()) + ", llmopt::FullyMasked::" +
           lm::stringifyFullyMasked(attention.getFullyMasked()).str() + ", " +
           std::to_string(attention.getValueHeadDim()) + ">(" + query + ", " + key + ", " + value + ", " + mask + ", " +
           out + ", {" + shape + "}, " + floatLiteral(attention.getScale().convertToDouble()) + ");";
  d.step.tiles = q[0] * q[1] * SymExpr(heads);
  return success();
}

LogicalResult draftNorm(kernel::NormOp norm, Draft &d) {
  d.hint = lm::stringifyNormKind(norm.getKind()).str() + "_norm";
  std::string call = d.buffer("const float", "x");
  call += ", " + d.optional(norm.getResidual(), "const float", "residual");
  call += ", " + d.optional(norm.getInputBias(), "const float", "input_bias");
  call += ", " + d.optional(norm.getScale(), "const float", "scale");
  call += ", " + d.optional(norm.getBias(), "const float", "bias");
  call += ", " + d.buffer("float", "y");
  call += ", " + d.optional(norm.getSum(), "float", "sum");
  d.body = std::string("llmopt::norm_rows<") + boolText(norm.getKind() == lm::NormKind::Layer) + ">(" + call + ", " +
           d.size(getDims(norm.getInput()).back(), "width") + ", " + floatLiteral(norm.getEpsilon().convertToDouble()) +
           ");";
  d.step.tiles = rowsOf(norm.getInput().getType());
  return success();
}

LogicalResult draftKVAppend(kernel::KVAppendOp append, Draft &d) {
  SmallVector<SymExpr> input = getDims(append.getInput());
  d.hint = "kv_append";
  d.threads = 128; // kAttentionThreads
  std::string cache = d.buffer("float", "cache"), x = d.buffer("const float", "x");
  d.body = "llmopt::kv_append(" + cache + ", " + x + ", " + d.size(input[1], "tokens") + ", " +
           d.size(lm::getExprs(append.getPast())[0], "past") + ", " +
           d.size(kernel::getTokenRows(append.getResult()), "capacity") + ", " + d.size(input[2], "width") + ");";
  d.step.tiles = input[0] * input[1];
  return success();
}

LogicalResult draftSoftmax(kernel::SoftmaxOp softmax, Draft &d) {
  d.hint = softmax.getLog() ? "log_softmax" : "softmax";
  std::string x = d.buffer("const float", "x"), y = d.buffer("float", "y");
  d.body = std::string("llmopt::softmax_rows<") + boolText(softmax.getLog()) + ">(" + x + ", " + y + ", " +
           d.size(getDims(softmax.getInput()).back(), "width") + ");";
  d.step.tiles = rowsOf(softmax.getInput().getType());
  return success();
}

LogicalResult draftEmbed(kernel::EmbedOp embed, Draft &d) {
  d.hint = embed.getKind() ? "embed_norm" : "embed";
  SymExpr width = getDims(embed.getResult()).back();
  for (size_t i = 0; i < embed.getTables().size(); ++i)
    d.buffer("const float", "table" + std::to_string(i));
  for (auto [i, ids] : llvm::enumerate(embed.getIds())) {
    const char *type = idType(ids);
    if (!type)
      return embed.emitError() << "expected ids of 32 or 64 bits, but got " << ids.getType();
    d.buffer(std::string("const ") + type, "ids" + std::to_string(i));
  }
  std::string scale = d.optional(embed.getScale(), "const float", "scale"),
              bias = d.optional(embed.getBias(), "const float", "bias"), y = d.buffer("float", "y"),
              sum = d.optional(embed.getSum(), "float", "sum");
  std::string widthText = d.size(width, "width"), setup, load;
  for (auto [i, table, ids] : llvm::enumerate(embed.getTables(), embed.getIds())) {
    std::string n = std::to_string(i);
    setup += "const float *row" + n + " = llmopt::EmbeddingTable<" + idType(ids) + ">{table" + n + ", ids" + n + ", " +
             d.size(getDims(table)[0], "vocabulary" + n) + ", " +
             d.size(lm::getNumElements(ids.getType()), "count" + n) + "}.row(blockIdx.x, " + widthText + ");\n  ";
    load += (i ? " + row" : "row") + n + "[i]";
  }
  setup += "auto load = [&](int64_t i) { return " + load + "; };\n  ";
  std::string row = " + (int64_t)blockIdx.x * " + widthText;
  auto copyTo = [&](const std::string &target) {
    return "for (int64_t i = threadIdx.x; i < " + widthText + "; i += llmopt::kRowThreads)\n    " + target +
           "[(int64_t)blockIdx.x * " + widthText + " + i] = load(i);";
  };
  if (!embed.getKind()) {
    d.body = setup + copyTo(y);
  } else {
    if (embed.getSum())
      setup += copyTo(sum) + "\n  ";
    d.body = setup + "llmopt::normalise_row<" + boolText(*embed.getKind() == lm::NormKind::Layer) + ">(load, " + scale +
             ", " + bias + ", " + y + row + ", " + widthText + ", " +
             floatLiteral(embed.getEpsilon().convertToDouble()) + ");";
  }
  d.step.tiles = rowsOf(embed.getResult().getType());
  return success();
}

} // namespace

std::string Draft::buffer(const std::string &type, const std::string &name) {
  parameters.push_back(type + " *" + name);
  ++buffers;
  return name;
}

std::string Draft::optional(Value value, const std::string &type, const std::string &name) {
  return value ? buffer(type, name) : "nullptr";
}

std::string Draft::size(const SymExpr &value, const std::string &name) {
  if (std::optional<int64_t> constant = value.getConstant())
    return std::to_string(*constant);
  step.dims.push_back(value);
  parameters.push_back("int64_t " + name);
  return name;
}

LogicalResult llmopt::cuda::draftKernel(Operation *op, Draft &draft) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<kernel::GemmOp>([&](kernel::GemmOp gemm) { return draftGemm(gemm, draft); })
      .Case<kernel::QuantizeRowsOp>([&](kernel::QuantizeRowsOp rows) { return draftQuantizeRows(rows, draft); })
      .Case<kernel::GemmS8Op>([&](kernel::GemmS8Op gemm) { return draftGemmS8(gemm, draft); })
      .Case<kernel::BatchedMatmulOp>([&](kernel::BatchedMatmulOp matmul) { return draftMatmul(matmul, draft); })
      .Case<kernel::AttentionOp>([&](kernel::AttentionOp attention) { return draftAttention(attention, draft); })
      .Case<kernel::KVAppendOp>([&](kernel::KVAppendOp append) { return draftKVAppend(append, draft); })
      .Case<kernel::NormOp>([&](kernel::NormOp norm) { return draftNorm(norm, draft); })
      .Case<kernel::SoftmaxOp>([&](kernel::SoftmaxOp softmax) { return draftSoftmax(softmax, draft); })
      .Case<kernel::EmbedOp>([&](kernel::EmbedOp embed) { return draftEmbed(embed, draft); })
      .Default([](Operation *other) { return other->emitError() << "no CUDA kernel for " << other->getName(); });
}
