#include "llmopt/Dialect/LM/Eval/RuntimeBytes.h"

using namespace mlir;
using namespace llmopt::lm;

/// Bits of an element that shares its byte in files; 0 for others.
static unsigned getPackedBits(Type type) {
  unsigned bits = type.getIntOrFloatBitWidth();
  return bits > 1 && bits < 8 ? bits : 0;
}

std::vector<char> llmopt::lm::toRuntimeBytes(const Tensor &tensor) {
  std::vector<char> packed = tensor.toBytes();
  unsigned bits = getPackedBits(tensor.getElementType());
  if (!bits)
    return packed;
  unsigned perByte = 8 / bits, up = 8 - bits;
  bool isSigned = tensor.getElementType().isSignlessInteger();
  std::vector<char> bytes(tensor.getNumElements());
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto high = static_cast<uint8_t>((static_cast<uint8_t>(packed[i / perByte]) >> (i % perByte * bits)) << up);
    bytes[i] = static_cast<char>(isSigned ? static_cast<int8_t>(high) >> up : high >> up);
  }
  return bytes;
}

llvm::Expected<Tensor> llmopt::lm::fromRuntimeBytes(Type elementType, ArrayRef<int64_t> dims, ArrayRef<char> bytes) {
  unsigned bits = getPackedBits(elementType);
  if (!bits)
    return Tensor::fromBytes(elementType, dims, bytes);
  unsigned perByte = 8 / bits;
  std::vector<char> packed((bytes.size() + perByte - 1) / perByte);
  for (size_t i = 0; i < bytes.size(); ++i)
    packed[i / perByte] |= static_cast<char>((bytes[i] & ((1 << bits) - 1)) << (i % perByte * bits));
  return Tensor::fromBytes(elementType, dims, packed);
}
