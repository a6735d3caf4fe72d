#include "VerifyInputs.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"

#include <random>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// The number of rows of the smallest table that `ids` picks rows of, looking
/// through operations that only move or convert them; 0 if there is none.
int64_t tableRows(Value ids) {
  int64_t rows = 0;
  auto take = [&](Value table, int64_t axis) {
    std::optional<int64_t> size = getDims(table)[axis].getConstant();
    if (size && (rows == 0 || *size < rows))
      rows = *size;
  };
  SmallVector<Value> work = {ids};
  DenseSet<Value> seen;
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (!seen.insert(value).second)
      continue;
    for (Operation *user : value.getUsers()) {
      if (auto gather = dyn_cast<GatherOp>(user)) {
        if (gather.getIndices() == value)
          take(gather.getInput(), gather.getAxis());
      } else if (auto embedding = dyn_cast<EmbeddingOp>(user)) {
        take(embedding.getTable(), 0);
      } else if (isa<ReshapeOp, BroadcastOp, TransposeOp, SliceOp, CastOp, ConcatOp>(user)) {
        work.push_back(user->getResult(0));
      }
    }
  }
  return rows;
}

std::optional<int64_t> lookUp(const llvm::StringMap<int64_t> &bindings, StringRef name) {
  auto it = bindings.find(name);
  return it == bindings.end() ? std::nullopt : std::optional(it->second);
}

} // namespace

llvm::Expected<SmallVector<Tensor>> llmopt::makeInputs(func::FuncOp function) {
  // 3 rows of 11 tokens: odd, and neither divides a tile.
  static constexpr int64_t kSizes[] = {3, 11, 5, 7};
  llvm::StringMap<int64_t> bindings;
  for (Type type : function.getArgumentTypes())
    for (const SymExpr &dim : getDims(type))
      if (std::optional<std::string> symbol = dim.getSymbol())
        bindings.try_emplace(*symbol, kSizes[bindings.size() % std::size(kSizes)]);

  std::mt19937 random(1);
  SmallVector<Tensor> inputs;
  for (BlockArgument argument : function.getArguments()) {
    Type element = getElementTypeOrSelf(argument.getType());
    SmallVector<int64_t> dims;
    int64_t count = 1;
    for (const SymExpr &dim : getDims(argument)) {
      std::optional<int64_t> size = dim.evaluate([&](StringRef name) { return lookUp(bindings, name); });
      if (!size || *size < 1)
        return llvm::createStringError("cannot make inputs of shape " + dim.str() + "; give them by -expect");
      dims.push_back(*size);
      if (llvm::MulOverflow(count, *size, count) || count > Tensor::maxElements)
        return llvm::createStringError("inputs are too large to make up; give them by -expect");
    }
    if (isa<FloatType>(element)) {
      std::vector<double> values(count);
      std::uniform_real_distribution<double> uniform(-1.0, 1.0);
      for (double &value : values)
        value = uniform(random);
      llvm::Expected<Tensor> tensor = Tensor::fromFloats(element, dims, values);
      if (!tensor)
        return tensor.takeError();
      inputs.push_back(*tensor);
      continue;
    }
    std::vector<int64_t> values(count);
    int64_t rows = tableRows(argument), width = dims.empty() ? 1 : dims.back();
    for (int64_t i = 0; i < count; ++i) {
      int64_t length = std::max<int64_t>(1, width - (i / width) * (width / 3 + 1));
      values[i] = rows > 0 ? static_cast<int64_t>(random() % rows) : i % width < length ? 1 : 0;
    }
    llvm::Expected<Tensor> tensor = Tensor::fromInts(element, dims, values);
    if (!tensor)
      return tensor.takeError();
    inputs.push_back(*tensor);
  }
  return inputs;
}
