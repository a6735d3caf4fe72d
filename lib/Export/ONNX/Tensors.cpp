#include "Tensors.h"

#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_export;
using onnx::TensorProto;

/// From this many bytes on a weight is external.
static constexpr uint64_t kExternalBytes = 16 << 10;
/// Readers map external data: pages are the unit.
static constexpr uint64_t kAlignment = 4096;

TensorProto::DataType onnx_export::getDataType(Type type) {
  if (isa<Float32Type>(type))
    return TensorProto::FLOAT;
  if (isa<Float64Type>(type))
    return TensorProto::DOUBLE;
  if (isa<Float16Type>(type))
    return TensorProto::FLOAT16;
  if (isa<BFloat16Type>(type))
    return TensorProto::BFLOAT16;
  if (isa<Float8E4M3FNType>(type))
    return TensorProto::FLOAT8E4M3FN;
  if (isa<Float8E4M3FNUZType>(type))
    return TensorProto::FLOAT8E4M3FNUZ;
  if (isa<Float8E5M2Type>(type))
    return TensorProto::FLOAT8E5M2;
  if (isa<Float8E5M2FNUZType>(type))
    return TensorProto::FLOAT8E5M2FNUZ;
  if (isa<Float8E8M0FNUType>(type))
    return TensorProto::FLOAT8E8M0;
  if (isa<Float4E2M1FNType>(type))
    return TensorProto::FLOAT4E2M1;
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer || integer.isSigned())
    return TensorProto::UNDEFINED;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return isUnsigned ? TensorProto::UNDEFINED : TensorProto::BOOL;
  case 2:
    return isUnsigned ? TensorProto::UINT2 : TensorProto::INT2;
  case 4:
    return isUnsigned ? TensorProto::UINT4 : TensorProto::INT4;
  case 8:
    return isUnsigned ? TensorProto::UINT8 : TensorProto::INT8;
  case 16:
    return isUnsigned ? TensorProto::UINT16 : TensorProto::INT16;
  case 32:
    return isUnsigned ? TensorProto::UINT32 : TensorProto::INT32;
  case 64:
    return isUnsigned ? TensorProto::UINT64 : TensorProto::INT64;
  default:
    return TensorProto::UNDEFINED;
  }
}

int64_t onnx_export::getOpsetOf(Type type) {
  switch (getDataType(type)) {
  case TensorProto::BFLOAT16:
    return 22;
  case TensorProto::FLOAT8E4M3FN:
  case TensorProto::FLOAT8E4M3FNUZ:
  case TensorProto::FLOAT8E5M2:
  case TensorProto::FLOAT8E5M2FNUZ:
    return 19;
  case TensorProto::INT4:
  case TensorProto::UINT4:
    return 21;
  case TensorProto::FLOAT4E2M1:
    return 23;
  case TensorProto::FLOAT8E8M0:
    return 24;
  case TensorProto::INT2:
  case TensorProto::UINT2:
    return 25;
  default:
    return 1;
  }
}

static void describe(TensorProto &tensor, ShapedType type) {
  tensor.set_data_type(getDataType(type.getElementType()));
  for (int64_t dim : type.getShape())
    tensor.add_dims(dim);
}

llvm::Error onnx_export::fillInline(TensorProto &tensor, ElementsAttr elements) {
  describe(tensor, elements.getShapedType());
  llvm::Expected<lm::Tensor> contents = lm::Tensor::fromAttr(elements);
  if (!contents)
    return contents.takeError();
  std::vector<char> bytes = contents->toBytes();
  tensor.set_raw_data(bytes.data(), bytes.size());
  return llvm::Error::success();
}

llvm::Error WeightWriter::fill(TensorProto &tensor, lm::WeightOp weight) {
  if (auto elements = dyn_cast<ElementsAttr>(weight.getSource())) {
    llvm::Expected<lm::Tensor> contents = lm::Tensor::fromAttr(elements);
    return contents ? fill(tensor, *contents) : contents.takeError();
  }
  auto source = dyn_cast<lm::FileAttr>(weight.getSource());
  if (!source)
    return llvm::createStringError("expected weight \"%s\" to have a file or elements", weight.getName().str().c_str());
  if (llvm::sys::fs::equivalent(source.getPath().getValue(), path))
    return llvm::createStringError("expected another output: %s holds weights of the model", path.c_str());
  auto &weights = lm::WeightStore::get(weight.getContext());
  llvm::Expected<ArrayRef<char>> bytes = weights.getBytes(source);
  if (!bytes)
    return bytes.takeError();
  describe(tensor, weight.getType());
  if (llvm::Error error = store(tensor, *bytes))
    return error;
  weights.release(source);
  return llvm::Error::success();
}

llvm::Error WeightWriter::fill(TensorProto &tensor, const lm::Tensor &contents) {
  describe(tensor, contents.getType());
  return store(tensor, contents.toBytes());
}

llvm::Error WeightWriter::store(TensorProto &tensor, ArrayRef<char> bytes) {
  if (bytes.size() < kExternalBytes) {
    tensor.set_raw_data(bytes.data(), bytes.size());
    return llvm::Error::success();
  }
  if (!file) {
    llvm::Expected<AtomicFile> created = AtomicFile::create(path);
    if (!created)
      return created.takeError();
    file.emplace(std::move(*created));
  }
  if (llvm::Error error = file->pad(kAlignment))
    return error;
  uint64_t offset = file->size();
  if (llvm::Error error = file->write(bytes))
    return error;
  tensor.set_data_location(TensorProto::EXTERNAL);
  auto add = [&](const char *key, std::string value) {
    onnx::StringStringEntryProto *entry = tensor.add_external_data();
    entry->set_key(key);
    entry->set_value(std::move(value));
  };
  add("location", llvm::sys::path::filename(path).str());
  add("offset", std::to_string(offset));
  add("length", std::to_string(bytes.size()));
  return llvm::Error::success();
}
