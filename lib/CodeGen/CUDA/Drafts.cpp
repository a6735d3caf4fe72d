// Every kernel operation as an instance of the header library.
#include "Drafts.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

namespace {

/// nullptr for a type that ids cannot have.
const char *idType(Value ids) {
  Type element = getElementTypeOrSelf(ids);
  return element.isInteger(32) ? "int32_t" : element.isInteger(64) ? "int64_t" : nullptr;
}

LogicalResult draftQuantizeRows(kernel::QuantizeRowsOp quantize, Draft &d) {
  d.hint = "quantize_rows";
  std::string x = d.buffer("const float", "x"), q = d.buffer("int8_t", "q"), scale = d.buffer("float", "scale");
  d.body = "llmopt::quantize_rows(" + x + ", " + q + ", " + scale + ", " +
           d.size(getDims(quantize.getInput()).back(), "width") + ");";
  d.step.tiles = rowsOf(quantize.getInput().getType());
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

std::string cuda::floatLiteral(double value) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << llvm::format("%.9g", static_cast<double>(static_cast<float>(value)));
  if (text.find_first_of(".en") == std::string::npos)
    text += ".0";
  return text + "f";
}

const char *cuda::boolText(bool value) { return value ? "true" : "false"; }

SymExpr cuda::rowsOf(Type type) { return product(ArrayRef(getDims(type)).drop_back()); }

std::string cuda::activationText(kernel::Activation activation) {
  return "llmopt::Activation::" + kernel::stringifyActivation(activation).str();
}

std::string cuda::typeText(Type element) {
  return element.isF16() ? "llmopt::f16" : element.isBF16() ? "llmopt::bf16" : "float";
}

int64_t cuda::alignmentOf(const SymExpr &expr, int64_t size) {
  for (int64_t bytes = kChunkBytes; bytes > size; bytes /= 2)
    if (SymExpr::divideExactly(expr, bytes / size))
      return bytes;
  return size;
}

int64_t cuda::alignmentOf(Value value, int64_t size) {
  if (auto view = value.getDefiningOp<kernel::ViewOp>())
    return std::min(alignmentOf(view.getInput(), size), alignmentOf(lm::getExprs(view.getOffset())[0], size));
  return isa<BlockArgument>(value) ? size : kChunkBytes;
}

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
