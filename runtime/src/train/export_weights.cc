// Weights as the owner of a model knows them.
#include "file_writer.h"
#include "trainer.h"

#include <cstdio>

using namespace llmopt::rt;

namespace {

/// Text that grows; JSON strings in it.
class Text {
public:
  bool append(const char *from, size_t size) {
    if (length + size > bytes.size() && !grow(length + size))
      return false;
    std::memcpy(bytes.data() + length, from, size);
    length += size;
    return true;
  }
  bool append(const char *from) { return append(from, std::strlen(from)); }
  bool appendString(const char *from) {
    bool good = append("\"");
    for (; *from && good; ++from) {
      char escaped[8];
      unsigned char c = static_cast<unsigned char>(*from);
      if (c == '"' || c == '\\')
        std::snprintf(escaped, sizeof(escaped), "\\%c", c);
      else if (c < 0x20)
        std::snprintf(escaped, sizeof(escaped), "\\u%04x", c);
      else
        std::snprintf(escaped, sizeof(escaped), "%c", c);
      good = append(escaped);
    }
    return good && append("\"");
  }
  bool appendNumber(uint64_t number) {
    char text[24];
    std::snprintf(text, sizeof(text), "%llu", static_cast<unsigned long long>(number));
    return append(text);
  }
  const char *data() const { return bytes.data(); }
  size_t size() const { return length; }

private:
  bool grow(size_t least) {
    Array<char> larger;
    if (!larger.allocate(least * 2 + 1024))
      return false;
    std::memcpy(larger.data(), bytes.data(), length);
    bytes.swap(larger);
    return true;
  }
  Array<char> bytes;
  size_t length = 0;
};

const char *nameOf(uint32_t dtype) {
  switch (dtype) {
  case LLMOPT_F32:
    return "F32";
  case LLMOPT_F64:
    return "F64";
  case LLMOPT_F16:
    return "F16";
  case LLMOPT_BF16:
    return "BF16";
  case LLMOPT_I64:
    return "I64";
  case LLMOPT_U64:
    return "U64";
  case LLMOPT_I32:
    return "I32";
  case LLMOPT_U32:
    return "U32";
  case LLMOPT_I16:
    return "I16";
  case LLMOPT_U16:
    return "U16";
  case LLMOPT_BOOL:
    return "BOOL";
  case LLMOPT_F8E4M3FN:
    return "F8_E4M3";
  case LLMOPT_F8E5M2:
    return "F8_E5M2";
  case LLMOPT_U8:
    return "U8";
  default:
    return "I8";
  }
}

bool describe(Text &text, const TensorFile &file) {
  bool good = text.append("{\"__metadata__\":{\"format\":\"pt\"}");
  uint64_t at = 0;
  for (uint32_t i = 0; i < file.size() && good; ++i) {
    const TensorFile::Tensor &t = file[i];
    good = text.append(",") && text.appendString(t.module) && text.append(":{\"dtype\":\"") &&
           text.append(nameOf(t.dtype)) && text.append("\",\"shape\":[");
    for (uint32_t d = 0; d < t.rank && good; ++d)
      good = (d == 0 || text.append(",")) &&
             text.appendNumber(static_cast<uint64_t>(t.dims[t.transposed ? t.rank - 1 - d : d]));
    good = good && text.append("],\"data_offsets\":[") && text.appendNumber(at) && text.append(",") &&
           text.appendNumber(at + t.size) && text.append("]}");
    at += t.size;
  }
  good = good && text.append("}");
  while (good && (text.size() + 8) % 64)
    good = text.append(" ");
  return good;
}

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
  Text header;
  if (!describe(header, file))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  FileWriter writer;
  if (llmopt_status status = writer.open(path, error))
    return status;
  const uint64_t length = header.size();
  if (llmopt_status status = writer.write(&length, sizeof(length), error))
    return status;
  if (llmopt_status status = writer.write(header.data(), header.size(), error))
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
