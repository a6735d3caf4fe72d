// Constants and weights.
#include "llmopt/Dialect/LM/IR/LM.h"

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
  auto file = dyn_cast<FileAttr>(getSource());
  if (!file)
    return emitOpError() << "expected elements or #lm.file as source, but got " << getSource();
  uint64_t bits = type.getElementTypeBitWidth() == 1 ? 8 : type.getElementTypeBitWidth();
  uint64_t bytes = (static_cast<uint64_t>(type.getNumElements()) * bits + 7) / 8;
  if (file.getBytes() != bytes)
    return emitOpError() << "expected " << bytes << " bytes in the file, but got " << file.getBytes();
  return success();
}
