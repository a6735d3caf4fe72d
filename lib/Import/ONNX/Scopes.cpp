#include "Scopes.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

using llvm::SmallVector;
using llvm::StringRef;

// ['', 'encoder', 'encoder.layer.0', 'linear_3'] as Python prints it. The last
// entry is the operation; the one before it is the module.
static std::string fromNameScopes(StringRef text) {
  SmallVector<StringRef> parts;
  text = text.trim().trim("[]");
  text.split(parts, ',');
  if (parts.size() < 2)
    return "";
  return parts[parts.size() - 2].trim().trim("'\"").str();
}

// "root: BertModel/encoder: BertEncoder/encoder.layer.0: BertLayer/linear: aten".
static std::string fromNamespace(StringRef text) {
  SmallVector<StringRef> parts;
  text.split(parts, '/');
  if (parts.size() < 2)
    return "";
  StringRef module = parts[parts.size() - 2].split(':').first.trim();
  return module == "root" ? "" : module.str();
}

// "/encoder/layer.0/attention/self/query/MatMul_1": all but the last part.
static std::string fromNodeName(StringRef name) {
  if (!name.contains('/'))
    return "";
  SmallVector<StringRef> parts;
  name.split(parts, '/', -1, /*KeepEmpty=*/false);
  if (parts.empty())
    return "";
  parts.pop_back();
  return llvm::join(parts, ".");
}

std::string llmopt::onnx_import::getModuleScope(const onnx::NodeProto &node) {
  std::string module;
  for (const onnx::StringStringEntryProto &entry : node.metadata_props()) {
    if (entry.key() == "pkg.torch.onnx.name_scopes")
      return fromNameScopes(entry.value());
    if (entry.key() == "namespace" || entry.key() == "pkg.torch.onnx.namespace")
      module = fromNamespace(entry.value());
  }
  return module.empty() ? fromNodeName(node.name()) : module;
}
