// The weight data of a model: a weights file, the tail of an artefact, or
// memory of the caller. The header is checked at load, the data on request.
#ifndef LLMOPT_RT_WEIGHTS_H
#define LLMOPT_RT_WEIGHTS_H

#include "files.h"

namespace llmopt::rt {

/// Position of the weights header embedded in an artefact; 0 without a tail.
llmopt_status findTail(const File &artefact, const char *path, uint64_t *position, llmopt_error *error);

class Weights {
public:
  Weights() = default;
  Weights(const Weights &) = delete;
  Weights &operator=(const Weights &) = delete;
  ~Weights();

  /// Reads the header at `position` of the file, checks it against the
  /// descriptor, then maps or reads the data.
  llmopt_status open(const File &file, const char *path, uint64_t position, const llmopt_model_desc &desc,
                     uint32_t loadMode, llmopt_error *error);
  /// Memory of the caller.
  void borrow(const void *bytes) { base = static_cast<const char *>(bytes); }

  /// Hashes the data and compares; nothing to compare without a header.
  llmopt_status check(const char *path, llmopt_error *error) const;

  const char *data() const { return base; }

private:
  const char *base = nullptr;
  uint64_t size = 0;
  uint64_t expectedHash = 0;
  bool hasHeader = false;
  void *mapping = nullptr;
  uint64_t mappingSize = 0;
  Pages pages;
};

} // namespace llmopt::rt

#endif
