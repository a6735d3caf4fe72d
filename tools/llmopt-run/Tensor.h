// A named array in memory.
#ifndef LLMOPT_RUN_TENSOR_H
#define LLMOPT_RUN_TENSOR_H

#include "Failure.h"

#include <cstdlib>
#include <memory>
#include <vector>

namespace llmopt::run {

class Tensor {
public:
  /// Room before the data, so that a .npy header fits in front without a copy.
  static constexpr size_t headroom = 256;

  Tensor(std::string name, const llmopt_tensor_type &type) : name(std::move(name)), type(type) {
    uint64_t n = llmopt_dtype_size(type.dtype);
    for (uint32_t d = 0; d < type.rank; ++d)
      if (__builtin_mul_overflow(n, uint64_t(type.dims[d]), &n))
        throw Failure{BadData, "'" + this->name + "': its size overflows"};
    uint64_t padded;
    if (__builtin_add_overflow(n, uint64_t(headroom) + 63, &padded))
      throw Failure{BadData, "'" + this->name + "': its size overflows"};
    padded &= ~uint64_t(63);
    storage.reset(static_cast<char *>(std::aligned_alloc(64, padded)));
    if (!storage)
      throw Failure{Environment, "out of memory for '" + this->name + "' (" + std::to_string(n) + " bytes)"};
    bytes = n;
  }

  char *data() const { return storage.get() + headroom; }
  uint64_t size() const { return bytes; }
  /// Takes another shape of no more bytes; the memory stays.
  void reshape(const llmopt_tensor_type &smaller) {
    uint64_t n = llmopt_dtype_size(smaller.dtype);
    for (uint32_t d = 0; d < smaller.rank; ++d)
      n *= uint64_t(smaller.dims[d]);
    type = smaller;
    bytes = n;
  }
  uint64_t elements() const { return bytes / llmopt_dtype_size(type.dtype); }

  std::string name;
  llmopt_tensor_type type;

private:
  struct Free {
    void operator()(char *p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> storage;
  uint64_t bytes = 0;
};

/// "i64[2, 128]"
inline std::string format(const llmopt_tensor_type &type) {
  std::string text = llmopt_dtype_name(type.dtype);
  text += '[';
  for (uint32_t d = 0; d < type.rank; ++d)
    text += (d ? ", " : "") + std::to_string(type.dims[d]);
  return text + ']';
}

} // namespace llmopt::run

#endif
