// Tensor values: creation with checked sizes, rounding, sharing.
#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmopt::lm;

static llvm::Error makeError(const llvm::formatv_object_base &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message.str());
}

std::optional<int64_t> llmopt::lm::countElements(ArrayRef<int64_t> dims) {
  int64_t count = 1;
  bool overflow = false, empty = false;
  for (int64_t dim : dims) {
    if (dim < 0)
      return std::nullopt;
    empty |= dim == 0;
    overflow |= dim != 0 && llvm::MulOverflow(count, dim, count);
  }
  if (overflow)
    return std::nullopt;
  return empty ? 0 : count;
}

std::optional<uint64_t> llmopt::lm::getStorageBytes(Type elementType, uint64_t numElements) {
  if (!elementType.isIntOrFloat())
    return std::nullopt;
  uint64_t bits = elementType.isInteger(1) ? 8 : elementType.getIntOrFloatBitWidth();
  if (bits != 2 && bits != 4 && (bits % 8 != 0 || bits > 64))
    return std::nullopt;
  uint64_t total;
  if (numElements > std::numeric_limits<uint64_t>::max() / bits ||
      (total = numElements * bits) > std::numeric_limits<uint64_t>::max() - 7)
    return std::nullopt;
  return (total + 7) / 8;
}

/// Rounds to `precision` bits of significand with exponents from `minExponent`
/// on (below, subnormals); past `largest` is infinity. Scaling by powers of two
/// is exact, so nearbyint rounds once.
static double roundIEEE(double value, int precision, int minExponent, double largest) {
  if (!std::isfinite(value) || value == 0.0)
    return value;
  int exponent = std::max(std::ilogb(value), minExponent);
  double rounded = std::ldexp(std::nearbyint(std::ldexp(value, precision - 1 - exponent)), exponent - (precision - 1));
  if (std::abs(rounded) > largest)
    return std::copysign(std::numeric_limits<double>::infinity(), value);
  return rounded;
}

double llmopt::lm::roundToType(Type elementType, double value) {
  if (elementType.isF64())
    return value;
  if (elementType.isF32())
    return static_cast<float>(value);
  if (elementType.isF16())
    return roundIEEE(value, 11, -14, 65504.0);
  if (elementType.isBF16())
    return roundIEEE(value, 8, -126, 0x1.FEp127);
  // Types without zero, infinities or NaN take what they have instead.
  if (isa<Float8E8M0FNUType>(elementType)) {
    if (!std::isfinite(value) || value >= 0x1.8p127)
      return std::numeric_limits<double>::quiet_NaN();
    value = std::max(value, 0x1p-127);
  }
  if (isa<Float4E2M1FNType>(elementType))
    value = std::isnan(value) ? -0.0 : std::clamp(value, -6.0, 6.0);
  bool inexact;
  llvm::APFloat narrow(value);
  narrow.convert(cast<FloatType>(elementType).getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &inexact);
  return narrow.convertToDouble();
}

int64_t llmopt::lm::wrapToType(Type elementType, int64_t value) {
  unsigned width = elementType.getIntOrFloatBitWidth();
  if (width >= 64)
    return value;
  uint64_t low = static_cast<uint64_t>(value) & llvm::maskTrailingOnes<uint64_t>(width);
  if (width == 1 || elementType.isUnsignedInteger())
    return static_cast<int64_t>(low);
  return llvm::SignExtend64(low, width);
}

llvm::Expected<Tensor> Tensor::create(Type elementType, ArrayRef<int64_t> dims) {
  bool isFloat = isa<FloatType>(elementType);
  if (!elementType.isIntOrFloat() || elementType.getIntOrFloatBitWidth() > 64 ||
      elementType.getIntOrFloatBitWidth() == 0)
    return makeError(
        llvm::formatv("expected elements that are floats or integers of at most 64 bits, but got {0}", elementType));
  std::optional<int64_t> count = countElements(dims);
  if (!count || *count > maxElements)
    return makeError(llvm::formatv("expected a tensor of at most {0} elements, but got dimensions [{1}]", maxElements,
                                   llvm::iterator_range(dims)));
  Tensor tensor;
  tensor.elementType = elementType;
  tensor.dims.assign(dims.begin(), dims.end());
  tensor.storage = std::make_shared<Storage>();
  if (isFloat)
    tensor.storage->floats.resize(*count);
  else
    tensor.storage->ints.resize(*count);
  return tensor;
}

static llvm::Error checkCount(int64_t expected, size_t got) {
  if (static_cast<size_t>(expected) == got || got == 1)
    return llvm::Error::success();
  return makeError(llvm::formatv("expected {0} values, but got {1}", expected, got));
}

llvm::Expected<Tensor> Tensor::fromFloats(Type elementType, ArrayRef<int64_t> dims, ArrayRef<double> values) {
  if (!isa<FloatType>(elementType))
    return makeError(llvm::formatv("expected a float type, but got {0}", elementType));
  llvm::Expected<Tensor> tensor = create(elementType, dims);
  if (!tensor)
    return tensor;
  MutableArrayRef<double> out = tensor->mutableFloats();
  if (llvm::Error error = checkCount(out.size(), values.size()))
    return std::move(error);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = roundToType(elementType, values[values.size() == 1 ? 0 : i]);
  return tensor;
}

llvm::Expected<Tensor> Tensor::fromInts(Type elementType, ArrayRef<int64_t> dims, ArrayRef<int64_t> values) {
  if (!isa<IntegerType>(elementType))
    return makeError(llvm::formatv("expected an integer type, but got {0}", elementType));
  llvm::Expected<Tensor> tensor = create(elementType, dims);
  if (!tensor)
    return tensor;
  MutableArrayRef<int64_t> out = tensor->mutableInts();
  if (llvm::Error error = checkCount(out.size(), values.size()))
    return std::move(error);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = wrapToType(elementType, values[values.size() == 1 ? 0 : i]);
  return tensor;
}

int64_t Tensor::getNumElements() const {
  return storage ? static_cast<int64_t>(isFloat() ? storage->floats.size() : storage->ints.size()) : 0;
}

RankedTensorType Tensor::getType() const { return RankedTensorType::get(dims, elementType); }

void Tensor::unshare() {
  if (storage.use_count() > 1)
    storage = std::make_shared<Storage>(*storage);
}

MutableArrayRef<double> Tensor::mutableFloats() {
  unshare();
  return storage->floats;
}

MutableArrayRef<int64_t> Tensor::mutableInts() {
  unshare();
  return storage->ints;
}

double Tensor::asDouble(int64_t i) const {
  if (isFloat())
    return storage->floats[i];
  int64_t value = storage->ints[i];
  return isUnsigned() ? static_cast<double>(static_cast<uint64_t>(value)) : static_cast<double>(value);
}

Tensor Tensor::reshaped(ArrayRef<int64_t> newDims) const {
  Tensor tensor = *this;
  tensor.dims.assign(newDims.begin(), newDims.end());
  return tensor;
}
