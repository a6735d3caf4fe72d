// Tensor values from and to bytes (files, runtime) and attributes (constants).
#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/APInt.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace llmopt::lm;

namespace {

/// An IEEE-like format of 5 or 8 exponent bits in 16 bits, as a double (exact).
double decode16(uint16_t bits, int mantissaBits) {
  int exponentBits = 15 - mantissaBits, bias = (1 << (exponentBits - 1)) - 1;
  int exponent = (bits >> mantissaBits) & ((1 << exponentBits) - 1);
  int mantissa = bits & ((1 << mantissaBits) - 1);
  double magnitude;
  if (exponent == (1 << exponentBits) - 1)
    magnitude = mantissa ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  else if (exponent == 0)
    magnitude = std::ldexp(mantissa, 1 - bias - mantissaBits);
  else
    magnitude = std::ldexp(mantissa | (1 << mantissaBits), exponent - bias - mantissaBits);
  return bits & 0x8000 ? -magnitude : magnitude;
}

double decodeFloat(FloatType type, uint64_t bits) {
  if (type.isF64())
    return llvm::bit_cast<double>(bits);
  if (type.isF32())
    return llvm::bit_cast<float>(static_cast<uint32_t>(bits));
  if (type.isF16())
    return decode16(bits, 10);
  if (type.isBF16())
    return decode16(bits, 7);
  if (isa<Float8E8M0FNUType>(type)) // an exponent; APFloat takes its NaN for an infinity
    return bits == 255 ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, static_cast<int>(bits) - 127);
  return llvm::APFloat(type.getFloatSemantics(), llvm::APInt(type.getWidth(), bits)).convertToDouble();
}

llvm::APFloat toAPFloat(FloatType type, double value) {
  bool inexact;
  llvm::APFloat result(value);
  result.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &inexact);
  return result;
}

uint64_t encodeFloat(FloatType type, double value) {
  if (isa<Float8E8M0FNUType>(type))
    return std::isnan(value) ? 255 : static_cast<uint64_t>(std::ilogb(roundToType(type, value)) + 127);
  if (type.isF64())
    return llvm::bit_cast<uint64_t>(value);
  if (type.isF32())
    return llvm::bit_cast<uint32_t>(static_cast<float>(value));
  return toAPFloat(type, roundToType(type, value)).bitcastToAPInt().getZExtValue();
}

/// Bits per element in files; i1 takes a byte.
unsigned storageBits(Type type) { return type.isInteger(1) ? 8 : type.getIntOrFloatBitWidth(); }

} // namespace

llvm::Expected<Tensor> Tensor::fromBytes(Type elementType, ArrayRef<int64_t> dims, ArrayRef<char> bytes) {
  llvm::Expected<Tensor> tensor = create(elementType, dims);
  if (!tensor)
    return tensor;
  int64_t count = tensor->getNumElements();
  std::optional<uint64_t> expected = getStorageBytes(elementType, count);
  if (!expected || *expected != bytes.size())
    return llvm::createStringError(
        llvm::inconvertibleErrorCode(),
        llvm::formatv("expected {0} bytes, but got {1}", expected.value_or(0), bytes.size()).str());
  unsigned bits = storageBits(elementType);
  uint64_t mask = llvm::maskTrailingOnes<uint64_t>(bits);
  auto floatType = dyn_cast<FloatType>(elementType);
  MutableArrayRef<double> floats = tensor->mutableFloats();
  MutableArrayRef<int64_t> ints = tensor->mutableInts();
  for (int64_t i = 0; i < count; ++i) {
    uint64_t raw = 0;
    if (bits < 8)
      raw = (static_cast<uint8_t>(bytes[i * bits / 8]) >> (i * bits % 8)) & mask;
    else
      std::memcpy(&raw, bytes.data() + i * (bits / 8), bits / 8);
    if (floatType)
      floats[i] = decodeFloat(floatType, raw);
    else
      ints[i] = elementType.isInteger(1) ? raw != 0 : wrapToType(elementType, static_cast<int64_t>(raw));
  }
  return tensor;
}

std::vector<char> Tensor::toBytes() const {
  unsigned bits = storageBits(elementType);
  uint64_t mask = llvm::maskTrailingOnes<uint64_t>(bits);
  int64_t count = getNumElements();
  std::vector<char> bytes((count * bits + 7) / 8);
  auto floatType = dyn_cast<FloatType>(elementType);
  for (int64_t i = 0; i < count; ++i) {
    uint64_t raw = (floatType ? encodeFloat(floatType, floats()[i]) : static_cast<uint64_t>(ints()[i])) & mask;
    if (bits < 8)
      bytes[i * bits / 8] |= static_cast<char>(raw << (i * bits % 8));
    else
      std::memcpy(bytes.data() + i * (bits / 8), &raw, bits / 8);
  }
  return bytes;
}

llvm::Expected<Tensor> Tensor::fromAttr(ElementsAttr attr) {
  Type elementType = attr.getElementType();
  llvm::Expected<Tensor> tensor = create(elementType, attr.getShapedType().getShape());
  if (!tensor)
    return tensor;
  if (auto floatType = dyn_cast<FloatType>(elementType)) {
    auto values = attr.tryGetValues<llvm::APFloat>();
    if (values) {
      for (auto [out, value] : llvm::zip(tensor->mutableFloats(), *values))
        out = decodeFloat(floatType, value.bitcastToAPInt().getZExtValue());
      return tensor;
    }
  } else {
    auto values = attr.tryGetValues<llvm::APInt>();
    if (values) {
      for (auto [out, value] : llvm::zip(tensor->mutableInts(), *values))
        out = wrapToType(elementType, static_cast<int64_t>(value.getZExtValue()));
      return tensor;
    }
  }
  // Resources and the like have bytes only (booleans are packed there: one bit each).
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(attr); resource && !elementType.isInteger(1))
    if (const AsmResourceBlob *blob = resource.getRawHandle().getBlob())
      return fromBytes(elementType, attr.getShapedType().getShape(), blob->getData());
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 "expected elements whose values can be read, but got an opaque attribute");
}

DenseElementsAttr Tensor::toAttr() const {
  RankedTensorType type = getType();
  int64_t count = getNumElements();
  if (auto floatType = dyn_cast<FloatType>(elementType)) {
    SmallVector<llvm::APFloat> values;
    values.reserve(count);
    for (double value : floats())
      values.push_back(llvm::APFloat(floatType.getFloatSemantics(),
                                     llvm::APInt(floatType.getWidth(), encodeFloat(floatType, value))));
    return DenseElementsAttr::get(type, values);
  }
  SmallVector<llvm::APInt> values;
  values.reserve(count);
  for (int64_t value : ints())
    values.push_back(llvm::APInt(elementType.getIntOrFloatBitWidth(), static_cast<uint64_t>(value), /*isSigned=*/false,
                                 /*implicitTrunc=*/true));
  return DenseElementsAttr::get(type, values);
}
