// Rows in registers (norm.cuh) where their width is known and fits; else one block per
// row that reads it as often as it needs (rows.cuh).
#include "Drafts.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

namespace {

constexpr int64_t kWarp = 32;
constexpr int64_t kRowsOfWarps = 4; // of a block whose warps have a row each
constexpr int64_t kWarpWidth = 1024;

/// RowForm of row_chunks.cuh.
struct Form {
  int64_t threads, chunks, rows;
  bool aligned;

  std::string text(const std::string &type) const {
    return "llmopt::RowForm<" + type + ", " + std::to_string(threads) + ", " + std::to_string(chunks) + ", " +
           boolText(aligned) + ">";
  }
};

/// The least threads that hold a row in few registers; nullopt for rows that are too wide,
/// or of unknown width. `values` are what must begin at whole chunks to be read as such.
std::optional<Form> chooseForm(const SymExpr &width, Type element, ValueRange values) {
  std::optional<int64_t> w = width.getConstant();
  if (!w || *w < 1)
    return std::nullopt;
  const int64_t size = element.getIntOrFloatBitWidth() / 8, elements = kChunkBytes / size;
  Form form{kWarp, 1, kRowsOfWarps, *w % elements == 0};
  for (Value value : values)
    form.aligned &= !value || alignmentOf(value, size) == kChunkBytes;
  if (*w <= kWarpWidth) {
    form.chunks = llvm::divideCeil(*w, kWarp * elements);
    return form;
  }
  for (int64_t most : {4, 8})
    for (int64_t threads : {128, 256, 512, 1024})
      if (int64_t chunks = llvm::divideCeil(*w, threads * elements); chunks <= most) {
        form.threads = threads;
        form.chunks = chunks;
        form.rows = 1;
        return form;
      }
  return std::nullopt;
}

/// "using Form = ..;\n  static_assert(..);\n  ", and what launches it.
std::string beginRows(const Form &form, const std::string &type, const SymExpr &rows, Draft &d) {
  d.threads = static_cast<int>(form.threads * form.rows);
  d.minBlocks = std::max(1, 512 / d.threads); // up to 128 registers: rows stay in them
  d.step.tiles = SymExpr::ceilDiv(rows, form.rows);
  return "using Form = " + form.text(type) + ";\n  static_assert(Form::kBlock == " + std::to_string(d.threads) +
         " && Form::kRows == " + std::to_string(form.rows) + ", \"as launched\");\n  ";
}

LogicalResult tooWide(Operation *op, Value value) {
  return op->emitError() << "no CUDA kernel for rows of this width and type: " << value.getType();
}

/// nullptr for a type that ids cannot have.
const char *idType(Value ids) {
  Type element = getElementTypeOrSelf(ids);
  return element.isInteger(32) ? "int32_t" : element.isInteger(64) ? "int64_t" : nullptr;
}

/// The type of scale and biases.
std::string vectorType(ValueRange vectors) {
  for (Value vector : vectors)
    if (vector)
      return typeText(getElementTypeOrSelf(vector));
  return "float";
}

struct NormBuffers {
  std::string x, residual, inputBias, scale, bias, y, q = "nullptr", qScale = "nullptr", sum;
  std::string fixed = "{}"; // TensorScale
};

/// TensorScale of norm.cuh, and its buffers.
std::string tensorScale(Value scale, Value zero, bool narrowRange, Draft &d) {
  const std::string s = d.buffer("const float", "tensor_scale"), z = d.optional(zero, "const int8_t", "tensor_zero");
  return "{" + s + ", " + z + ", " + (narrowRange ? "-127.0f" : "-128.0f") + "}";
}

/// What a norm quantizes to.
template <typename NormOp> std::string quantizedType(NormOp norm) {
  if constexpr (std::is_same_v<NormOp, kernel::NormOp>)
    return "int8_t";
  else
    return typeText(getElementTypeOrSelf(norm.getQuantized()));
}

/// All norms; the buffers of results stand in the order of the operation's results.
template <typename NormOp> LogicalResult draftAnyNorm(NormOp norm, bool quantizes, Draft &d) {
  Type element = getElementTypeOrSelf(norm.getInput());
  constexpr bool perRow = std::is_same_v<NormOp, kernel::NormQuantizedOp>;
  const std::string type = typeText(element),
                    vector = vectorType({norm.getInputBias(), norm.getScale(), norm.getBias()});
  d.hint = lm::stringifyNormKind(norm.getKind()).str() + (quantizes ? "_norm_quantized" : "_norm");
  NormBuffers b;
  b.x = d.buffer("const " + type, "x");
  b.residual = d.optional(norm.getResidual(), "const " + type, "residual");
  b.inputBias = d.optional(norm.getInputBias(), "const " + vector, "input_bias");
  b.scale = d.optional(norm.getScale(), "const " + vector, "scale");
  b.bias = d.optional(norm.getBias(), "const " + vector, "bias");
  if constexpr (std::is_same_v<NormOp, kernel::NormQuantizedTensorOp>)
    b.fixed = tensorScale(norm.getTensorScale(), norm.getTensorZeroPoint(), norm.getNarrowRange(), d);
  b.y = d.buffer(type, "y");
  if (quantizes) {
    b.q = d.buffer(quantizedType(norm), "q");
    if (perRow)
      b.qScale = d.buffer("float", "q_scale");
  }
  b.sum = d.optional(norm.getSum(), type, "sum");
  const SymExpr width = getDims(norm.getInput()).back(), rows = rowsOf(norm.getInput().getType());
  const std::string epsilon = floatLiteral(norm.getEpsilon().convertToDouble());
  const std::string isLayer = boolText(norm.getKind() == lm::NormKind::Layer);
  std::optional<Form> form = chooseForm(width, element, {norm.getInput(), norm.getResidual()});
  if (form) {
    d.body = beginRows(*form, type, rows, d);
    d.body += "llmopt::norm_rows_typed<Form, " + isLayer + ", " + boolText(perRow) + ">(llmopt::NormArguments<" + type +
              ", " + vector + (quantizedType(norm) == "int8_t" ? "" : ", " + quantizedType(norm)) + ">{" + b.x + ", " +
              b.residual + ", " + b.inputBias + ", " + b.scale + ", " + b.bias + ", " + b.y + ", " + b.sum + ", " +
              b.q + ", " + b.qScale + ", " + b.fixed + ", " + d.size(rows, "rows") + ", " + d.size(width, "width") +
              ", " + epsilon + "});";
    return success();
  }
  if (quantizes || !element.isF32() || vector != "float")
    return tooWide(norm, norm.getInput());
  d.body = "llmopt::norm_rows<" + isLayer + ">(" + b.x + ", " + b.residual + ", " + b.inputBias + ", " + b.scale +
           ", " + b.bias + ", " + b.y + ", " + b.sum + ", " + d.size(width, "width") + ", " + epsilon + ");";
  d.step.tiles = rows;
  return success();
}

} // namespace

LogicalResult cuda::draftNorm(kernel::NormOp norm, Draft &d) { return draftAnyNorm(norm, /*quantizes=*/false, d); }

LogicalResult cuda::draftNormQuantized(kernel::NormQuantizedOp norm, Draft &d) {
  if (!getDims(norm.getQuantizedScale()).back().isConstant(1))
    return norm.emitError() << "expected one scale for each row, but got " << norm.getQuantizedScale().getType();
  return draftAnyNorm(norm, /*quantizes=*/true, d);
}

LogicalResult cuda::draftNormQuantizedTensor(kernel::NormQuantizedTensorOp norm, Draft &d) {
  return draftAnyNorm(norm, /*quantizes=*/true, d);
}

LogicalResult cuda::draftQuantizeTensor(kernel::QuantizeTensorOp quantize, Draft &d) {
  constexpr int64_t kPerBlock = 256 * 8;
  Type element = getElementTypeOrSelf(quantize.getInput());
  const std::string type = typeText(element);
  d.hint = "quantize_tensor";
  const std::string x = d.buffer("const " + type, "x"),
                    scale = tensorScale(quantize.getScale(), quantize.getZeroPoint(), quantize.getNarrowRange(), d),
                    q = d.buffer("int8_t", "q");
  const SymExpr count = lm::getNumElements(quantize.getInput().getType());
  const bool aligned = alignmentOf(quantize.getInput(), element.getIntOrFloatBitWidth() / 8) == kChunkBytes;
  d.body = std::string("llmopt::quantize_tensor<") + boolText(aligned) + ">(" + x + ", " + q + ", llmopt::TensorScale" +
           scale + ", " + d.size(count, "count") + ");";
  d.step.tiles = SymExpr::ceilDiv(count, kPerBlock);
  return success();
}

LogicalResult cuda::draftQuantizeRows(kernel::QuantizeRowsOp quantize, Draft &d) {
  Type element = getElementTypeOrSelf(quantize.getInput());
  const std::string type = typeText(element);
  d.hint = "quantize_rows";
  Type quantized = getElementTypeOrSelf(quantize.getResult());
  std::string x = d.buffer("const " + type, "x"), q = d.buffer(typeText(quantized), "q"),
              scale = d.buffer("float", "scale");
  const SymExpr width = getDims(quantize.getInput()).back(), rows = rowsOf(quantize.getInput().getType());
  if (std::optional<Form> form = chooseForm(width, element, {quantize.getInput()})) {
    d.body = beginRows(*form, type, rows, d);
    d.body += "llmopt::quantize_rows_typed<Form>(" + x + ", " + q + ", " + scale + ", " + d.size(rows, "rows") + ", " +
              d.size(width, "width") + ");";
    return success();
  }
  if (!element.isF32() || !quantized.isInteger(8))
    return tooWide(quantize, quantize.getInput());
  d.body = "llmopt::quantize_rows(" + x + ", " + q + ", " + scale + ", " + d.size(width, "width") + ");";
  d.step.tiles = rows;
  return success();
}

LogicalResult cuda::draftSoftmax(kernel::SoftmaxOp softmax, Draft &d) {
  Type element = getElementTypeOrSelf(softmax.getInput());
  const std::string type = typeText(element), log = boolText(softmax.getLog());
  d.hint = softmax.getLog() ? "log_softmax" : "softmax";
  std::string x = d.buffer("const " + type, "x"), y = d.buffer(type, "y");
  const SymExpr width = getDims(softmax.getInput()).back(), rows = rowsOf(softmax.getInput().getType());
  if (std::optional<Form> form = chooseForm(width, element, {softmax.getInput()})) {
    d.body = beginRows(*form, type, rows, d);
    d.body += "llmopt::softmax_rows_typed<Form, " + log + ">(" + x + ", " + y + ", " + d.size(rows, "rows") + ", " +
              d.size(width, "width") + ");";
    return success();
  }
  d.body = "llmopt::softmax_rows<" + log + ">(" + x + ", " + y + ", " + d.size(width, "width") + ");";
  d.step.tiles = rows;
  return success();
}

LogicalResult cuda::draftEmbed(kernel::EmbedOp embed, Draft &d) {
  Type element = getElementTypeOrSelf(embed.getResult());
  const std::string type = typeText(element), vector = vectorType({embed.getScale(), embed.getBias()});
  d.hint = embed.getKind() ? "embed_norm" : "embed";
  const SymExpr width = getDims(embed.getResult()).back(), rows = rowsOf(embed.getResult().getType());
  std::string tables;
  for (size_t i = 0; i < embed.getTables().size(); ++i)
    d.buffer("const " + type, "table" + std::to_string(i));
  for (auto [i, ids] : llvm::enumerate(embed.getIds())) {
    if (!idType(ids))
      return embed.emitError() << "expected ids of 32 or 64 bits, but got " << ids.getType();
    d.buffer(std::string("const ") + idType(ids), "ids" + std::to_string(i));
  }
  const std::string scale = d.optional(embed.getScale(), "const " + vector, "scale"),
                    bias = d.optional(embed.getBias(), "const " + vector, "bias"), y = d.buffer(type, "y"),
                    sum = d.optional(embed.getSum(), type, "sum");
  SmallVector<Value> read(embed.getTables());
  std::optional<Form> form = chooseForm(width, element, read);
  if (!form)
    return tooWide(embed, embed.getResult());
  d.body = beginRows(*form, type, rows, d);
  const std::string rowText = d.size(rows, "rows"), widthText = d.size(width, "width");
  for (auto [i, table, ids] : llvm::enumerate(embed.getTables(), embed.getIds())) {
    const std::string n = std::to_string(i);
    tables += ", llmopt::EmbeddingRows<" + type + ", " + idType(ids) + ">{table" + n + ", ids" + n + ", " +
              d.size(getDims(table)[0], "vocabulary" + n) + ", " +
              d.size(lm::getNumElements(ids.getType()), "count" + n) + "}";
  }
  const bool norms = embed.getKind().has_value();
  d.body += std::string("llmopt::embed_rows<Form, ") + boolText(norms) + ", " +
            boolText(norms && *embed.getKind() == lm::NormKind::Layer) + ", false>(llmopt::NormArguments<" + type +
            ", " + vector + ">{nullptr, nullptr, nullptr, " + scale + ", " + bias + ", " + y + ", " + sum +
            ", nullptr, nullptr, {}, " + rowText + ", " + widthText + ", " +
            floatLiteral(norms ? embed.getEpsilon().convertToDouble() : 0.0) + "}" + tables + ");";
  return success();
}
