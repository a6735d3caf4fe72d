// Dimensions, strides and copies that every family of the evaluator uses.
#include "EvalOps.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

std::string eval::text(ArrayRef<int64_t> dims) {
  return llvm::formatv("[{0:$[, ]}]", llvm::iterator_range(dims)).str();
}

SmallVector<std::optional<int64_t>> eval::resolveDims(Type type, const SymbolBindings &bindings) {
  SmallVector<std::optional<int64_t>> values;
  for (const SymExpr &dim : getDims(type))
    values.push_back(dim.evaluate([&](llvm::StringRef name) -> std::optional<int64_t> {
      auto it = bindings.find(name);
      return it == bindings.end() ? std::nullopt : std::optional(it->second);
    }));
  return values;
}

llvm::Expected<Dims> eval::requireDims(Type type, const SymbolBindings &bindings) {
  Dims dims;
  for (auto [i, value] : llvm::enumerate(resolveDims(type, bindings))) {
    if (!value)
      return fail("expected dimension {0} of {1} to be bound by an input", i, type);
    dims.push_back(*value);
  }
  return dims;
}

llvm::Expected<Dims> eval::requireValues(SymValuesAttr attr, const SymbolBindings &bindings) {
  Dims values;
  for (const SymExpr &expr : getExprs(attr)) {
    std::optional<int64_t> value = expr.evaluate([&](llvm::StringRef name) -> std::optional<int64_t> {
      auto it = bindings.find(name);
      return it == bindings.end() ? std::nullopt : std::optional(it->second);
    });
    if (!value)
      return fail("expected the size expression \"{0}\" to be bound by an input", expr.str());
    values.push_back(*value);
  }
  return values;
}

Dims eval::rowMajorStrides(ArrayRef<int64_t> dims) {
  Dims strides(dims.size(), 1);
  for (int64_t i = static_cast<int64_t>(dims.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * dims[i + 1];
  return strides;
}

llvm::Expected<Dims> eval::broadcastShapes(ArrayRef<ArrayRef<int64_t>> shapes) {
  Dims dims;
  for (ArrayRef<int64_t> other : shapes) {
    if (other.size() > dims.size())
      dims.insert(dims.begin(), other.size() - dims.size(), 1);
    size_t offset = dims.size() - other.size();
    for (auto [i, size] : llvm::enumerate(other)) {
      int64_t &dim = dims[offset + i];
      if (dim == 1)
        dim = size;
      else if (size != 1 && size != dim)
        return fail("expected operands that broadcast, but got {0} and {1}", text(dims), text(other));
    }
  }
  return dims;
}

Result eval::stridedCopy(const Tensor &input, ArrayRef<int64_t> dims, int64_t base, ArrayRef<int64_t> strides) {
  Result result = Tensor::create(input.getElementType(), dims);
  if (!result)
    return result;
  ElementCopier copier(*result, input);
  Dims index(dims.size(), 0);
  int64_t from = base;
  for (int64_t to = 0, count = result->getNumElements(); to < count; ++to) {
    copier.copy(to, from);
    for (int64_t i = static_cast<int64_t>(dims.size()) - 1; i >= 0; --i) {
      from += strides[i];
      if (++index[i] < dims[i])
        break;
      from -= strides[i] * dims[i];
      index[i] = 0;
    }
  }
  return result;
}

Result eval::broadcastTo(const Tensor &input, ArrayRef<int64_t> dims) {
  if (input.getDims() == dims)
    return input;
  int64_t offset = static_cast<int64_t>(dims.size()) - input.getRank();
  bool fits = offset >= 0;
  Dims strides(dims.size(), 0), own = rowMajorStrides(input.getDims());
  for (int64_t i = 0; fits && i < input.getRank(); ++i) {
    if (input.getDim(i) == dims[offset + i])
      strides[offset + i] = own[i];
    else
      fits = input.getDim(i) == 1;
  }
  if (!fits)
    return fail("expected an operand that broadcasts to {0}, but got {1}", text(dims), text(input.getDims()));
  return stridedCopy(input, dims, 0, strides);
}

ElementCopier::ElementCopier(Tensor &target, const Tensor &source)
    : floatsTo(target.mutableFloats()), intsTo(target.mutableInts()), floatsFrom(source.floats()),
      intsFrom(source.ints()), isFloat(source.isFloat()) {}

void ElementCopier::copy(int64_t to, int64_t from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (isFloat)
      floatsTo[to + i] = floatsFrom[from + i];
    else
      intsTo[to + i] = intsFrom[from + i];
  }
}

AxisView::AxisView(ArrayRef<int64_t> dims, int64_t axis) {
  for (auto [i, dim] : llvm::enumerate(dims)) {
    int64_t &part = static_cast<int64_t>(i) < axis ? outer : static_cast<int64_t>(i) == axis ? size : inner;
    part *= dim;
  }
}

llvm::Error eval::forIndicesAlong(int64_t axis, const Tensor &indices, ArrayRef<int64_t> dims,
                                  llvm::function_ref<void(int64_t, int64_t)> fn) {
  for (auto [i, size] : llvm::enumerate(dims))
    if (static_cast<int64_t>(i) != axis && indices.getDim(i) > size)
      return fail("expected indices of at most {0}, but got {1}", text(dims), text(indices.getDims()));
  Dims own = rowMajorStrides(indices.getDims()), strides = rowMajorStrides(dims);
  for (int64_t n = 0, count = indices.getNumElements(); n < count; ++n) {
    int64_t at = 0;
    for (size_t i = 0; i < dims.size(); ++i) {
      int64_t position = n / own[i] % indices.getDim(i);
      if (static_cast<int64_t>(i) == axis) {
        llvm::Expected<int64_t> index = indexAt(indices, n, dims[axis]);
        if (!index)
          return index.takeError();
        position = *index;
      }
      at += position * strides[i];
    }
    fn(n, at);
  }
  return llvm::Error::success();
}
