#include "PromotedModel.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>
#include <random>
#include <set>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static Type promote(Type type) {
  Type element = getElementTypeOrSelf(type);
  return isa<FloatType>(element) && isa<RankedTensorType>(type)
             ? Type(withElementType(type, Float64Type::get(type.getContext())))
             : type;
}

static double toDouble(APFloat value) {
  bool lost = false;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
  return value.convertToDouble();
}

void test::promoteToF64(ModuleOp module) {
  module.walk([&](Operation *op) {
    if (auto function = dyn_cast<func::FuncOp>(op)) {
      SmallVector<Type> inputs, results;
      for (auto [argument, type] : llvm::zip(function.getArguments(), function.getArgumentTypes())) {
        argument.setType(promote(type));
        inputs.push_back(promote(type));
      }
      for (Type type : function.getResultTypes())
        results.push_back(promote(type));
      function.setFunctionType(FunctionType::get(op->getContext(), inputs, results));
    } else if (auto weight = dyn_cast<WeightOp>(op)) {
      if (promote(weight.getType()) == weight.getType())
        return;
      OpBuilder builder(op->getContext());
      builder.setInsertionPointAfter(weight);
      auto cast = CastOp::create(builder, weight.getLoc(), promote(weight.getType()), weight.getResult());
      weight.getResult().replaceAllUsesExcept(cast.getResult(), cast);
    } else if (auto constant = dyn_cast<ConstantOp>(op)) {
      auto dense = dyn_cast<DenseFPElementsAttr>(constant.getValue());
      if (!dense)
        return;
      SmallVector<double> values;
      for (const APFloat &value : dense.getValues<APFloat>())
        values.push_back(toDouble(value));
      auto type = cast<RankedTensorType>(promote(dense.getType()));
      constant.setValueAttr(cast<TypedAttr>(Attribute(DenseElementsAttr::get(type, ArrayRef(values)))));
      constant.getResult().setType(type);
    } else {
      for (Value result : op->getResults())
        if (!isa<CastOp>(op) || !op->getOperand(0).getDefiningOp<WeightOp>())
          result.setType(promote(result.getType()));
    }
  });
}

/// What integer values of an input may be: below the size of every table that
/// they index, directly or through operations that keep values.
static int64_t getIndexBound(Value value, int depth = 0) {
  int64_t bound = 1 << 20;
  for (Operation *user : value.getUsers()) {
    std::optional<int64_t> rows;
    if (auto gather = dyn_cast<GatherOp>(user); gather && gather.getIndices() == value)
      rows = getDims(gather.getInput())[gather.getAxis()].getConstant();
    else if (auto embedding = dyn_cast<EmbeddingOp>(user); embedding && embedding.getIds() == value)
      rows = getDims(embedding.getTable())[0].getConstant();
    else if (isa<ReshapeOp, TransposeOp, CastOp, SliceOp, BroadcastOp>(user) && depth < 6)
      rows = getIndexBound(user->getResult(0), depth + 1);
    if (rows)
      bound = std::min(bound, *rows);
  }
  return bound;
}

std::vector<Tensor> test::makeInputs(ModuleOp module, unsigned variant, std::map<std::string, int64_t> symbols) {
  auto function = *module.getOps<func::FuncOp>().begin();
  std::mt19937 random(17 + variant);
  std::normal_distribution<double> normal;
  size_t fixed = symbols.size();
  std::vector<Tensor> inputs;
  for (BlockArgument argument : function.getArguments()) {
    SmallVector<int64_t> shape;
    for (const SymExpr &dim : getDims(argument)) {
      std::set<std::string> names;
      dim.collectSymbols(names);
      for (const std::string &name : names) {
        // The first symbol is the batch more often than not.
        int64_t drawn =
            symbols.size() == fixed ? (variant == 1 ? 1 : 3) : 4 + static_cast<int64_t>(symbols.size() % 3) - variant;
        symbols.try_emplace(name, drawn);
      }
      std::optional<int64_t> size = dim.evaluate([&](StringRef name) { return std::optional(symbols.at(name.str())); });
      shape.push_back(size.value_or(2));
    }
    Type type = getElementTypeOrSelf(argument.getType());
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    int64_t rowLength = shape.empty() ? 1 : shape.back(), rows = rowLength ? count / rowLength : 0;
    if (isa<FloatType>(type)) {
      std::vector<double> values(count);
      for (double &value : values)
        value = normal(random);
      inputs.push_back(llvm::cantFail(Tensor::fromFloats(type, shape, values)));
      continue;
    }
    std::vector<int64_t> values(count);
    int64_t bound = getIndexBound(argument);
    auto name = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "lm.name");
    bool isMask = type.isInteger(1) || bound == 1 << 20 || (name && name.getValue().contains_insensitive("mask"));
    for (int64_t row = 0; row < rows; ++row) {
      int64_t length = 1 + static_cast<int64_t>(random() % rowLength);
      if (variant == 2 && row == rows - 1)
        length = 0;
      for (int64_t i = 0; i < rowLength; ++i)
        values[row * rowLength + i] = isMask ? i < length : static_cast<int64_t>(random() % bound);
    }
    inputs.push_back(llvm::cantFail(Tensor::fromInts(type, shape, values)));
  }
  return inputs;
}

std::string test::compare(const Tensor &actual, const Tensor &expected, double tolerance) {
  if (actual.getDims() != expected.getDims() || actual.getElementType() != expected.getElementType())
    return "shapes or element types differ";
  if (!actual.isFloat())
    return actual.ints() == expected.ints() ? "" : "integers differ";
  double largest = 1e-6, error = 0;
  for (double value : expected.floats())
    if (std::isfinite(value))
      largest = std::max(largest, std::fabs(value));
  for (auto [a, b] : llvm::zip(actual.floats(), expected.floats())) {
    if (!std::isfinite(a) || !std::isfinite(b)) {
      if (!(std::isnan(a) && std::isnan(b)) && a != b)
        return llvm::formatv("expected {0}, but got {1}", b, a);
      continue;
    }
    error = std::max(error, std::fabs(a - b) / largest);
  }
  return error <= tolerance ? "" : llvm::formatv("error {0}", error).str();
}
