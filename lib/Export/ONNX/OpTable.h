// Which ONNX nodes an lm operation becomes.
#ifndef LLMOPT_EXPORT_ONNX_OPTABLE_H
#define LLMOPT_EXPORT_ONNX_OPTABLE_H

#include "OpWriter.h"

namespace llmopt::onnx_export {

using Emitter = void (*)(OpWriter &);

class OpTable {
public:
  static const OpTable &get();

  /// Null where the operation has no ONNX form.
  Emitter find(llvm::StringRef op) const { return emitters.lookup(op); }
  template <typename Op> void add(Emitter emitter) { emitters[Op::getOperationName()] = emitter; }

private:
  OpTable();

  llvm::StringMap<Emitter> emitters;
};

void addElementwiseOps(OpTable &t);
void addShapeOps(OpTable &t);
void addReduceOps(OpTable &t);
void addMatmulOps(OpTable &t);
void addTransformerOps(OpTable &t);
void addAttentionOps(OpTable &t);
void addQuantOps(OpTable &t);
void addIndexOps(OpTable &t);
void addControlOps(OpTable &t);

} // namespace llmopt::onnx_export

#endif
