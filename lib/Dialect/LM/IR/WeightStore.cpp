// Read-only mappings of weight files, with checked ranges.
#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "llmopt/Dialect/LM/IR/DrawnWeights.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace llmopt::lm;

template <typename... Args> static llvm::Error fail(const char *format, Args &&...args) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 llvm::formatv(format, std::forward<Args>(args)...).str());
}

WeightStore &LMDialect::getWeightStore() { return *weightStore; }

WeightStore &WeightStore::get(MLIRContext *context) { return context->getOrLoadDialect<LMDialect>()->getWeightStore(); }

WeightStore::~WeightStore() {
  for (auto &entry : mappings)
    if (entry.second.data)
      ::munmap(entry.second.data, entry.second.size);
}

llvm::Expected<WeightStore::Mapping> WeightStore::map(llvm::StringRef path) {
  std::lock_guard<std::mutex> lock(mutex);
  if (auto it = mappings.find(path); it != mappings.end())
    return it->second;
  if (path.contains('\0'))
    return fail("expected a path without a zero byte");
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  int fd = ::open(path.str().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail("cannot open \"{0}\": {1}", path, std::strerror(errno));
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail("expected \"{0}\" to be a regular file", path);
  }
  Mapping mapping;
  mapping.size = static_cast<uint64_t>(info.st_size);
  if (mapping.size) {
    void *data = ::mmap(nullptr, mapping.size, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    ::close(fd);
    if (data == MAP_FAILED)
      return fail("cannot map \"{0}\": {1}", path, std::strerror(error));
    mapping.data = static_cast<char *>(data);
  } else {
    ::close(fd);
  }
  mappings[path] = mapping;
  return mapping;
}

llvm::Expected<ArrayRef<char>> WeightStore::getBytes(FileAttr file) {
  llvm::Expected<Mapping> mapping = map(file.getPath().getValue());
  if (!mapping)
    return mapping.takeError();
  if (file.getOffset() > mapping->size || file.getBytes() > mapping->size - file.getOffset())
    return fail("expected \"{0}\" to hold {1} bytes at offset {2}, but it has {3} bytes", file.getPath().getValue(),
                file.getBytes(), file.getOffset(), mapping->size);
  return ArrayRef<char>(mapping->data + file.getOffset(), file.getBytes());
}

llvm::Expected<ArrayRef<char>> WeightStore::getBytes(WeightOp weight) {
  if (auto file = dyn_cast<FileAttr>(weight.getSource()))
    return getBytes(file);
  if (auto source = dyn_cast<DrawnAttr>(weight.getSource()))
    return draw(weight, source);
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(weight.getSource()))
    if (const AsmResourceBlob *blob = resource.getRawHandle().getBlob())
      return blob->getData();
  auto dense = dyn_cast<DenseElementsAttr>(weight.getSource());
  if (dense && !dense.isSplat() && dense.getElementType().isIntOrFloat() &&
      dense.getElementType().getIntOrFloatBitWidth() >= 8)
    return dense.getRawData();
  return fail("expected weight \"{0}\" to have its elements as bytes", weight.getName());
}

ArrayRef<char> WeightStore::draw(WeightOp weight, DrawnAttr source) {
  std::lock_guard<std::mutex> lock(mutex);
  std::vector<float> &elements = drawn[{weight.getNameAttr(), {source, weight.getType()}}];
  if (elements.empty()) {
    elements.resize(cast<RankedTensorType>(weight.getType()).getNumElements());
    drawElements(source, weight.getName(), 0, elements);
  }
  return ArrayRef<char>(reinterpret_cast<const char *>(elements.data()), elements.size() * sizeof(float));
}

void WeightStore::release(FileAttr file) {
  llvm::Expected<ArrayRef<char>> bytes = getBytes(file);
  if (!bytes)
    return llvm::consumeError(bytes.takeError());
  // Only whole pages inside the range: neighbours may be in use.
  uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  uintptr_t first = llvm::alignTo(reinterpret_cast<uintptr_t>(bytes->begin()), page);
  uintptr_t last = reinterpret_cast<uintptr_t>(bytes->end()) & ~(page - 1);
  if (first < last)
    ::madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
}

void WeightStore::release(WeightOp weight) {
  if (auto file = dyn_cast<FileAttr>(weight.getSource()))
    release(file);
}
