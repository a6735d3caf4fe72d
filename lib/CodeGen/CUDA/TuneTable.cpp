#include "TuneTable.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace llmopt;
using namespace llmopt::cuda;
using llvm::StringRef;

namespace {
struct EmbeddedTable {
  const char *path;
  const char *text;
};
constexpr EmbeddedTable kTables[] = {
#include "EmbeddedTables.inc"
};

/// Whole numbers of `array` from `from` on.
bool readNumbers(const llvm::json::Array *array, llvm::MutableArrayRef<int64_t> to) {
  if (!array || array->size() != to.size())
    return false;
  for (auto [value, number] : llvm::zip(*array, to)) {
    std::optional<int64_t> read = value.getAsInteger();
    if (!read)
      return false;
    number = *read;
  }
  return true;
}
} // namespace

llvm::Error TuneTable::add(StringRef text, StringRef path) {
  auto failure = [&](const llvm::Twine &what) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(), path + ": " + what);
  };
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed)
    return failure("expected JSON: " + llvm::toString(parsed.takeError()));
  const llvm::json::Object *file = parsed->getAsObject();
  std::optional<StringRef> device = file ? file->getString("device") : std::nullopt;
  const llvm::json::Array *products = file ? file->getArray("products") : nullptr;
  if (!device || !products)
    return failure("expected \"device\" and \"products\"");
  if (llvm::is_contained(devices, *device))
    return llvm::Error::success();
  devices.push_back(device->str());
  for (auto [i, value] : llvm::enumerate(*products)) {
    const llvm::json::Object *product = value.getAsObject();
    auto text = [&](StringRef key) { return product ? product->getString(key) : std::nullopt; };
    std::optional<StringRef> type = text("type"), epilogue = text("epilogue"), provider = text("provider");
    std::optional<int64_t> n = product ? product->getInteger("n") : std::nullopt,
                           k = product ? product->getInteger("k") : std::nullopt;
    int64_t rows[2], algorithm[LLMOPT_LIBRARY_ATTRIBUTES] = {};
    if (!type || !epilogue || !provider || !n || !k || !readNumbers(product->getArray("rows"), rows) ||
        (*provider != "builtin" && *provider != "cublaslt"))
      return failure("product " + llvm::Twine(i) +
                     ": expected type, n, k, epilogue, rows [least, most] and provider builtin or cublaslt");
    if (*provider == "builtin")
      continue; // measured, and slower
    if (!readNumbers(product->getArray("algorithm"), algorithm))
      return failure("product " + llvm::Twine(i) + ": expected an algorithm of " +
                     llvm::Twine(LLMOPT_LIBRARY_ATTRIBUTES) + " numbers");
    Entry entry{type->str(), epilogue->str(), *n, *k, {device->str(), rows[0], rows[1], {}}};
    llvm::copy(algorithm, entry.choice.algorithm.begin());
    entries.push_back(std::move(entry));
  }
  return llvm::Error::success();
}

llvm::Expected<TuneTable> TuneTable::load(StringRef path) {
  TuneTable table;
  if (!path.empty()) {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    if (!buffer)
      return llvm::createStringError(buffer.getError(), path + ": " + buffer.getError().message());
    if (llvm::Error error = table.add((*buffer)->getBuffer(), path))
      return std::move(error);
  }
  for (const EmbeddedTable &embedded : kTables)
    if (llvm::Error error = table.add(embedded.text, embedded.path))
      return std::move(error);
  return table;
}

std::vector<ModelTables::LibraryChoice> TuneTable::find(StringRef type, int64_t n, int64_t k,
                                                        StringRef epilogue) const {
  std::vector<ModelTables::LibraryChoice> found;
  for (const Entry &entry : entries)
    if (entry.type == type && entry.n == n && entry.k == k && entry.epilogue == epilogue)
      found.push_back(entry.choice);
  return found;
}
