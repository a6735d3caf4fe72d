// Expressions over weights as recipes.
#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/CodeGen/Plan/Tables.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;

uint32_t llmopt::getDType(Type type) {
  if (type.isF32())
    return LLMOPT_F32;
  if (type.isF64())
    return LLMOPT_F64;
  if (type.isF16())
    return LLMOPT_F16;
  if (type.isBF16())
    return LLMOPT_BF16;
  if (type.isInteger(1))
    return LLMOPT_BOOL;
  bool isUnsigned = type.isUnsignedInteger();
  if (type.isInteger(8))
    return isUnsigned ? LLMOPT_U8 : LLMOPT_I8;
  if (type.isInteger(16))
    return isUnsigned ? LLMOPT_U16 : LLMOPT_I16;
  if (type.isInteger(32))
    return isUnsigned ? LLMOPT_U32 : LLMOPT_I32;
  if (type.isInteger(64))
    return isUnsigned ? LLMOPT_U64 : LLMOPT_I64;
  if (type.isInteger(4))
    return isUnsigned ? LLMOPT_U4 : LLMOPT_I4;
  if (type.isInteger(2))
    return isUnsigned ? LLMOPT_U2 : LLMOPT_I2;
  return llvm::TypeSwitch<Type, uint32_t>(type)
      .Case<Float8E4M3FNType>([](Type) { return LLMOPT_F8E4M3FN; })
      .Case<Float8E4M3FNUZType>([](Type) { return LLMOPT_F8E4M3FNUZ; })
      .Case<Float8E5M2Type>([](Type) { return LLMOPT_F8E5M2; })
      .Case<Float8E5M2FNUZType>([](Type) { return LLMOPT_F8E5M2FNUZ; })
      .Case<Float8E8M0FNUType>([](Type) { return LLMOPT_F8E8M0; })
      .Case<Float4E2M1FNType>([](Type) { return LLMOPT_F4E2M1; })
      .Default([](Type) { return 0; });
}

Type llmopt::getTypeOfDType(MLIRContext *context, uint32_t dtype) {
  Builder b(context);
  SmallVector<Type> types{b.getF32Type(), b.getF64Type(), b.getF16Type(), b.getBF16Type(), b.getI1Type()};
  types.append({Float8E4M3FNType::get(context), Float8E4M3FNUZType::get(context), Float8E5M2Type::get(context),
                Float8E5M2FNUZType::get(context), Float8E8M0FNUType::get(context), Float4E2M1FNType::get(context)});
  for (unsigned width : {2, 4, 8, 16, 32, 64})
    for (auto sign : {IntegerType::Signless, IntegerType::Unsigned})
      types.push_back(IntegerType::get(context, width, sign));
  for (Type type : types)
    if (dtype && getDType(type) == dtype)
      return type;
  return {};
}

std::vector<char> llmopt::getBytes(DenseElementsAttr attr) {
  std::vector<char> bytes;
  Type type = attr.getElementType();
  if (type.isInteger(1)) {
    for (bool value : attr.getValues<bool>())
      bytes.push_back(value);
    return bytes;
  }
  // Signed integers of fewer than eight bits are sign extended (abi.h).
  if (unsigned bits = type.getIntOrFloatBitWidth(); bits < 8 && type.isSignlessInteger()) {
    for (const llvm::APInt &value : attr.getValues<llvm::APInt>())
      bytes.push_back(static_cast<char>(value.getSExtValue()));
    return bytes;
  }
  ArrayRef<char> raw = attr.getRawData();
  int64_t copies = attr.isSplat() ? attr.getNumElements() : 1;
  bytes.reserve(raw.size() * copies);
  for (int64_t i = 0; i < copies; ++i)
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  return bytes;
}

namespace {
class RecipeBuilder {
public:
  FailureOr<size_t> add(Value value);
  Recipe recipe;

private:
  LogicalResult fill(Operation *op, Recipe::Node &node);
  DenseMap<Value, size_t> indexOf;
};
} // namespace

static void assign(std::vector<int64_t> &to, ArrayRef<int64_t> from) { to.assign(from.begin(), from.end()); }

LogicalResult RecipeBuilder::fill(Operation *op, Recipe::Node &node) {
  using Op = Recipe::Op;
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](lm::WeightOp weight) {
        node.op = Op::Weight;
        node.name = weight.getName().str();
        return success();
      })
      .Case([&](lm::ConstantOp constant) {
        auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
        if (!dense)
          return failure();
        node.op = Op::Constant;
        node.data = getBytes(dense);
        return success();
      })
      .Case([&](lm::ReshapeOp) { return node.op = Op::Reshape, success(); })
      .Case([&](lm::TransposeOp transpose) {
        node.op = Op::Transpose;
        assign(node.ints, transpose.getPerm());
        return success();
      })
      .Case([&](lm::SliceOp slice) {
        node.op = Op::Slice;
        for (const lm::SymExpr &start : lm::getExprs(slice.getStarts())) {
          if (!start.getConstant())
            return failure();
          node.ints.push_back(*start.getConstant());
        }
        node.ints.insert(node.ints.end(), slice.getSteps().begin(), slice.getSteps().end());
        return success();
      })
      .Case([&](lm::ConcatOp concat) {
        node.op = Op::Concat;
        node.ints = {int64_t(concat.getAxis())};
        return success();
      })
      .Case([&](lm::CastOp) { return node.op = Op::Cast, success(); })
      .Case([&](lm::AddOp) { return node.op = Op::Add, success(); })
      .Case([&](lm::SubOp) { return node.op = Op::Sub, success(); })
      .Case([&](lm::MulOp) { return node.op = Op::Mul, success(); })
      .Case([&](lm::DivOp) { return node.op = Op::Div, success(); })
      .Case([&](lm::AbsMaxScaleOp scale) {
        node.op = Op::AbsMaxScale;
        assign(node.ints, scale.getAxes());
        node.number = scale.getQmax().convertToDouble();
        return success();
      })
      .Case([&](kernel::ColumnSumsOp) { return node.op = Op::ColumnSums, success(); })
      .Case([&](lm::QuantizeOp quantize) {
        node.op = Op::Quantize;
        node.ints = {quantize.getNarrowRange()};
        return success();
      })
      .Case([&](lm::DequantizeOp) { return node.op = Op::Dequantize, success(); })
      .Case([&](kernel::PackOp pack) {
        bool shifted = pack.getLayout() == kernel::Layout::Quads;
        node.op = Op::Panels;
        node.ints = {int64_t(pack.getWidth()), kernel::getPackedGroup(pack.getLayout()), shifted ? 128 : 0};
        if (pack.getLayout() == kernel::Layout::Rows) // panels of one column
          node.ints = {1, int64_t(pack.getWidth()), 0};
        return success();
      })
      .Case([&](kernel::PackGroupsOp pack) {
        bool isSigned = getElementTypeOrSelf(pack.getInput()).isSignlessInteger();
        node.op = Op::Groups;
        const bool isRows = pack.getLayout() == kernel::Layout::Rows;
        node.ints = {isRows ? 0 : int64_t(pack.getWidth()), isSigned ? 8 : 0};
        return success();
      })
      .Default([](Operation *) { return failure(); });
}

FailureOr<size_t> RecipeBuilder::add(Value value) {
  if (auto it = indexOf.find(value); it != indexOf.end())
    return it->second;
  Operation *op = value.getDefiningOp();
  Recipe::Node node;
  auto type = dyn_cast<RankedTensorType>(value.getType());
  node.dtype = getDType(getElementTypeOrSelf(value));
  if (!op || !type || !type.hasStaticShape() || !node.dtype || failed(fill(op, node)))
    return emitError(value.getLoc()) << "expected an expression over weights, but got a value of type "
                                     << value.getType();
  assign(node.dims, type.getShape());
  for (Value operand : op->getOperands()) {
    FailureOr<size_t> index = add(operand);
    if (failed(index))
      return failure();
    node.operands.push_back(*index);
  }
  recipe.nodes.push_back(std::move(node));
  return indexOf[value] = recipe.nodes.size() - 1;
}

FailureOr<Recipe> llmopt::buildRecipe(Value value) {
  RecipeBuilder builder;
  if (failed(builder.add(value)))
    return failure();
  return std::move(builder.recipe);
}
