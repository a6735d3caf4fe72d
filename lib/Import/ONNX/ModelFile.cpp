#include "ModelFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"

using namespace llmopt::onnx_import;

static std::string makeAbsolute(llvm::StringRef path) {
  llvm::SmallString<256> absolute(path);
  if (llvm::sys::fs::make_absolute(absolute))
    return path.str();
  return absolute.str().str();
}

std::unique_ptr<ModelFile> ModelFile::open(llvm::StringRef path, std::string &error) {
  std::unique_ptr<ModelFile> file(new ModelFile(path));
  file->absolutePath = makeAbsolute(path);
  file->mapped = MappedFile::open(path.str(), error);
  if (!file->mapped)
    return nullptr;
  if (file->mapped->bytes().empty()) {
    error = "expected an ONNX model, but the file is empty";
    return nullptr;
  }
  Skeleton skeleton;
  if (!scanModel(file->mapped->bytes(), skeleton, error)) {
    error = "not a readable ONNX model: " + error;
    return nullptr;
  }
  file->payloads = std::move(skeleton.payloads);
  if (!file->proto.ParseFromArray(skeleton.bytes.data(), static_cast<int>(skeleton.bytes.size()))) {
    error = "not an ONNX model: the file is no valid ModelProto";
    return nullptr;
  }
  if (!file->proto.has_graph()) {
    error = "not an ONNX model: it has no graph";
    return nullptr;
  }
  return file;
}

mlir::DenseElementsAttr llmopt::onnx_import::readTensorFile(mlir::MLIRContext *context, llvm::StringRef path,
                                                            std::string &error) {
  ModelFile file(path);
  file.absolutePath = makeAbsolute(path);
  file.mapped = MappedFile::open(path.str(), error);
  if (!file.mapped)
    return {};
  Skeleton skeleton;
  if (!scanTensor(file.mapped->bytes(), skeleton, error))
    return {};
  file.payloads = std::move(skeleton.payloads);
  onnx::TensorProto tensor;
  if (!tensor.ParseFromArray(skeleton.bytes.data(), static_cast<int>(skeleton.bytes.size()))) {
    error = "not a TensorProto";
    return {};
  }
  TensorData data;
  if (!file.readTensor(context, tensor, data, error))
    return {};
  if (data.bytes.size() > (uint64_t(256) << 20)) {
    error = "expected at most 256 MB, but got " + std::to_string(data.bytes.size()) + " bytes";
    return {};
  }
  return toDense(data);
}
