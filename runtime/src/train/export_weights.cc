// Weights as the owner of a model knows them.
#include "file_writer.h"
#include "tensor_header.h"
#include "trainer.h"

using namespace llmopt::rt;

namespace {

/// Rows of the result, a few at a time.
llmopt_status writeTransposed(FileWriter &writer, const char *data, const TensorFile::Tensor &t, llmopt_error *error) {
  const uint64_t rows = static_cast<uint64_t>(t.dims[0]), columns = static_cast<uint64_t>(t.dims[1]);
  const uint64_t bytes = llmopt_dtype_size(t.dtype);
  constexpr uint64_t some = 16;
  Array<char> piece;
  if (!piece.allocate(some * rows * bytes))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for '%s'", t.name);
  for (uint64_t first = 0; first < columns; first += some) {
    const uint64_t count = columns - first < some ? columns - first : some;
    for (uint64_t r = 0; r < rows; ++r)
      for (uint64_t c = 0; c < count; ++c)
        std::memcpy(piece.data() + (c * rows + r) * bytes, data + (r * columns + first + c) * bytes, bytes);
    if (llmopt_status status = writer.write(piece.data(), count * rows * bytes, error))
      return status;
  }
  return LLMOPT_OK;
}

} // namespace

extern "C" llmopt_status llmopt_trainer_export_weights(const llmopt_trainer *trainer, const char *path,
                                                       llmopt_error *error) {
  if (!trainer || !path)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or path is NULL");
  const TensorFile &file = trainer->file;
  TensorHeader header;
  bool good = header.begin();
  for (uint32_t i = 0; i < file.size() && good; ++i)
    good = header.add(file[i].module, file[i].dtype, file[i].dims, file[i].rank, file[i].transposed, file[i].size);
  if (!good || !header.end())
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  FileWriter writer;
  if (llmopt_status status = writer.open(path, error))
    return status;
  if (llmopt_status status = header.write(writer, error))
    return status;
  for (uint32_t i = 0; i < file.size(); ++i) {
    const TensorFile::Tensor &t = file[i];
    const char *data = file.data() + t.offset;
    for (uint32_t p = 0; p < trainer->training->num_parameters; ++p)
      if (!std::strcmp(trainer->training->parameters[p].name, t.name))
        data = reinterpret_cast<const char *>(trainer->parameters[p].value);
    llmopt_status status = t.transposed ? writeTransposed(writer, data, t, error) : writer.write(data, t.size, error);
    if (status)
      return status;
  }
  file.drop();
  return writer.commit(error);
}
