#include "tensor_header.h"

#include <cstdio>

using namespace llmopt::rt;

static const char *nameOf(uint32_t dtype) {
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

bool TensorHeader::append(const char *from, size_t size) {
  if (length + size > bytes.size()) {
    Array<char> larger;
    if (!larger.allocate((length + size) * 2 + 1024))
      return false;
    if (length)
      std::memcpy(larger.data(), bytes.data(), length);
    bytes.swap(larger);
  }
  std::memcpy(bytes.data() + length, from, size);
  length += size;
  return true;
}

bool TensorHeader::appendString(const char *from) {
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

bool TensorHeader::appendNumber(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof(text), "%llu", static_cast<unsigned long long>(number));
  return append(text);
}

// What other tools look for before they take a file's tensors for torch's.
bool TensorHeader::begin() { return append("{\"__metadata__\":{\"format\":\"pt\"}"); }

bool TensorHeader::add(const char *name, uint32_t dtype, const int64_t *dims, uint32_t rank, bool transposed,
                       uint64_t size) {
  bool good = append(",") && appendString(name) && append(":{\"dtype\":\"") && append(nameOf(dtype)) &&
              append("\",\"shape\":[");
  for (uint32_t d = 0; d < rank && good; ++d)
    good = (d == 0 || append(",")) && appendNumber(static_cast<uint64_t>(dims[transposed ? rank - 1 - d : d]));
  good = good && append("],\"data_offsets\":[") && appendNumber(at) && append(",") && appendNumber(at + size) &&
         append("]}");
  at += size;
  return good;
}

bool TensorHeader::end() {
  bool good = append("}");
  while (good && (length + 8) % 64) // tensors start aligned
    good = append(" ");
  return good;
}

llmopt_status TensorHeader::write(FileWriter &writer, llmopt_error *error) const {
  const uint64_t size = length;
  if (llmopt_status status = writer.write(&size, sizeof(size), error))
    return status;
  return writer.write(bytes.data(), length, error);
}
