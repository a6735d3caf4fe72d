// -weights: the model with the weights of a safetensors file.
#include "Session.h"

#include "llmopt/Dialect/LM/IR/ModuleNames.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace llmopt;

namespace {

struct StoredTensor {
  std::string type;
  SmallVector<int64_t> shape;
  uint64_t offset, size;
};

/// A folder that goes with this object.
struct Folder {
  llvm::SmallString<128> path;
  ~Folder() {
    if (!path.empty())
      llvm::sys::fs::remove_directories(path);
  }
};

StringRef getTypeName(Type type) {
  if (type.isF32())
    return "F32";
  if (type.isF64())
    return "F64";
  if (type.isF16())
    return "F16";
  if (type.isBF16())
    return "BF16";
  if (type.isInteger(64))
    return "I64";
  if (type.isInteger(32))
    return "I32";
  if (type.isInteger(8))
    return type.isUnsignedInteger() ? "U8" : "I8";
  return "";
}

std::string toText(StringRef type, ArrayRef<int64_t> shape) {
  std::string text = (type + "[").str();
  for (int64_t dim : shape)
    text += (text.back() == '[' ? "" : ", ") + std::to_string(dim);
  return text + "]";
}

/// The header of a file; an error says what is wrong with it.
llvm::Expected<llvm::StringMap<StoredTensor>> readHeader(StringRef path, StringRef file) {
  auto damaged = [&](const llvm::Twine &why) {
    return llvm::createStringError(path + ": damaged safetensors file: " + why);
  };
  uint64_t length = 0;
  if (file.size() < 8)
    return damaged("it is shorter than its header");
  memcpy(&length, file.data(), 8);
  if (length > file.size() - 8)
    return damaged("its header is longer than the file");
  llvm::Expected<llvm::json::Value> header = llvm::json::parse(file.substr(8, length));
  if (!header)
    return damaged(llvm::toString(header.takeError()));
  const llvm::json::Object *object = header->getAsObject();
  if (!object)
    return damaged("its header is no object");
  llvm::StringMap<StoredTensor> tensors;
  for (const auto &[key, value] : *object) {
    if (key == "__metadata__")
      continue;
    const llvm::json::Object *entry = value.getAsObject();
    const llvm::json::Array *shape = entry ? entry->getArray("shape") : nullptr;
    const llvm::json::Array *offsets = entry ? entry->getArray("data_offsets") : nullptr;
    std::optional<StringRef> type = entry ? entry->getString("dtype") : std::nullopt;
    if (!shape || !offsets || !type || offsets->size() != 2)
      return damaged("'" + key.str() + "' has no type, shape or place");
    std::optional<uint64_t> first = (*offsets)[0].getAsUINT64(), last = (*offsets)[1].getAsUINT64();
    if (!first || !last || *first > *last || *last > file.size() - 8 - length)
      return damaged("'" + key.str() + "' lies outside of it");
    StoredTensor tensor{type->str(), {}, 8 + length + *first, *last - *first};
    for (const llvm::json::Value &dim : *shape)
      tensor.shape.push_back(dim.getAsInteger().value_or(-1));
    tensors[key.str()] = std::move(tensor);
  }
  return std::move(tensors);
}

/// rows x columns elements of some bytes each, the other way round.
std::vector<char> transpose(const char *from, int64_t rows, int64_t columns, int64_t bytes) {
  std::vector<char> to(static_cast<size_t>(rows * columns * bytes));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      memcpy(&to[(c * rows + r) * bytes], from + (r * columns + c) * bytes, bytes);
  return to;
}

} // namespace

int llmopt::replaceWeights(Session &session) {
  const std::string &path = session.line.weights;
  if (path.empty())
    return kOk;
  session.beginPhase("weights");
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return session.fail(kBadModel, path + ": " + buffer.getError().message());
  StringRef file = (*buffer)->getBuffer();
  llvm::Expected<llvm::StringMap<StoredTensor>> tensors = readHeader(path, file);
  if (!tensors)
    return session.fail(kBadModel, llvm::toString(tensors.takeError()));
  // Relative paths would be looked up elsewhere by a reproducer.
  llvm::SmallString<128> absolute(path);
  llvm::sys::fs::make_absolute(absolute);
  auto folder = std::make_unique<Folder>();
  size_t replaced = 0;
  std::string firstMissing;
  std::optional<int> failure;
  MLIRContext *context = &session.context;
  session.module->walk([&](lm::WeightOp weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    lm::ModuleName module = lm::getModuleName(weight);
    bool isOwn = tensors->contains(weight.getName());
    auto it = tensors->find(isOwn ? weight.getName() : StringRef(module.name));
    if (it == tensors->end()) {
      if (firstMissing.empty())
        firstMissing = module.name;
      return WalkResult::advance();
    }
    const StoredTensor &stored = it->second;
    SmallVector<int64_t> wanted(type.getShape());
    bool turned = !isOwn && module.transposed;
    if (turned)
      std::swap(wanted[0], wanted[1]);
    StringRef typeName = getTypeName(type.getElementType());
    uint64_t bytes = type.getElementTypeBitWidth() / 8;
    if (stored.type != typeName || ArrayRef(stored.shape) != ArrayRef(wanted) ||
        stored.size != bytes * static_cast<uint64_t>(type.getNumElements())) {
      failure = session.fail(kBadModel, path + ": expected " + toText(typeName, wanted) + " for '" + it->first() +
                                            "', but got " + toText(stored.type, stored.shape));
      return WalkResult::interrupt();
    }
    ++replaced;
    lm::FileAttr source = lm::FileAttr::get(context, StringAttr::get(context, absolute), stored.offset, stored.size);
    if (turned) {
      std::vector<char> data =
          transpose(file.data() + stored.offset, wanted[0], wanted[1], static_cast<int64_t>(bytes));
      if (folder->path.empty())
        if (std::error_code error = llvm::sys::fs::createUniqueDirectory("llmopt-weights", folder->path)) {
          failure = session.fail(kEnvironment, "cannot create a temporary folder: " + error.message());
          return WalkResult::interrupt();
        }
      llvm::SmallString<128> place = folder->path;
      llvm::sys::path::append(place, std::to_string(replaced));
      std::error_code error;
      llvm::raw_fd_ostream os(place, error);
      if (!error) {
        os.write(data.data(), data.size());
        os.close();
        error = os.error();
        os.clear_error();
      }
      if (error) {
        failure = session.fail(kEnvironment, place.str() + ": cannot write: " + error.message());
        return WalkResult::interrupt();
      }
      source = lm::FileAttr::get(context, StringAttr::get(context, place), 0, data.size());
    }
    weight->setAttr("source", source);
    return WalkResult::advance();
  });
  if (failure)
    return *failure;
  if (replaced == 0)
    return session.fail(kBadModel, path + ": has none of the model's weights, such as '" + firstMissing + "'");
  if (!firstMissing.empty())
    session.note("-weights: " + llvm::Twine(replaced) + " weights of " + path + "; others, such as '" + firstMissing +
                 "', stay as they are");
  session.keep(std::move(folder));
  return kOk;
}
