// A model file: its skeleton as protobuf, its tensors as places in files.
#ifndef LLMOPT_IMPORT_ONNX_MODELFILE_H
#define LLMOPT_IMPORT_ONNX_MODELFILE_H

#include "ExternalData.h"
#include "MappedFile.h"
#include "WireScanner.h"

#include "onnx-ml.pb.h"

#include "mlir/IR/BuiltinAttributes.h"

namespace llmopt::onnx_import {

/// A tensor, decoded as far as needed to use it.
struct TensorData {
  mlir::RankedTensorType type;
  /// Where the bytes are: in a file (`path` not empty), else in `decoded`.
  std::string path;
  uint64_t offset = 0;
  /// The bytes: mapped, or `decoded`. Little endian, packed as ONNX does.
  llvm::ArrayRef<uint8_t> bytes;
  std::vector<uint8_t> decoded;
};

class ModelFile {
public:
  /// Maps and parses. Returns null and sets `error`.
  static std::unique_ptr<ModelFile> open(llvm::StringRef path, std::string &error);

  const onnx::ModelProto &model() const { return proto; }
  onnx::ModelProto &mutableModel() { return proto; }

  /// Type, place and bytes of a tensor. Returns false and sets `error`, which
  /// does not name the tensor.
  bool readTensor(mlir::MLIRContext *context, const onnx::TensorProto &tensor, TensorData &data, std::string &error);

  /// Gives back the pages of the mapped model.
  void dropPages() const { mapped->dropPages(); }

private:
  explicit ModelFile(llvm::StringRef path) : external(path) {}
  friend mlir::DenseElementsAttr readTensorFile(mlir::MLIRContext *, llvm::StringRef, std::string &);

  bool findBytes(const onnx::TensorProto &tensor, uint64_t wanted, TensorData &data, std::string &error);
  bool findExternal(const onnx::TensorProto &tensor, uint64_t wanted, TensorData &data, std::string &error);

  std::string absolutePath;
  std::unique_ptr<MappedFile> mapped;
  std::vector<Payload> payloads;
  onnx::ModelProto proto;
  ExternalData external;
  uint64_t decodedBytes = 0;
};

/// The element type of the lm dialect; null and `error` for those it lacks.
mlir::Type getElementType(mlir::MLIRContext *context, int32_t dataType, std::string &error);

/// A dense attribute of `data` (which has a static type and fitting bytes).
mlir::DenseElementsAttr toDense(const TensorData &data);

/// A file that holds one TensorProto.
mlir::DenseElementsAttr readTensorFile(mlir::MLIRContext *context, llvm::StringRef path, std::string &error);

} // namespace llmopt::onnx_import

#endif
