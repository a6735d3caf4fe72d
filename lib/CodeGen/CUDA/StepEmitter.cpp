// Sharing, naming and commenting of kernels, and what the plan asks of a target.
#include "Drafts.h"
#include "Names.h"

#include "llmopt/CodeGen/CUDA/EmitCuda.h"
#include "llmopt/CodeGen/Loops/Loops.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::cuda;
using lm::getDims;
using lm::SymExpr;

static constexpr int64_t kMaxValueDim = 1024;

PlanTarget::PackedLayout CudaPlanTarget::getGemmLayout(int64_t, int64_t, Type elementType) const {
  return {kernel::Layout::Rows, kChunkBytes * 8 / static_cast<int64_t>(elementType.getIntOrFloatBitWidth())};
}

std::optional<PlanTarget::PackedLayout> CudaPlanTarget::getInt8Layout(int64_t, int64_t) const {
  return PackedLayout{kernel::Layout::Rows, kChunkBytes};
}

bool CudaPlanTarget::hasGemm(Type elementType) const {
  return elementType.isF32() || elementType.isF16() || elementType.isBF16();
}

bool CudaPlanTarget::hasRows(Type elementType) const { return hasGemm(elementType); }

bool CudaPlanTarget::hasAttention(lm::AttentionOp op) const {
  SmallVector<SymExpr> q = getDims(op.getQuery()), v = getDims(op.getValue());
  std::optional<int64_t> width = q[2].getConstant(), valueWidth = v[2].getConstant();
  if (!width || !valueWidth || !hasGemm(getElementTypeOrSelf(op.getQuery())))
    return false;
  if (Value mask = op.getMask()) {
    Type type = getElementTypeOrSelf(mask);
    if (op.getMaskKind() == lm::MaskKind::Additive     ? !type.isF32()
        : op.getMaskKind() == lm::MaskKind::KeyLengths ? !type.isSignlessInteger(64)
                                                       : !type.isSignlessInteger(1))
      return false;
  }
  const int64_t dim = *width / static_cast<int64_t>(op.getNumHeads()),
                valueDim = *valueWidth / static_cast<int64_t>(op.getKvNumHeads());
  return (dim <= kMaxFlashDim && valueDim <= kMaxFlashDim) ||
         (getElementTypeOrSelf(op.getQuery()).isF32() && valueDim <= kMaxValueDim);
}

bool CudaPlanTarget::hasLoops(Operation *op, std::string &reason) const { return loops::isSupported(op, &reason); }

/// "/encoder/layer.0/query/MatMul: f32[batch, sequence, 768], 301.9 MFLOP at .."
static std::string describe(Operation *op) {
  std::string text = getNodeNames(op->getLoc());
  llvm::raw_string_ostream os(text);
  for (Value result : op->getResults()) {
    os << (text.empty() ? "" : " -> ") << getElementTypeOrSelf(result) << "[";
    llvm::interleaveComma(getDims(result), os, [&](const SymExpr &dim) { os << dim.str(); });
    os << "]";
  }
  os << "; FLOPs " << getFlops(op).str() << "; bytes " << getTraffic(op).str();
  return toComment(text);
}

std::string CudaStepEmitter::uniqueName(StringRef hint) {
  std::string name = hint.str();
  for (int i = 2; !names.insert(name).second; ++i)
    name = (hint + "_" + llvm::Twine(i)).str();
  return name;
}

/// Where a line of at most `room` characters may end: behind a comma of its outermost
/// call, outside of braces and template arguments. npos: nowhere.
static size_t findBreak(StringRef line, size_t room, int parentheses) {
  size_t found = StringRef::npos;
  int braces = 0, angles = 0;
  for (size_t i = 0; i + 1 < line.size() && i < room; ++i) {
    char c = line[i];
    parentheses += c == '(' ? 1 : c == ')' ? -1 : 0;
    braces += c == '{' ? 1 : c == '}' ? -1 : 0;
    // What is printed compares with spaces around.
    if (c == '<' && i > 0 && llvm::isAlnum(line[i - 1]) && line[i + 1] != ' ')
      ++angles;
    else if (c == '>' && angles > 0)
      --angles;
    if (c == ',' && line[i + 1] == ' ' && braces == 0 && angles == 0 && parentheses == 1)
      found = i;
  }
  return found;
}

/// Breaks lines behind commas of calls, to at most 118 characters where that is possible.
static std::string breakLines(StringRef text) {
  constexpr size_t kColumns = 118;
  std::string result;
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    std::string further(std::min(line.find_first_not_of(' '), line.size()) + 4, ' ');
    bool continued = false;
    for (;;) {
      size_t room = kColumns - (continued ? further.size() : 0);
      size_t end = line.size() > room ? findBreak(line, room, continued ? 1 : 0) : StringRef::npos;
      if (end == StringRef::npos)
        break;
      result += (continued ? further : "") + line.take_front(end + 1).str() + "\n";
      line = line.drop_front(end + 2);
      continued = true;
    }
    result += (continued ? further : "") + line.str() + "\n";
    text = rest;
  }
  return result;
}

/// f32 products are three of tf32, which came with sm_80, as bf16 did.
static int getLeastArchitecture(StringRef body) {
  return body.contains("llmopt::MmaF32") || body.contains("llmopt::MmaBf16") ? 80 : 75;
}

StepKernel CudaStepEmitter::finish(Draft draft, Operation *op) {
  std::string parameters = llvm::join(draft.parameters, ", ");
  std::string body = (draft.prologue.empty() ? "" : "  " + draft.prologue + "\n") +
                     "  llmopt::grid_dependency_wait();\n  llmopt::grid_dependents_launch();\n  " + draft.body;
  auto [it, isNew] = byForm.try_emplace(parameters + "\n" + body, kernels.size());
  if (isNew) {
    CudaKernel kernel;
    kernel.name = uniqueName(draft.hint);
    kernel.buffers = draft.buffers;
    kernel.dims = draft.step.dims.size();
    kernel.threads = draft.threads;
    kernel.sharedBytes = draft.sharedBytes;
    kernel.leastArchitecture = getLeastArchitecture(draft.body);
    std::string bounds =
        std::to_string(draft.threads) + (draft.minBlocks ? ", " + std::to_string(draft.minBlocks) : "");
    kernel.text = breakLines("extern \"C\" __global__ void __launch_bounds__(" + bounds + ") " + kernel.name + "(" +
                             parameters + ") {\n" + body + "\n}\n");
    kernels.push_back(std::move(kernel));
  }
  CudaKernel &kernel = kernels[it->second];
  kernel.uses.push_back(describe(op) + (draft.note.empty() ? "" : "; " + toComment(draft.note)));
  draft.step.kernel = kernel.name;
  if (draft.step.library) {
    ModelTables::LibraryProduct &product = *draft.step.library;
    product.choices = tune.find(draft.libraryType, product.n, product.k, draft.libraryEpilogue);
    if (product.choices.empty())
      draft.step.library.reset();
  }
  return draft.step;
}

FailureOr<StepKernel> CudaStepEmitter::emitLoops(Operation *op) {
  auto loopsOp = cast<kernel::LoopsOp>(op);
  std::string first = getNodeNames(op->getLoc());
  StringRef node = StringRef(first).split(" + ").first;
  // Printed once under a stand-in name, to find kernels of equal form.
  std::string form;
  llvm::raw_string_ostream formStream(form);
  FailureOr<loops::LoopSpec> spec =
      loops::emitLoopsText(loopsOp.getBody(), "llmopt_kernel", formStream, loops::TextStyle::Cuda);
  if (failed(spec))
    return failure();
  auto [it, isNew] = byForm.try_emplace(form, kernels.size());
  if (isNew) {
    CudaKernel kernel;
    kernel.name = uniqueName(node.empty() ? "loops" : toIdentifier(node));
    kernel.buffers = op->getNumOperands() + op->getNumResults();
    kernel.threads = loops::cudaThreads;
    llvm::raw_string_ostream os(kernel.text);
    if (failed(loops::emitLoopsText(loopsOp.getBody(), kernel.name, os, loops::TextStyle::Cuda)))
      return failure();
    kernel.dims = spec->dims.size();
    if (std::optional<int64_t> bytes = spec->scratchBytes.getConstant()) {
      kernel.scratchBytes = *bytes;
      kernel.scratch = std::to_string(*bytes);
    } else {
      kernel.scratchDim = llvm::find(spec->dims, spec->scratchBytes) - spec->dims.begin();
      kernel.scratch = "dims[" + std::to_string(kernel.scratchDim) + "]";
    }
    kernels.push_back(std::move(kernel));
  }
  CudaKernel &kernel = kernels[it->second];
  kernel.uses.push_back(describe(op));
  StepKernel step;
  step.kernel = kernel.name;
  step.dims = spec->dims;
  step.tiles = spec->tiles;
  step.scratchBytes = spec->scratchBytes;
  return step;
}

FailureOr<StepKernel> CudaStepEmitter::emit(Operation *op) {
  if (isa<kernel::LoopsOp>(op))
    return emitLoops(op);
  Draft draft;
  if (failed(draftKernel(op, draft)))
    return failure();
  return finish(std::move(draft), op);
}
