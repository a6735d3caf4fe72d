/* Reading safetensors files (github.com/huggingface/safetensors). Headers are checked:
 * a damaged file is refused, whatever is wrong with it. */
#ifndef LLMOPT_SAFETENSORS_H
#define LLMOPT_SAFETENSORS_H

#include "llmopt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmopt_tensor_file llmopt_tensor_file;

/* Maps the file, which must not be truncated while it is open. */
LLMOPT_API llmopt_status llmopt_tensor_file_open(const char *path, llmopt_tensor_file **file, llmopt_error *error);
LLMOPT_API void llmopt_tensor_file_close(llmopt_tensor_file *file);

typedef struct llmopt_stored_tensor {
  const char *name; /* lives as long as the file is open, as `data` does */
  llmopt_tensor_type type; /* dtype 0: one that the runtime does not know */
  const void *data;
  uint64_t size; /* bytes */
  /* What the file says that the model's owner calls it, the same as `name` where it says
   * nothing; with `transposed`, as [columns, rows] under that name. */
  const char *module_name;
  uint32_t transposed;
} llmopt_stored_tensor;

LLMOPT_API uint32_t llmopt_tensor_file_size(const llmopt_tensor_file *file);
/* LLMOPT_INVALID_ARGUMENT for an index out of range. */
LLMOPT_API llmopt_status llmopt_tensor_file_get(const llmopt_tensor_file *file, uint32_t index,
                                                llmopt_stored_tensor *tensor, llmopt_error *error);

/* A text of the file's metadata, NULL where it has none of this name. */
LLMOPT_API const char *llmopt_tensor_file_get_metadata(const llmopt_tensor_file *file, const char *key);

/* Writes such a file: beside `path` first, and renamed over it when it is whole. The
 * tensors' `name`, `type` and `data` are read; metadata says that they are torch's. */
LLMOPT_API llmopt_status llmopt_tensor_file_write(const char *path, const llmopt_stored_tensor *tensors, uint32_t count,
                                                  llmopt_error *error);

#ifdef __cplusplus
}
#endif
#endif
