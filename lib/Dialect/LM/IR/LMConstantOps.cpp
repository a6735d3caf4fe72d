// Constants and weights.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (!type.hasStaticShape()) // (C1)
    return emitOpError() << "expected a static type, but got " << type;
  if (auto elements = dyn_cast<ElementsAttr>(getSource())) { // (C2)
    if (elements.getType() != type)
      return emitOpError() << "expected a source of type " << type << ", but got " << elements.getType();
    return success();
  }
  if (auto drawn = dyn_cast<DrawnAttr>(getSource())) { // (C2)
    double scale = drawn.getScale().getValueAsDouble();
    if (!type.getElementType().isF32() || !(scale >= 0) || std::isinf(scale))
      return emitOpError() << "expected f32 elements of a scale that is not negative, but got " << type << " and "
                           << drawn;
    return success();
  }
  auto file = dyn_cast<FileAttr>(getSource());
  if (!file)
    return emitOpError() << "expected elements, #lm.file or #lm.drawn as source, but got " << getSource();
  std::optional<int64_t> count = countElements(type.getShape());
  std::optional<uint64_t> bytes = count ? getStorageBytes(type.getElementType(), *count) : std::nullopt;
  if (!bytes)
    return emitOpError() << "expected a type whose bytes can be counted, but got " << type;
  if (file.getBytes() != *bytes)
    return emitOpError() << "expected " << *bytes << " bytes in the file, but got " << file.getBytes();
  return success();
}
