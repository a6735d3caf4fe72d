#include "OpTable.h"

using namespace llmopt::onnx_export;

OpTable::OpTable() {
  addElementwiseOps(*this);
  addShapeOps(*this);
  addReduceOps(*this);
  addMatmulOps(*this);
  addTransformerOps(*this);
  addAttentionOps(*this);
  addQuantOps(*this);
  addIndexOps(*this);
  addControlOps(*this);
}

const OpTable &OpTable::get() {
  static const OpTable table;
  return table;
}
