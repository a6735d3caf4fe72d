// Which values are narrow is decided in one walk, producers first: every value keeps
// its f32 form, a cast behind the narrow one, so that an operation that stays as it
// is needs no change. Casts that nobody reads go with the next cleanup.
#include "llmopt/Dialect/LM/IR/WeightStore.h"
#include "llmopt/Transforms/Precision/Passes.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

namespace llmopt {
#define GEN_PASS_DEF_MIXEDPRECISIONPASS
#include "llmopt/Transforms/Precision/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

bool isF32(Value value) { return getElementTypeOrSelf(value).isF32(); }

/// A dequantized value, perhaps out of groups.
bool isDequantized(Value value) {
  if (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return value.getDefiningOp<DequantizeOp>() != nullptr;
}

/// A product of quantized values, whose operands kernels match as they are.
bool readsQuantized(Operation *op) { return llvm::any_of(op->getOperands(), isDequantized); }

/// Operations that are worth it wherever they stand.
bool isCore(Operation *op) {
  if (auto append = dyn_cast<KVAppendOp>(op))
    return isa<BlockArgument>(append.getCache()) && append.getCache().hasOneUse();
  return isa<LinearOp, MatMulOp, AttentionOp, EmbeddingOp, NormOp>(op) && !readsQuantized(op);
}

/// Operations that cost a pass over memory, and gain from narrow operands.
bool isFollower(Operation *op) {
  return isa<AddOp, SubOp, MulOp, NegOp, MinOp, MaxOp, ReluOp, LeakyReluOp, EluOp, TanhOp, SigmoidOp, GeluOp, WhereOp,
             ClipOp, ReshapeOp, TransposeOp, BroadcastOp, ConcatOp, SliceOp, PadOp, GatherOp>(op);
}

class Converter {
public:
  Converter(func::FuncOp function, FloatType type)
      : function(function), type(type), largest(APFloat::getLargest(type.getFloatSemantics()).convertToDouble()) {}

  /// How many operations are narrow now.
  FailureOr<unsigned> run() {
    unsigned count = 0;
    for (Operation &op : llvm::make_early_inc_range(function.getBody().front())) {
      if (op.getNumResults() != 1 || op.getNumRegions() || !isF32(op.getResult(0)) || isConstantTree(op.getResult(0)))
        continue;
      if (auto linear = dyn_cast<LinearOp>(op); linear && readsQuantized(&op)) {
        if (!isDequantized(linear.getInput()))
          narrowInput(linear);
        narrowResult(&op);
        ++count;
        continue;
      }
      bool core = isCore(&op);
      if (!core && !(isFollower(&op) && canFollow(&op)))
        continue;
      FailureOr<Value> wide = findTooLarge(&op);
      if (failed(wide))
        return failure();
      if (*wide) {
        if (core)
          op.emitRemark() << "stays f32: a constant holds values that " << type << " does not";
        continue;
      }
      convert(&op);
      ++count;
    }
    return count;
  }

private:
  /// Weights, constants, and what is computed from nothing else when weights are written.
  bool isConstantTree(Value value) {
    auto [it, isNew] = constantTrees.try_emplace(value, false);
    if (!isNew)
      return it->second;
    Operation *op = value.getDefiningOp();
    bool constant = op && cast<RankedTensorType>(value.getType()).hasStaticShape() &&
                    (isa<WeightOp>(op) || op->hasTrait<OpTrait::ConstantLike>() ||
                     (op->getNumOperands() && !op->getNumRegions() && isPure(op) &&
                      llvm::all_of(op->getOperands(), [&](Value operand) { return isConstantTree(operand); })));
    return constantTrees[value] = constant;
  }

  bool canFollow(Operation *op) {
    bool any = false;
    for (Value operand : op->getOperands()) {
      if (!isF32(operand) || isConstantTree(operand))
        continue;
      if (!narrowed.count(operand))
        return false;
      any = true;
    }
    return any;
  }

  /// Operands that the operation keeps in f32.
  static bool keeps(Operation *op, OpOperand &operand) {
    if (auto norm = dyn_cast<NormOp>(op))
      return operand.get() != norm.getInput();
    if (auto attention = dyn_cast<AttentionOp>(op))
      return attention.getMask() && operand.getOperandNumber() == 3;
    return false;
  }

  /// A constant operand with a finite element beyond `largest`; null if there is none.
  FailureOr<Value> findTooLarge(Operation *op) {
    for (OpOperand &operand : op->getOpOperands()) {
      if (!isF32(operand.get()) || keeps(op, operand) || !isConstantTree(operand.get()))
        continue;
      FailureOr<double> magnitude = getMagnitude(operand.get());
      if (failed(magnitude))
        return failure();
      if (*magnitude > largest)
        return operand.get();
    }
    return Value();
  }

  /// The largest finite |x| among the weights and constants that `value` is made of.
  FailureOr<double> getMagnitude(Value value) {
    if (auto it = magnitudes.find(value); it != magnitudes.end())
      return it->second;
    double magnitude = 0;
    auto add = [&](float x) {
      double size = std::abs(static_cast<double>(x));
      if (size <= std::numeric_limits<float>::max())
        magnitude = std::max(magnitude, size);
    };
    Operation *op = value.getDefiningOp();
    DenseElementsAttr constant;
    if (!isF32(value)) {
    } else if (auto weight = dyn_cast<WeightOp>(op)) {
      if (auto dense = dyn_cast<DenseElementsAttr>(weight.getSource()); dense && dense.isSplat()) {
        add(dense.getSplatValue<float>());
      } else {
        WeightStore &store = WeightStore::get(op->getContext());
        llvm::Expected<ArrayRef<char>> bytes = store.getBytes(weight);
        if (!bytes)
          return weight.emitError() << llvm::toString(bytes.takeError());
        for (size_t at = 0; at + sizeof(float) <= bytes->size(); at += sizeof(float)) {
          float x;
          std::memcpy(&x, bytes->data() + at, sizeof(x));
          add(x);
        }
        store.release(weight);
      }
    } else if (matchPattern(value, m_Constant(&constant))) {
      for (float x : constant.getValues<float>())
        add(x);
    } else {
      for (Value operand : op->getOperands()) {
        FailureOr<double> part = getMagnitude(operand);
        if (failed(part))
          return failure();
        magnitude = std::max(magnitude, *part);
      }
    }
    return magnitudes[value] = magnitude;
  }

  Value getNarrow(Value value, Operation *user) {
    if (Value known = narrowed.lookup(value))
      return known;
    if (auto cast = value.getDefiningOp<CastOp>(); cast && getElementTypeOrSelf(cast.getInput()) == type)
      return cast.getInput();
    // Beside the definition, so that later users find it, too.
    OpBuilder builder(user);
    if (Operation *definition = value.getDefiningOp())
      builder.setInsertionPointAfter(definition);
    else
      builder.setInsertionPointToStart(&function.getBody().front());
    Value cast = CastOp::create(builder, value.getLoc(), value, type);
    // What is narrow only here is no reason for others to follow.
    if (isConstantTree(value))
      narrowed[value] = cast;
    return cast;
  }

  /// Only the weight is quantized: rows are rounded to `type`, which kernels read as it is.
  void narrowInput(LinearOp linear) {
    Value narrow = getNarrow(linear.getInput(), linear);
    OpBuilder builder(linear);
    linear.getInputMutable().assign(CastOp::create(builder, linear.getLoc(), narrow, builder.getF32Type()));
  }

  /// The operation stays as it is; what follows it reads its result as `type`.
  void narrowResult(Operation *op) {
    OpBuilder builder(op->getContext());
    builder.setInsertionPointAfter(op);
    Value result = op->getResult(0);
    auto narrow = CastOp::create(builder, op->getLoc(), result, type);
    auto wide = CastOp::create(builder, op->getLoc(), narrow, builder.getF32Type());
    result.replaceAllUsesExcept(wide, narrow);
    narrowed[wide] = narrow;
  }

  /// A cache holds what is appended to it.
  void convertCache(BlockArgument cache) {
    cache.setType(getTensorType(getDims(cache), type));
    SmallVector<Type> inputs(function.getArgumentTypes());
    inputs[cache.getArgNumber()] = cache.getType();
    function.setFunctionType(FunctionType::get(function.getContext(), inputs, function.getResultTypes()));
  }

  void convert(Operation *op) {
    if (auto append = dyn_cast<KVAppendOp>(op))
      convertCache(cast<BlockArgument>(append.getCache()));
    for (OpOperand &operand : op->getOpOperands())
      if (isF32(operand.get()) && !keeps(op, operand))
        operand.set(getNarrow(operand.get(), op));
    Value result = op->getResult(0);
    result.setType(getTensorType(getDims(result), type));
    OpBuilder builder(op->getContext());
    builder.setInsertionPointAfter(op);
    auto wide = CastOp::create(builder, op->getLoc(), result, builder.getF32Type());
    result.replaceAllUsesExcept(wide, wide);
    narrowed[wide] = result;
  }

  func::FuncOp function;
  FloatType type;
  double largest;
  llvm::DenseMap<Value, Value> narrowed; // f32 -> the same value as `type`
  llvm::DenseMap<Value, bool> constantTrees;
  llvm::DenseMap<Value, double> magnitudes;
};

struct MixedPrecisionPass : llmopt::impl::MixedPrecisionPassBase<MixedPrecisionPass> {
  using llmopt::impl::MixedPrecisionPassBase<MixedPrecisionPass>::MixedPrecisionPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isDeclaration() || function.isPrivate())
      return;
    MLIRContext *context = &getContext();
    FloatType narrow = type == "f16" ? FloatType(Float16Type::get(context)) : FloatType(BFloat16Type::get(context));
    if (type != "f16" && type != "bf16") {
      function.emitError() << "expected f16 or bf16, but got " << type.getValue();
      return signalPassFailure();
    }
    FailureOr<unsigned> count = Converter(function, narrow).run();
    if (failed(count))
      return signalPassFailure();
    if (*count == 0) {
      function.emitError() << "nothing to compute in " << narrow << ": the model has no f32 product, attention or norm";
      return signalPassFailure();
    }
  }
};

} // namespace
