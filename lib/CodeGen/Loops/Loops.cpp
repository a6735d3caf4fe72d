// What can be emitted, and kernels made of the nests that compute their results.
#include "llmopt/CodeGen/Loops/Loops.h"

#include "MLIRBuilder.h"
#include "Nest.h"
#include "TextBuilder.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

/// Larger tables belong into weights.
static constexpr int64_t kMaxTable = 1 << 16;

static std::string checkType(Type type) {
  auto ranked = dyn_cast<RankedTensorType>(type);
  std::string text;
  llvm::raw_string_ostream(text) << type;
  if (!ranked)
    return "expected a ranked tensor, but got " + text;
  if (!elemOf(ranked.getElementType()))
    return "expected elements of bool, integers of 2 to 64 bits, or floats of 4 to 64, but got " + text;
  for (const lm::SymExpr &dim : lm::getDims(type))
    if (dim.isUnknown())
      return "expected dimensions that are known as expressions, but got " + text;
  return {};
}

static std::string check(Operation *op) {
  if (isa<lm::WeightOp>(op))
    return "expected weights as arguments of the kernel";
  if (!isa_and_nonnull<lm::LMDialect>(op->getDialect()))
    return "expected an operation of the lm dialect";
  if (op->getNumRegions() || op->hasTrait<OpTrait::IsTerminator>())
    return "expected an operation without regions";
  if (isa<lm::BitcastOp>(op))
    return "expected a bitcast as a view of memory";
  if (isa<lm::EmbeddingGradOp>(op))
    return "expected gradients of embeddings as products";
  if (isa<lm::AttentionGradOp>(op))
    return "expected gradients of attention as products";
  for (Type type : op->getOperandTypes())
    if (std::string reason = checkType(type); !reason.empty())
      return reason;
  for (Type type : op->getResultTypes())
    if (std::string reason = checkType(type); !reason.empty())
      return reason;
  // These read and write memory as it is, without decoding it.
  if (op->hasTrait<lm::Sequential>())
    for (TypeRange types : {TypeRange(op->getOperandTypes()), TypeRange(op->getResultTypes())})
      for (Type type : types)
        if (isSmallFloat(*elemOf(getElementTypeOrSelf(type))))
          return "expected floats of at least 16 bits";
  // Their polynomials have the accuracy of f32.
  if (isa<lm::AcosOp, lm::AsinOp, lm::AtanOp>(op) && getElementTypeOrSelf(op->getResult(0)).isF64())
    return "expected at most f32 for this function, but got f64";
  if (auto constant = dyn_cast<lm::ConstantOp>(op))
    if (!isa<lm::SymValuesAttr>(constant.getValue())) {
      auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
      if (!dense || (!dense.isSplat() && dense.getNumElements() > kMaxTable))
        return "expected a constant of at most " + std::to_string(kMaxTable) + " elements";
    }
  if (auto reduce = dyn_cast<lm::ReduceOp>(op))
    if (!isa<FloatType>(getElementTypeOrSelf(reduce.getInput())) &&
        (reduce.getKind() == lm::ReduceKind::LogSum || reduce.getKind() == lm::ReduceKind::LogSumExp))
      return "expected floats for a logarithm";
  return {};
}

bool llmopt::loops::isSupported(Operation *op, std::string *reason) {
  std::string why = check(op);
  if (reason)
    *reason = why;
  return why.empty();
}

static LogicalResult verify(Region &region) {
  Operation *parent = region.getParentOp();
  if (!region.hasOneBlock())
    return parent->emitError("expected a region of one block to make loops of");
  Block &block = region.front();
  if (block.empty())
    return parent->emitError("expected a terminator that names the results");
  for (Type type : block.getArgumentTypes())
    if (std::string why = checkType(type); !why.empty())
      return parent->emitError(why);
  for (Operation &op : block.without_terminator()) {
    std::string why = check(&op);
    if (!why.empty())
      return op.emitError("cannot be made into loops: ") << why;
    for (Value operand : op.getOperands())
      if (operand.getParentBlock() != &block)
        return op.emitError("expected operands from the same region");
  }
  return success();
}

static LoopSpec emitKernel(ScalarBuilder &b, Block &block, StringRef name) {
  SmallVector<Result> results;
  for (Value value : block.getTerminator()->getOperands())
    results.push_back({value, static_cast<int64_t>(block.getNumArguments() + results.size())});
  std::vector<Nest> nests = planNests(block, results);
  LoopSpec spec;
  spec.name = name.str();
  S tile = b.tile();
  if (nests.size() == 1) {
    emitNest(b, block, nests[0], tile);
    spec.tiles = nests[0].tiles;
  } else {
    // One range of tiles per nest.
    for (const Nest &nest : nests) {
      S first = b.size(spec.tiles);
      spec.tiles += nest.tiles;
      S ours = b.op(Opcode::And, {b.op(Opcode::Ge, {tile, first}), b.op(Opcode::Lt, {tile, b.size(spec.tiles)})});
      S own = b.op(Opcode::IAdd, {tile, b.op(Opcode::IMul, {first, b.index(-1)})});
      b.branch(ours, {}, false, [&] {
        emitNest(b, block, nest, own);
        return SmallVector<S>();
      }, {});
    }
  }
  if (b.hasThreads()) // a kernel on a GPU finds its block's scratch memory itself
    b.size(b.getScratchBytes());
  spec.dims.append(b.getDims().begin(), b.getDims().end());
  spec.scratchBytes = b.getScratchBytes();
  return spec;
}

FailureOr<LoopSpec> llmopt::loops::emitLoopsMLIR(Region &region, StringRef name, ModuleOp into,
                                                 const cpu::TargetInfo &target) {
  if (failed(verify(region)))
    return failure();
  MLIRBuilder builder(name, into, target);
  LoopSpec spec = emitKernel(builder, region.front(), name);
  builder.finish();
  return spec;
}

FailureOr<LoopSpec> llmopt::loops::emitLoopsText(Region &region, StringRef name, raw_ostream &os, TextStyle style) {
  if (failed(verify(region)))
    return failure();
  TextBuilder builder(name, region.front(), style);
  LoopSpec spec = emitKernel(builder, region.front(), name);
  builder.print(spec, os);
  return spec;
}
