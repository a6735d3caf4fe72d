#include "tensor_file.h"

#include <sys/mman.h>

using namespace llmopt::rt;

namespace {

constexpr uint64_t longestHeader = uint64_t(100) << 20; // the format's own limit

uint32_t typeOf(const char *name, uint32_t size) {
  static const struct {
    const char *name;
    uint32_t dtype;
  } types[] = {{"F32", LLMOPT_F32},       {"F64", LLMOPT_F64},
               {"F16", LLMOPT_F16},       {"BF16", LLMOPT_BF16},
               {"I8", LLMOPT_I8},         {"U8", LLMOPT_U8},
               {"I16", LLMOPT_I16},       {"U16", LLMOPT_U16},
               {"I32", LLMOPT_I32},       {"U32", LLMOPT_U32},
               {"I64", LLMOPT_I64},       {"U64", LLMOPT_U64},
               {"BOOL", LLMOPT_BOOL},     {"F8_E4M3", LLMOPT_F8E4M3FN},
               {"F8_E5M2", LLMOPT_F8E5M2}};
  for (const auto &type : types)
    if (std::strlen(type.name) == size && !std::memcmp(type.name, name, size))
      return type.dtype;
  return 0;
}

} // namespace

/// The JSON of a header. Values that are not asked for are skipped, strings inside of
/// them included.
class TensorFile::Parser {
public:
  Parser(const char *text, uint64_t size, char *names) : at(text), end(text + size), names(names) {}

  /// Calls `take` for every tensor; false for text that is not as the format says.
  template <typename Take, typename Note> bool run(Take take, Note note) {
    if (!eat('{'))
      return false;
    if (eat('}'))
      return atEnd();
    do {
      Tensor tensor = {};
      if (!string(&tensor.name, &tensor.nameSize) || !eat(':'))
        return false;
      bool isMetadata = tensor.nameSize == 12 && !std::memcmp(tensor.name, "__metadata__", 12);
      if (isMetadata ? !readMetadata(note) : !(readTensor(tensor) && take(tensor)))
        return false;
    } while (eat(','));
    return eat('}') && atEnd();
  }

private:
  void space() {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
      ++at;
  }
  bool eat(char c) {
    space();
    if (at == end || *at != c)
      return false;
    ++at;
    return true;
  }
  bool atEnd() {
    space();
    return at == end;
  }

  bool string(const char **text, uint32_t *size) {
    if (!eat('"'))
      return false;
    char *start = names;
    while (at < end && *at != '"') {
      if (static_cast<unsigned char>(*at) < 0x20)
        return false;
      if (*at != '\\') {
        *names++ = *at++;
        continue;
      }
      if (++at == end || !escape())
        return false;
    }
    if (at == end)
      return false;
    ++at;
    *text = start;
    *size = static_cast<uint32_t>(names - start);
    *names++ = 0;
    return true;
  }

  bool escape() {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *at++;
    for (int i = 0; from[i]; ++i)
      if (c == from[i]) {
        *names++ = to[i];
        return true;
      }
    if (c != 'u' || end - at < 4)
      return false;
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at) {
      uint32_t digit = *at >= '0' && *at <= '9'   ? uint32_t(*at - '0')
                       : *at >= 'a' && *at <= 'f' ? uint32_t(*at - 'a' + 10)
                       : *at >= 'A' && *at <= 'F' ? uint32_t(*at - 'A' + 10)
                                                  : 16;
      if (digit > 15)
        return false;
      code = code << 4 | digit;
    }
    // UTF-8, never longer than the six characters of the escape.
    if (code < 0x80) {
      *names++ = static_cast<char>(code);
    } else if (code < 0x800) {
      *names++ = static_cast<char>(0xC0 | code >> 6);
      *names++ = static_cast<char>(0x80 | (code & 63));
    } else {
      *names++ = static_cast<char>(0xE0 | code >> 12);
      *names++ = static_cast<char>(0x80 | (code >> 6 & 63));
      *names++ = static_cast<char>(0x80 | (code & 63));
    }
    return true;
  }

  bool number(uint64_t *value) {
    space();
    if (at == end || *at < '0' || *at > '9')
      return false;
    *value = 0;
    for (; at < end && *at >= '0' && *at <= '9'; ++at)
      if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, uint64_t(*at - '0'), value))
        return false;
    return true;
  }

  /// An object of strings.
  template <typename Note> bool readMetadata(Note note) {
    if (!eat('{'))
      return false;
    if (eat('}'))
      return true;
    do {
      const char *key, *value;
      uint32_t size;
      if (!string(&key, &size) || !eat(':') || !string(&value, &size))
        return false;
      note(key, value);
    } while (eat(','));
    return eat('}');
  }

  bool readTensor(Tensor &tensor) {
    bool hasType = false, hasShape = false, hasOffsets = false;
    if (!eat('{'))
      return false;
    do {
      const char *key, *type;
      uint32_t keySize, typeSize;
      if (!string(&key, &keySize) || !eat(':'))
        return false;
      if (keySize == 5 && !std::memcmp(key, "dtype", 5)) {
        if (!string(&type, &typeSize))
          return false;
        tensor.dtype = typeOf(type, typeSize);
        hasType = true;
      } else if (keySize == 5 && !std::memcmp(key, "shape", 5)) {
        if (!shape(tensor))
          return false;
        hasShape = true;
      } else if (keySize == 12 && !std::memcmp(key, "data_offsets", 12)) {
        uint64_t last;
        if (!eat('[') || !number(&tensor.offset) || !eat(',') || !number(&last) || !eat(']') || last < tensor.offset)
          return false;
        tensor.size = last - tensor.offset;
        hasOffsets = true;
      } else if (!skip(0)) {
        return false;
      }
    } while (eat(','));
    return eat('}') && hasType && hasShape && hasOffsets;
  }

  bool shape(Tensor &tensor) {
    if (!eat('['))
      return false;
    if (eat(']'))
      return true;
    do {
      uint64_t dim;
      if (!number(&dim) || dim > INT64_MAX || tensor.rank == LLMOPT_MAX_RANK)
        return false;
      tensor.dims[tensor.rank++] = static_cast<int64_t>(dim);
    } while (eat(','));
    return eat(']');
  }

  bool skip(int depth) {
    const char *text;
    uint32_t size;
    space();
    if (at == end || depth > 32)
      return false;
    if (*at == '"')
      return string(&text, &size);
    if (*at == '{' || *at == '[') {
      bool isObject = *at == '{';
      char close = isObject ? '}' : ']';
      ++at;
      if (eat(close))
        return true;
      do {
        if (isObject && (!string(&text, &size) || !eat(':')))
          return false;
        if (!skip(depth + 1))
          return false;
      } while (eat(','));
      return eat(close);
    }
    const char *start = at; // a number, true, false or null
    while (at < end && ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == 'E' || *at == '+' ||
                        *at == '-' || *at == '.'))
      ++at;
    return at != start;
  }

  const char *at, *end;
  char *names;
};

TensorFile::~TensorFile() {
  if (base)
    munmap(const_cast<char *>(base), length);
}

llmopt_status TensorFile::open(const char *path, llmopt_error *error) {
  File file;
  if (llmopt_status status = file.open(path, "safetensors file", error))
    return status;
  auto damaged = [&](const char *why) {
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: damaged safetensors file: %s", path, why);
  };
  if (file.size() < 8)
    return damaged("it is shorter than its header");
  void *mapped = mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (mapped == MAP_FAILED)
    return fail(error, LLMOPT_IO_ERROR, "%s: cannot be mapped", path);
  base = static_cast<const char *>(mapped);
  length = file.size();
  uint64_t headerSize;
  std::memcpy(&headerSize, base, 8);
  if (headerSize > length - 8 || headerSize > longestHeader)
    return damaged("its header is longer than the file");
  // Names never grow when escapes are resolved; each takes a terminator, and a quote less.
  if (!text.allocate(headerSize + 1))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory for its header", path);
  uint32_t total = 0;
  if (!Parser(base + 8, headerSize, text.data())
           .run([&](const Tensor &) { return ++total < UINT32_MAX; },
                [&](const char *, const char *) { ++numMetadata; }))
    return damaged("its header is not as the format says");
  if (!tensors.allocate(total) || !metadata.allocate(size_t(numMetadata) * 2))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory for its header", path);
  uint32_t noted = 0;
  const uint64_t first = 8 + headerSize, room = length - first;
  bool fits = Parser(base + 8, headerSize, text.data())
                  .run(
                      [&](const Tensor &tensor) {
                        uint64_t bytes = llmopt_dtype_size(tensor.dtype);
                        for (uint32_t d = 0; d < tensor.rank; ++d)
                          if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(tensor.dims[d]), &bytes))
                            return false;
                        if (tensor.offset > room || tensor.size > room - tensor.offset ||
                            (tensor.dtype && bytes != tensor.size))
                          return false;
                        tensors[count] = tensor;
                        tensors[count++].offset += first;
                        return true;
                      },
                      [&](const char *key, const char *value) {
                        metadata[noted++] = key;
                        metadata[noted++] = value;
                      });
  for (uint32_t i = 0; i < count; ++i) {
    static const char transposed[] = "transposed ";
    tensors[i].module = tensors[i].name;
    for (uint32_t m = 0; m < noted; m += 2)
      if (!std::strcmp(metadata[m], tensors[i].name)) {
        tensors[i].transposed = !std::strncmp(metadata[m + 1], transposed, sizeof(transposed) - 1);
        tensors[i].module = metadata[m + 1] + (tensors[i].transposed ? sizeof(transposed) - 1 : 0);
      }
    if (tensors[i].transposed && (tensors[i].rank != 2 || !tensors[i].dtype))
      return damaged("its metadata transposes what is no matrix");
  }
  return fits ? LLMOPT_OK : damaged("a tensor lies outside of it, or its size is not that of its shape");
}

const TensorFile::Tensor *TensorFile::find(const char *name) const {
  for (uint32_t i = 0; i < count; ++i)
    if (!std::strcmp(tensors[i].name, name))
      return &tensors[i];
  return nullptr;
}

void TensorFile::drop() const { madvise(const_cast<char *>(base), length, MADV_DONTNEED); }
