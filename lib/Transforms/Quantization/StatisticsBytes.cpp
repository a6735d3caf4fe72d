// Statistics as bytes, for the cache.
#include "llmopt/Transforms/Quantization/Statistics.h"

#include <cstring>
#include <type_traits>

using namespace llmopt;

namespace {

class Writer {
public:
  explicit Writer(std::string &bytes) : bytes(bytes) {}
  template <typename T> void number(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes.append(reinterpret_cast<const char *>(&value), sizeof(T));
  }
  template <typename T> void list(const T *values, size_t count) {
    bytes.append(reinterpret_cast<const char *>(values), count * sizeof(T));
  }
  template <typename T> void list(const std::vector<T> &values) {
    number<uint64_t>(values.size());
    list(values.data(), values.size());
  }

private:
  std::string &bytes;
};

/// Everything fails once something did.
class Reader {
public:
  explicit Reader(llvm::StringRef &bytes) : bytes(bytes) {}
  bool good = true;

  template <typename T> void number(T &value) { list(&value, 1); }
  template <typename T> void list(T *values, size_t count) {
    if (!good || count > bytes.size() / sizeof(T)) {
      good = false;
      return;
    }
    if (count)
      std::memcpy(values, bytes.data(), count * sizeof(T));
    bytes = bytes.drop_front(count * sizeof(T));
  }
  template <typename T> void list(std::vector<T> &values) {
    uint64_t count = 0;
    number(count);
    if (!good || count > bytes.size() / sizeof(T)) {
      good = false;
      return;
    }
    values.resize(count);
    list(values.data(), count);
  }

private:
  llvm::StringRef &bytes;
};

} // namespace

void ActivationStatistics::save(std::string &bytes) const {
  Writer writer(bytes);
  writer.number(width);
  writer.number(rows);
  writer.number(notFinite);
  writer.number(average);
  writer.list(absMax);
  writer.list(sum);
  writer.list(sumAbs);
  writer.list(sumSquares);
  writer.number(histogram.getExponent());
  writer.list(histogram.getCounts());
  writer.number<uint8_t>(options.gram);
  if (options.gram)
    for (int64_t i = 0; i < width; ++i)
      writer.list(&gram[i * width + i], width - i);
  writer.number(options.sampleRows);
  writer.list(sample);
  writer.number(sampleStride);
  writer.number(batchMax);
  writer.number<uint8_t>(hasBatches);
  writer.list(pending);
}

std::optional<ActivationStatistics> ActivationStatistics::load(llvm::StringRef &bytes) {
  ActivationStatistics s;
  Reader reader(bytes);
  uint8_t hasGram = 0, hasBatches = 0;
  int exponent = 0;
  std::vector<uint64_t> counts;
  reader.number(s.width);
  reader.number(s.rows);
  reader.number(s.notFinite);
  reader.number(s.average);
  reader.list(s.absMax);
  reader.list(s.sum);
  reader.list(s.sumAbs);
  reader.list(s.sumSquares);
  reader.number(exponent);
  reader.list(counts);
  reader.number(hasGram);
  auto width = static_cast<uint64_t>(s.width);
  reader.good &= s.width >= 0 && s.absMax.size() == width && s.sum.size() == width && s.sumAbs.size() == width &&
                 s.sumSquares.size() == width && counts.size() == Histogram::numBins && hasGram <= 1;
  // The triangle must be there before memory is taken for the square.
  if (reader.good && hasGram && (width > (uint64_t(1) << 24) || width * (width + 1) / 2 > bytes.size() / sizeof(float)))
    reader.good = false;
  if (!reader.good)
    return std::nullopt;
  s.histogram = Histogram(exponent, std::move(counts));
  s.options.gram = hasGram;
  if (hasGram) {
    s.gram.resize(width * width);
    for (uint64_t i = 0; i < width; ++i)
      reader.list(&s.gram[i * width + i], width - i);
  }
  reader.number(s.options.sampleRows);
  reader.list(s.sample);
  reader.number(s.sampleStride);
  reader.number(s.batchMax);
  reader.number(hasBatches);
  reader.list(s.pending);
  s.hasBatches = hasBatches;
  if (!reader.good || s.sampleStride < 1 || (width && (s.sample.size() % width || s.pending.size() % width)))
    return std::nullopt;
  return s;
}
