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
  return element.isF16()                  ? "llmopt::f16"
         : element.isBF16()               ? "llmopt::bf16"
         : element.isInteger(8)           ? "int8_t"
         : isa<Float8E4M3FNType>(element) ? "llmopt::e4m3"
                                          : "float";
}

SymExpr cuda::isAtMost(const SymExpr &value, int64_t limit) {
  return SymExpr::min(SymExpr::max(SymExpr(limit + 1) - value, SymExpr(0)), SymExpr(1));
}

SymExpr cuda::chooseSplits(const SymExpr &blocks, const SymExpr &most, int64_t enough) {
  SymExpr wanted = SymExpr::floorDiv(SymExpr(enough), SymExpr::max(blocks, SymExpr(1)));
  return SymExpr::max(SymExpr::min(most, wanted), SymExpr(1));
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

std::string Draft::temporary(const std::string &type, const std::string &name, const SymExpr &bytes) {
  step.temporaries.push_back(SymExpr::max(bytes, SymExpr(16)));
  return buffer(type, name);
}

std::string Draft::zeros(const SymExpr &words, const std::string &name) {
  step.zeros = SymExpr::max(words * SymExpr(4), SymExpr(16));
  return buffer("uint32_t", name);
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
      .Case<kernel::GemmF8Op>([&](kernel::GemmF8Op gemm) { return draftGemmF8(gemm, draft); })
      .Case<kernel::GemmW4A8Op>([&](kernel::GemmW4A8Op gemm) { return draftGemmW4A8(gemm, draft); })
      .Case<kernel::GemmWQOp>([&](kernel::GemmWQOp gemm) { return draftGemmWQ(gemm, draft); })
      .Case<kernel::BatchedMatmulOp>([&](kernel::BatchedMatmulOp matmul) { return draftMatmul(matmul, draft); })
      .Case<kernel::AttentionOp>([&](kernel::AttentionOp attention) { return draftAttention(attention, draft); })
      .Case<kernel::KVAppendOp>([&](kernel::KVAppendOp append) { return draftKVAppend(append, draft); })
      .Case<kernel::NormOp>([&](kernel::NormOp norm) { return draftNorm(norm, draft); })
      .Case<kernel::NormQuantizedOp>([&](kernel::NormQuantizedOp norm) { return draftNormQuantized(norm, draft); })
      .Case<kernel::NormQuantizedTensorOp>(
          [&](kernel::NormQuantizedTensorOp norm) { return draftNormQuantizedTensor(norm, draft); })
      .Case<kernel::QuantizeTensorOp>(
          [&](kernel::QuantizeTensorOp tensor) { return draftQuantizeTensor(tensor, draft); })
      .Case<kernel::SoftmaxOp>([&](kernel::SoftmaxOp softmax) { return draftSoftmax(softmax, draft); })
      .Case<kernel::EmbedOp>([&](kernel::EmbedOp embed) { return draftEmbed(embed, draft); })
      .Default([](Operation *other) { return other->emitError() << "no CUDA kernel for " << other->getName(); });
}
