#include "tensor_file.h"
#include "tensor_header.h"

#include "llmopt/safetensors.h"

#include <new>

using namespace llmopt::rt;

struct llmopt_tensor_file {
  TensorFile file;
};

extern "C" llmopt_status llmopt_tensor_file_open(const char *path, llmopt_tensor_file **result, llmopt_error *error) {
  if (!path || !result)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "path or file is NULL");
  void *memory = std::malloc(sizeof(llmopt_tensor_file));
  if (!memory)
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  auto *opened = new (memory) llmopt_tensor_file();
  if (llmopt_status status = opened->file.open(path, error)) {
    llmopt_tensor_file_close(opened);
    return status;
  }
  *result = opened;
  return LLMOPT_OK;
}

extern "C" void llmopt_tensor_file_close(llmopt_tensor_file *file) {
  if (!file)
    return;
  file->~llmopt_tensor_file();
  std::free(file);
}

extern "C" uint32_t llmopt_tensor_file_size(const llmopt_tensor_file *file) { return file ? file->file.size() : 0; }

extern "C" llmopt_status llmopt_tensor_file_get(const llmopt_tensor_file *file, uint32_t index,
                                                llmopt_stored_tensor *tensor, llmopt_error *error) {
  if (!file || !tensor || index >= file->file.size())
    return fail(error, LLMOPT_INVALID_ARGUMENT, "file is NULL, or tensor %u does not exist", index);
  const TensorFile::Tensor &stored = file->file[index];
  std::memset(tensor, 0, sizeof(*tensor));
  tensor->name = stored.name;
  tensor->type.dtype = stored.dtype;
  tensor->type.rank = stored.rank;
  std::memcpy(tensor->type.dims, stored.dims, sizeof(tensor->type.dims));
  tensor->data = file->file.data() + stored.offset;
  tensor->size = stored.size;
  tensor->module_name = stored.module;
  tensor->transposed = stored.transposed;
  return LLMOPT_OK;
}

extern "C" const char *llmopt_tensor_file_get_metadata(const llmopt_tensor_file *file, const char *key) {
  return file && key ? file->file.findMetadata(key) : nullptr;
}

extern "C" llmopt_status llmopt_tensor_file_write(const char *path, const llmopt_stored_tensor *tensors, uint32_t count,
                                                  llmopt_error *error) {
  if (!path || (count && !tensors))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "path or tensors is NULL");
  TensorHeader header;
  bool good = header.begin();
  for (uint32_t i = 0; i < count && good; ++i) {
    uint64_t size = llmopt_dtype_size(tensors[i].type.dtype);
    for (uint32_t d = 0; d < tensors[i].type.rank; ++d)
      size *= static_cast<uint64_t>(tensors[i].type.dims[d]);
    if (!tensors[i].name || size == 0 || size != tensors[i].size)
      return fail(error, LLMOPT_INVALID_ARGUMENT, "%s: tensor %u has no name, or another size than its shape", path, i);
    good = header.add(tensors[i].name, tensors[i].type.dtype, tensors[i].type.dims, tensors[i].type.rank, false, size);
  }
  if (!good || !header.end())
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  FileWriter writer;
  if (llmopt_status status = writer.open(path, error))
    return status;
  if (llmopt_status status = header.write(writer, error))
    return status;
  for (uint32_t i = 0; i < count; ++i)
    if (llmopt_status status = writer.write(tensors[i].data, tensors[i].size, error))
      return status;
  return writer.commit(error);
}
