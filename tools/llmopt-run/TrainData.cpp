#include "TrainData.h"

#include "Npz.h"

#include <algorithm>
#include <cstring>
#include <numeric>

using namespace llmopt::run;

namespace {

/// Batches that are sorted by length together: enough for rows of like length to meet,
/// few enough for an epoch to stay shuffled.
constexpr uint64_t kWindow = 32;

const char *const kMask = "attention_mask";

int64_t integerAt(const Tensor &tensor, uint64_t index) {
  const char *at = tensor.data() + index * llmopt_dtype_size(tensor.type.dtype);
  int64_t wide;
  int32_t narrow;
  float real;
  switch (tensor.type.dtype) {
  case LLMOPT_I64:
    std::memcpy(&wide, at, sizeof(wide));
    return wide;
  case LLMOPT_I32:
    std::memcpy(&narrow, at, sizeof(narrow));
    return narrow;
  case LLMOPT_F32:
    std::memcpy(&real, at, sizeof(real));
    return real != 0;
  default:
    return *at;
  }
}

template <typename T> void shuffle(std::vector<T> &items, Random &random) {
  for (size_t i = items.size(); i > 1; --i)
    std::swap(items[i - 1], items[random.below(i)]);
}

/// i32 to i64, where a file has the narrower integers.
Tensor widen(Tensor tensor) {
  llmopt_tensor_type type = tensor.type;
  type.dtype = LLMOPT_I64;
  Tensor wide(tensor.name, type);
  for (uint64_t i = 0; i < tensor.elements(); ++i) {
    int64_t value = integerAt(tensor, i);
    std::memcpy(wide.data() + i * sizeof(value), &value, sizeof(value));
  }
  return wide;
}

} // namespace

TrainData::TrainData(const std::string &path, const llmopt_trainer *trainer) {
  std::vector<Tensor> given = readNpz(path);
  llmopt_error error;
  uint32_t inputs = llmopt_trainer_num_inputs(trainer);
  std::vector<llmopt_tensor_type> declared(inputs);
  for (uint32_t i = 0; i < inputs; ++i) {
    const char *name = nullptr;
    check(llmopt_trainer_get_input(trainer, i, &name, &declared[i], &error), error);
    auto found = std::find_if(given.begin(), given.end(), [&](const Tensor &t) { return t.name == name; });
    if (found == given.end()) {
      std::string present;
      for (const Tensor &tensor : given)
        present += (present.empty() ? "'" : ", '") + tensor.name + "'";
      throw Failure{BadData,
                    path + ": expected an array '" + name + "', but it has " + (present.empty() ? "none" : present)};
    }
    Tensor tensor = std::move(*found);
    found->name = tensor.name; // for the list of what is present
    if (declared[i].dtype == LLMOPT_I64 && tensor.type.dtype == LLMOPT_I32)
      tensor = widen(std::move(tensor));
    bool fits = tensor.type.dtype == declared[i].dtype && tensor.type.rank == declared[i].rank && tensor.type.rank > 0;
    for (uint32_t d = 1; fits && d < declared[i].rank; ++d)
      fits = declared[i].dims[d] < 0 || declared[i].dims[d] == tensor.type.dims[d];
    if (!fits)
      throw Failure{BadData, path + ": '" + name + "' is " + format(tensor.type) + ", but the model takes " +
                                 format(declared[i]) + ", the first dimension counting examples"};
    if (i == 0)
      count = uint64_t(tensor.type.dims[0]);
    if (uint64_t(tensor.type.dims[0]) != count)
      throw Failure{BadData, path + ": expected " + std::to_string(count) + " examples of '" + name + "', but got " +
                                 std::to_string(tensor.type.dims[0])};
    arrays.push_back(std::move(tensor));
  }
  if (count == 0)
    throw Failure{BadData, path + ": expected examples, but it has none"};
  for (uint32_t i = 0; i < inputs; ++i)
    if (arrays[i].name == kMask && arrays[i].type.rank == 2 && declared[i].dims[1] < 0)
      width = uint64_t(arrays[i].type.dims[1]);
  for (uint32_t i = 0; i < inputs; ++i) {
    const llmopt_tensor_type &type = arrays[i].type;
    cut.push_back(width && type.rank >= 2 && uint64_t(type.dims[1]) == width && declared[i].dims[1] < 0);
    if (!cut[i] || arrays[i].name != kMask)
      continue;
    // Up to the last token that a row's mask shows; at least one column.
    for (uint64_t row = 0; row < count; ++row) {
      uint64_t length = width;
      while (length > 1 && integerAt(arrays[i], row * width + length - 1) == 0)
        --length;
      lengths.push_back(uint32_t(length));
    }
  }
  buffers.resize(inputs);
  batch.types.resize(inputs);
  batch.inputs.resize(inputs);
}

std::vector<std::vector<uint32_t>> TrainData::makeOrder(Order order, uint64_t size, uint64_t seed,
                                                        uint64_t epoch) const {
  std::vector<uint32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  Random random(seed * 0x9E3779B97F4A7C15u + epoch);
  if (order != Order::File)
    shuffle(rows, random);
  std::vector<std::vector<uint32_t>> batches;
  for (uint64_t first = 0; first < count; first += kWindow * size) {
    auto from = rows.begin() + int64_t(first), to = rows.begin() + int64_t(std::min(count, first + kWindow * size));
    if (order == Order::Bucketed)
      std::stable_sort(from, to, [&](uint32_t a, uint32_t b) { return lengthOf(a) < lengthOf(b); });
    size_t firstBatch = batches.size();
    for (; from < to; from += std::min<int64_t>(int64_t(size), to - from))
      batches.emplace_back(from, from + std::min<int64_t>(int64_t(size), to - from));
    if (order == Order::Bucketed) {
      std::vector<std::vector<uint32_t>> window(batches.begin() + int64_t(firstBatch), batches.end());
      shuffle(window, random);
      std::move(window.begin(), window.end(), batches.begin() + int64_t(firstBatch));
    }
  }
  return batches;
}

const Batch &TrainData::take(const std::vector<uint32_t> &rows) {
  uint64_t longestRow = 0;
  batch.tokens = 0;
  for (uint32_t row : rows) {
    longestRow = std::max(longestRow, lengthOf(row));
    batch.tokens += lengthOf(row);
  }
  batch.examples = rows.size();
  for (size_t i = 0; i < arrays.size(); ++i) {
    llmopt_tensor_type type = arrays[i].type;
    uint64_t rowBytes = arrays[i].size() / count, taken = rowBytes;
    if (cut[i]) {
      taken = rowBytes / width * longestRow;
      type.dims[1] = int64_t(longestRow);
    }
    type.dims[0] = int64_t(rows.size());
    buffers[i].resize(std::max(buffers[i].size(), size_t(taken * rows.size())));
    for (size_t r = 0; r < rows.size(); ++r)
      std::memcpy(buffers[i].data() + r * taken, arrays[i].data() + rows[r] * rowBytes, taken);
    batch.types[i] = type;
    batch.inputs[i] = {buffers[i].data(), taken * rows.size()};
  }
  return batch;
}

std::vector<llmopt_tensor_type> TrainData::largest(uint64_t size) const {
  std::vector<llmopt_tensor_type> types;
  uint64_t longestRow = lengths.empty() ? width : *std::max_element(lengths.begin(), lengths.end());
  for (size_t i = 0; i < arrays.size(); ++i) {
    types.push_back(arrays[i].type);
    types.back().dims[0] = int64_t(std::min(size, count));
    if (cut[i])
      types.back().dims[1] = int64_t(longestRow);
  }
  return types;
}
