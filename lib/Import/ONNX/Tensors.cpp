// TensorProtos of a skeleton: their types and where their bytes are.
#include "Diagnostics.h"
#include "ModelFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

using namespace llmopt::onnx_import;
using onnx::TensorProto;

/// What is kept in typed fields (int32_data and so on) is decoded into memory;
/// all of it together may not be more than this.
static constexpr uint64_t kMaxDecodedBytes = uint64_t(256) << 20;

mlir::Type llmopt::onnx_import::getElementType(mlir::MLIRContext *context, int32_t dataType, std::string &error) {
  mlir::Builder b(context);
  auto integer = [&](unsigned bits, bool isUnsigned = false) -> mlir::Type {
    return mlir::IntegerType::get(context, bits,
                                  isUnsigned ? mlir::IntegerType::Unsigned : mlir::IntegerType::Signless);
  };
  switch (dataType) {
  case TensorProto::FLOAT:
    return b.getF32Type();
  case TensorProto::DOUBLE:
    return b.getF64Type();
  case TensorProto::FLOAT16:
    return b.getF16Type();
  case TensorProto::BFLOAT16:
    return b.getBF16Type();
  case TensorProto::FLOAT8E4M3FN:
    return mlir::Float8E4M3FNType::get(context);
  case TensorProto::FLOAT8E4M3FNUZ:
    return mlir::Float8E4M3FNUZType::get(context);
  case TensorProto::FLOAT8E5M2:
    return mlir::Float8E5M2Type::get(context);
  case TensorProto::FLOAT8E5M2FNUZ:
    return mlir::Float8E5M2FNUZType::get(context);
  case TensorProto::FLOAT8E8M0:
    return mlir::Float8E8M0FNUType::get(context);
  case TensorProto::FLOAT4E2M1:
    return mlir::Float4E2M1FNType::get(context);
  case TensorProto::BOOL:
    return integer(1);
  case TensorProto::INT2:
    return integer(2);
  case TensorProto::UINT2:
    return integer(2, true);
  case TensorProto::INT4:
    return integer(4);
  case TensorProto::UINT4:
    return integer(4, true);
  case TensorProto::INT8:
    return integer(8);
  case TensorProto::UINT8:
    return integer(8, true);
  case TensorProto::INT16:
    return integer(16);
  case TensorProto::UINT16:
    return integer(16, true);
  case TensorProto::INT32:
    return integer(32);
  case TensorProto::UINT32:
    return integer(32, true);
  case TensorProto::INT64:
    return integer(64);
  case TensorProto::UINT64:
    return integer(64, true);
  default:
    break;
  }
  std::string name = TensorProto::DataType_IsValid(dataType)
                         ? TensorProto::DataType_Name(static_cast<TensorProto::DataType>(dataType))
                         : std::to_string(dataType);
  error = "unsupported element type " + name;
  return {};
}

// Bytes of `count` elements as ONNX stores them; nullopt on overflow.
static std::optional<uint64_t> getBytes(mlir::Type type, uint64_t count) {
  unsigned bits = type.getIntOrFloatBitWidth();
  if (bits == 2 || bits == 4)
    return llvm::divideCeil(count, 8 / bits);
  uint64_t width = bits == 1 ? 1 : bits / 8;
  if (count > UINT64_MAX / width)
    return std::nullopt;
  return count * width;
}

template <typename T, typename Field> static void appendAs(const Field &field, std::vector<uint8_t> &out) {
  out.reserve(field.size() * sizeof(T));
  for (auto value : field) {
    T narrow = static_cast<T>(value);
    auto *bytes = reinterpret_cast<const uint8_t *>(&narrow);
    out.insert(out.end(), bytes, bytes + sizeof(T));
  }
}

// The contents of the typed fields, as raw_data would hold them.
static void decodeFields(const TensorProto &tensor, std::vector<uint8_t> &out) {
  switch (tensor.data_type()) {
  case TensorProto::FLOAT:
    return appendAs<float>(tensor.float_data(), out);
  case TensorProto::DOUBLE:
    return appendAs<double>(tensor.double_data(), out);
  case TensorProto::INT64:
    return appendAs<int64_t>(tensor.int64_data(), out);
  case TensorProto::UINT32:
    return appendAs<uint32_t>(tensor.uint64_data(), out);
  case TensorProto::UINT64:
    return appendAs<uint64_t>(tensor.uint64_data(), out);
  case TensorProto::INT32:
    return appendAs<int32_t>(tensor.int32_data(), out);
  case TensorProto::FLOAT16:
  case TensorProto::BFLOAT16:
  case TensorProto::INT16:
  case TensorProto::UINT16:
    return appendAs<uint16_t>(tensor.int32_data(), out);
  default: // one byte per element, or several elements of four or two bits
    return appendAs<uint8_t>(tensor.int32_data(), out);
  }
}

bool ModelFile::readTensor(mlir::MLIRContext *context, const TensorProto &tensor, TensorData &data,
                           std::string &error) {
  mlir::Type elementType = onnx_import::getElementType(context, tensor.data_type(), error);
  if (!elementType)
    return false;
  uint64_t count = 1;
  llvm::SmallVector<int64_t> dims;
  if (tensor.dims_size() > 64) {
    error = "expected at most 64 dimensions, but got " + std::to_string(tensor.dims_size());
    return false;
  }
  for (int64_t dim : tensor.dims()) {
    if (dim < 0) {
      error = "dimension " + std::to_string(dim) + " is negative";
      return false;
    }
    bool overflow = false;
    count = llvm::SaturatingMultiply(count, static_cast<uint64_t>(dim), &overflow);
    if (overflow || count > uint64_t(INT64_MAX)) {
      error = "the number of elements overflows";
      return false;
    }
    dims.push_back(dim);
  }
  std::optional<uint64_t> wanted = getBytes(elementType, count);
  if (!wanted || *wanted > uint64_t(INT64_MAX)) {
    error = "the number of bytes overflows";
    return false;
  }
  data.type = mlir::RankedTensorType::get(dims, elementType);
  return findBytes(tensor, *wanted, data, error);
}

bool ModelFile::findBytes(const TensorProto &tensor, uint64_t wanted, TensorData &data, std::string &error) {
  if (tensor.has_segment()) {
    error = "segmented tensors are not supported";
    return false;
  }
  if (tensor.data_location() == TensorProto::EXTERNAL)
    return findExternal(tensor, wanted, data, error);
  if (tensor.has_raw_data()) {
    // The scanner wrote every raw_data: 8 bytes, an index into the payloads.
    uint64_t index =
        tensor.raw_data().size() == 8 ? llvm::support::endian::read64le(tensor.raw_data().data()) : payloads.size();
    if (index >= payloads.size()) {
      error = "the tensor has no data";
      return false;
    }
    Payload payload = payloads[index];
    data.path = absolutePath;
    data.offset = payload.offset;
    data.bytes = mapped->bytes().slice(payload.offset, payload.length);
  } else {
    int64_t values = int64_t(tensor.float_data_size()) + tensor.int32_data_size() + tensor.int64_data_size() +
                     tensor.double_data_size() + tensor.uint64_data_size();
    decodedBytes += static_cast<uint64_t>(values) * 8;
    if (decodedBytes > kMaxDecodedBytes) {
      error = "tensors kept in typed fields exceed 256 MB; save the model with raw_data";
      return false;
    }
    decodeFields(tensor, data.decoded);
    data.bytes = data.decoded;
  }
  if (data.bytes.size() != wanted) {
    error = "expected " + std::to_string(wanted) + " bytes of data, but got " + std::to_string(data.bytes.size());
    return false;
  }
  return true;
}

bool ModelFile::findExternal(const TensorProto &tensor, uint64_t wanted, TensorData &data, std::string &error) {
  llvm::StringRef location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
  for (const onnx::StringStringEntryProto &entry : tensor.external_data()) {
    uint64_t number = 0;
    llvm::StringRef value = entry.value();
    if (entry.key() == "location") {
      location = value;
    } else if (entry.key() == "offset" || entry.key() == "length") {
      if (!llvm::to_integer(value, number, 10)) {
        error = "external data has the " + entry.key() + " '" + printable(value) + "'";
        return false;
      }
      if (entry.key() == "offset")
        offset = number;
      else
        length = number;
    }
  }
  const ExternalData::File *file = external.open(location, error);
  if (!file)
    return false;
  if (length && *length != wanted) {
    error = "expected " + std::to_string(wanted) + " bytes of external data, but got a length of " +
            std::to_string(*length);
    return false;
  }
  uint64_t size = file->mapped->bytes().size();
  if (offset > size || wanted > size - offset) {
    error = "external data ends behind the file '" + printable(location) + "' (offset " + std::to_string(offset) +
            ", " + std::to_string(wanted) + " bytes, the file has " + std::to_string(size) + ")";
    return false;
  }
  data.path = file->path;
  data.offset = offset;
  data.bytes = file->mapped->bytes().slice(offset, wanted);
  return true;
}

mlir::DenseElementsAttr llmopt::onnx_import::toDense(const TensorData &data) {
  mlir::RankedTensorType type = data.type;
  llvm::ArrayRef<uint8_t> bytes = data.bytes;
  unsigned bits = type.getElementTypeBitWidth();
  uint64_t count = static_cast<uint64_t>(type.getNumElements());
  if (count == 0)
    return mlir::DenseElementsAttr::get(type, llvm::ArrayRef<mlir::Attribute>{});
  if (bits == 1) {
    llvm::SmallVector<bool> values(count);
    for (uint64_t i = 0; i < count; ++i)
      values[i] = bytes[i] != 0;
    return mlir::DenseElementsAttr::get(type, llvm::ArrayRef<bool>(values));
  }
  std::vector<char> raw;
  if (bits < 8) {
    // MLIR keeps one element per byte.
    unsigned perByte = 8 / bits, mask = (1u << bits) - 1;
    raw.resize(count);
    for (uint64_t i = 0; i < count; ++i)
      raw[i] = static_cast<char>((bytes[i / perByte] >> (i % perByte * bits)) & mask);
  } else {
    raw.assign(bytes.begin(), bytes.end());
  }
  return mlir::DenseElementsAttr::getFromRawBuffer(type, raw);
}
