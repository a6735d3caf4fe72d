// Examples for training: arrays with an example per row, cut into batches.
#ifndef LLMOPT_RUN_TRAINDATA_H
#define LLMOPT_RUN_TRAINDATA_H

#include "Tensor.h"
#include "TrainOptions.h"

namespace llmopt::run {

/// One batch in the trainer's order, as it wants it; points into memory that the next
/// batch overwrites.
struct Batch {
  std::vector<llmopt_tensor_type> types;
  std::vector<llmopt_input> inputs;
  uint64_t examples = 0, tokens = 0; ///< tokens: of all rows, padding not counted
};

class TrainData {
public:
  /// Reads what the trainer wants from a .npz. Throws a Failure for arrays that are
  /// missing, of another type, or of different numbers of examples.
  TrainData(const std::string &path, const llmopt_trainer *trainer);

  uint64_t size() const { return count; }
  /// The longest row; 0 where rows have no length of their own.
  uint64_t longest() const { return width; }

  /// Indices of examples, batch after batch, of epoch `epoch`; depends on nothing else
  /// but the arguments. Bucketed: shuffled, then rows of like length side by side.
  std::vector<std::vector<uint32_t>> makeOrder(Order order, uint64_t batch, uint64_t seed, uint64_t epoch) const;

  /// Columns behind the longest row of the batch are left out.
  const Batch &take(const std::vector<uint32_t> &rows);
  /// The types of the largest batch that `take` can give.
  std::vector<llmopt_tensor_type> largest(uint64_t batch) const;

private:
  uint64_t lengthOf(uint32_t row) const { return lengths.empty() ? width : lengths[row]; }

  std::vector<Tensor> arrays; ///< in the trainer's order
  std::vector<bool> cut;      ///< whether the second dimension is that of tokens
  std::vector<uint32_t> lengths;
  uint64_t count = 0, width = 0;
  std::vector<std::vector<char>> buffers;
  Batch batch;
};

/// splitmix64: the same numbers on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, n), n > 0.
  uint64_t below(uint64_t n) { return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64); }
  /// Uniform in [-1, 1).
  double symmetric() { return static_cast<double>(next() >> 11) * 0x1p-52 - 1; }

private:
  uint64_t state;
};

} // namespace llmopt::run

#endif
