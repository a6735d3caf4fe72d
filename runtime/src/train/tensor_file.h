// Reading safetensors files: 8 bytes of header length, a JSON header, tensors
// (github.com/huggingface/safetensors). Nothing in the file is trusted.
#ifndef LLMOPT_RT_TRAIN_TENSOR_FILE_H
#define LLMOPT_RT_TRAIN_TENSOR_FILE_H

#include "../files.h"

namespace llmopt::rt {

class TensorFile {
public:
  struct Tensor {
    const char *name; ///< in the file's text where `nameSize` long, not terminated
    uint32_t nameSize;
    uint32_t dtype; ///< llmopt_dtype; 0 for types that the runtime does not know
    uint32_t rank;
    int64_t dims[LLMOPT_MAX_RANK];
    uint64_t offset, size; ///< bytes, from the start of the file
    const char *module;    ///< the name that the file's metadata gives it; else its own
    bool transposed;       ///< the other way round under that name
  };

  TensorFile() = default;
  TensorFile(const TensorFile &) = delete;
  TensorFile &operator=(const TensorFile &) = delete;
  ~TensorFile();

  /// Maps the file and reads its header; LLMOPT_BAD_WEIGHTS for a damaged one.
  llmopt_status open(const char *path, llmopt_error *error);
  /// Null where there is none of this name.
  const Tensor *find(const char *name) const;
  /// Null where the metadata has none.
  const char *findMetadata(const char *key) const {
    for (uint32_t m = 0; m < numMetadata; ++m)
      if (!std::strcmp(metadata[size_t(m) * 2], key))
        return metadata[size_t(m) * 2 + 1];
    return nullptr;
  }
  uint32_t size() const { return count; }
  const Tensor &operator[](uint32_t i) const { return tensors[i]; }

  const char *data() const { return base; } ///< of the whole file
  uint64_t bytes() const { return length; }
  /// Lets go of pages that were read; they are read again when needed.
  void drop() const;

private:
  class Parser;

  const char *base = nullptr;
  uint64_t length = 0;
  Array<char> text; ///< names with their escapes resolved
  Array<Tensor> tensors;
  Array<const char *> metadata; ///< keys and values
  uint32_t count = 0, numMetadata = 0;
};

} // namespace llmopt::rt

#endif
