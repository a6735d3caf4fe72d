// Which module of the original model a node belongs to, read from what exporters
// leave in it.
#ifndef LLMOPT_IMPORT_ONNX_SCOPES_H
#define LLMOPT_IMPORT_ONNX_SCOPES_H

#include "onnx-ml.pb.h"

#include <string>

namespace llmopt::onnx_import {

/// "encoder.layer.0.attention.self.query", or empty. Understands the scopes of
/// the TorchScript exporter in node names ("/encoder/layer.0/.../MatMul") and
/// those of the dynamo exporter in metadata ("pkg.torch.onnx.name_scopes").
std::string getModuleScope(const onnx::NodeProto &node);

} // namespace llmopt::onnx_import

#endif
