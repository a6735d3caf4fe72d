#include "llmopt/Transforms/Quantization/DerivedWeights.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace llmopt;

DerivedWeights::~DerivedWeights() {
  if (!folder.empty())
    llvm::sys::fs::remove_directories(folder);
}

llvm::Expected<lm::FileAttr> DerivedWeights::write(MLIRContext *context, ArrayRef<char> bytes) {
  if (folder.empty())
    if (std::error_code error = llvm::sys::fs::createUniqueDirectory("llmopt-weights", folder))
      return llvm::createStringError(error, "cannot create a temporary folder: " + error.message());
  llvm::SmallString<128> path = folder;
  llvm::sys::path::append(path, std::to_string(count++));
  std::error_code error;
  llvm::raw_fd_ostream os(path, error);
  if (!error) {
    os.write(bytes.data(), bytes.size());
    os.close();
    error = os.error();
    os.clear_error();
  }
  if (error)
    return llvm::createStringError(error, path + ": cannot write: " + error.message());
  return lm::FileAttr::get(context, StringAttr::get(context, path), 0, bytes.size());
}

/// Two to a byte, the first in the low bits.
static std::vector<char> packNibbles(const std::vector<int8_t> &values) {
  std::vector<char> bytes((values.size() + 1) / 2);
  for (size_t i = 0; i < values.size(); ++i)
    bytes[i / 2] |= static_cast<char>((values[i] & 15) << (i % 2 * 4));
  return bytes;
}

static std::vector<char> toBytes(const std::vector<int8_t> &values, int bits) {
  return bits == 4 ? packNibbles(values) : std::vector<char>(values.begin(), values.end());
}

llvm::Expected<StoredWeight> DerivedWeights::store(MLIRContext *context, StringRef name,
                                                   const QuantizedMatrix &matrix) {
  auto element =
      IntegerType::get(context, matrix.bits, matrix.symmetric ? IntegerType::Signless : IntegerType::Unsigned);
  int64_t groups = matrix.k / matrix.group, k = matrix.k, n = matrix.n;
  using Dims = SmallVector<int64_t>;
  bool grouped = matrix.bits == 4;
  StoredWeight stored;
  stored.name = name.str();
  stored.type = RankedTensorType::get(grouped ? Dims{groups, matrix.group, n} : Dims{k, n}, element);
  stored.parameterType = RankedTensorType::get(grouped ? Dims{groups, 1, n} : Dims{1, n}, Float32Type::get(context));
  llvm::Expected<lm::FileAttr> q = write(context, toBytes(matrix.q, matrix.bits));
  if (!q)
    return q.takeError();
  stored.q = *q;
  ArrayRef scales(reinterpret_cast<const char *>(matrix.scale.data()), 4 * matrix.scale.size());
  llvm::Expected<lm::FileAttr> scale = write(context, scales);
  if (!scale)
    return scale.takeError();
  stored.scale = *scale;
  if (!matrix.symmetric) {
    llvm::Expected<lm::FileAttr> zero = write(context, toBytes(matrix.zeroPoint, matrix.bits));
    if (!zero)
      return zero.takeError();
    stored.zeroPoint = *zero;
  }
  return stored;
}

SolvedWeight llmopt::createWeights(OpBuilder &builder, Location loc, const StoredWeight &stored) {
  auto create = [&](const char *suffix, RankedTensorType type, lm::FileAttr file) -> Value {
    return lm::WeightOp::create(builder, loc, type, builder.getStringAttr(stored.name + suffix), file);
  };
  SolvedWeight solved;
  solved.q = create("#quantized", stored.type, stored.q);
  solved.scale = create("#scale", stored.parameterType, stored.scale);
  if (stored.zeroPoint)
    solved.zeroPoint =
        create("#zero_point", RankedTensorType::get(stored.parameterType.getShape(), stored.type.getElementType()),
               stored.zeroPoint);
  return solved;
}
