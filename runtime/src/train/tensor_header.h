// Writing the header of a safetensors file.
#ifndef LLMOPT_RT_TRAIN_TENSOR_HEADER_H
#define LLMOPT_RT_TRAIN_TENSOR_HEADER_H

#include "file_writer.h"

namespace llmopt::rt {

/// Tensors one behind the other, in the order of `add`.
class TensorHeader {
public:
  /// False where memory is short, as all others.
  [[nodiscard]] bool begin();
  /// `dims` the other way round with `transposed`.
  [[nodiscard]] bool add(const char *name, uint32_t dtype, const int64_t *dims, uint32_t rank, bool transposed,
                         uint64_t size);
  [[nodiscard]] bool end();
  llmopt_status write(FileWriter &writer, llmopt_error *error) const;

private:
  bool append(const char *from, size_t size);
  bool append(const char *from) { return append(from, std::strlen(from)); }
  bool appendString(const char *from);
  bool appendNumber(uint64_t number);

  Array<char> bytes;
  size_t length = 0;
  uint64_t at = 0;
};

} // namespace llmopt::rt

#endif
