// Tensors of a model: element types, small contents, and the file of large ones.
#ifndef LLMOPT_EXPORT_ONNX_TENSORS_H
#define LLMOPT_EXPORT_ONNX_TENSORS_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Support/AtomicFile.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "onnx-ml.pb.h"
#include "llvm/ADT/StringSet.h"

namespace llmopt::onnx_export {

/// TensorProto::UNDEFINED where ONNX has no such type.
onnx::TensorProto::DataType getDataType(mlir::Type elementType);
/// The first operator set whose common operators take the type.
int64_t getOpsetOf(mlir::Type elementType);

/// Contents inside of the model file.
llvm::Error fillInline(onnx::TensorProto &tensor, mlir::ElementsAttr elements);

/// The weights of a model: small ones inside of it, large ones in a file of their
/// own, which exists only where there is one.
class WeightWriter {
public:
  explicit WeightWriter(llvm::StringRef modelPath) : path((modelPath + ".data").str()) {}

  llvm::Error fill(onnx::TensorProto &tensor, lm::WeightOp weight);
  llvm::Error fill(onnx::TensorProto &tensor, const lm::Tensor &contents);
  /// The file of large weights, if there are any.
  AtomicFile *getFile() { return file ? &*file : nullptr; }
  const std::string &getPath() const { return path; }

private:
  llvm::Error store(onnx::TensorProto &tensor, llvm::ArrayRef<char> bytes);

  std::string path;
  std::optional<AtomicFile> file;
};

} // namespace llmopt::onnx_export

#endif
