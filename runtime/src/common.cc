#include "common.h"

#include <cstdarg>
#include <cstdio>
#include <sys/mman.h>
#include <unistd.h>

using namespace llmopt::rt;

llmopt_status llmopt::rt::fail(llmopt_error *error, llmopt_status status, const char *format, ...) {
  if (!error)
    return status;
  char *text = error->message;
  const size_t capacity = sizeof(error->message);
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, capacity, format, args);
  va_end(args);
  if (length < 0)
    text[0] = '\0';
  if (length >= static_cast<int>(capacity)) {
    // Cut before a UTF-8 character, not inside it.
    size_t end = capacity - 4;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
      --end;
    std::memcpy(text + end, "...", 4);
  }
  for (char *c = text; *c; ++c)
    if (static_cast<unsigned char>(*c) < 0x20 || *c == 0x7F)
      *c = '?';
  return status;
}

ErrnoText::ErrnoText(int code) {
  // Whichever of the two strerror_r the C library has: GNU returns the text,
  // POSIX returns int and fills the buffer.
  struct Pick {
    static const char *from(const char *result, const char *) { return result; }
    static const char *from(int, const char *filled) { return filled; }
  };
  buffer[0] = '\0';
  text = Pick::from(strerror_r(code, buffer, sizeof(buffer)), buffer);
}

bool Pages::allocate(uint64_t bytes) {
  uint64_t rounded;
  if (!alignUp(bytes ? bytes : 1, 4096, &rounded) || rounded > SIZE_MAX / 2)
    return false;
  constexpr uint64_t hugePage = 2 << 20;
  // Whole huge pages where the region has some, so that the kernel can use them.
  if (rounded >= 2 * hugePage && !alignUp(rounded, hugePage, &rounded))
    return false;
  void *fresh = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED)
    return false;
#ifdef MADV_HUGEPAGE
  if (rounded >= 2 * hugePage)
    madvise(fresh, rounded, MADV_HUGEPAGE); // advice: may fail
#endif
  release();
  base = static_cast<char *>(fresh);
  length = rounded;
  return true;
}

void Pages::release() {
  if (base)
    munmap(base, length);
  base = nullptr;
  length = 0;
}

extern "C" const char *llmopt_runtime_version(void) { return LLMOPT_VERSION; }

extern "C" const char *llmopt_status_name(llmopt_status status) {
  switch (status) {
  case LLMOPT_OK:
    return "ok";
  case LLMOPT_INVALID_ARGUMENT:
    return "invalid argument";
  case LLMOPT_NOT_FOUND:
    return "not found";
  case LLMOPT_BAD_MODEL:
    return "bad model";
  case LLMOPT_BAD_WEIGHTS:
    return "bad weights";
  case LLMOPT_UNSUPPORTED_CPU:
    return "unsupported cpu";
  case LLMOPT_SHAPE_MISMATCH:
    return "shape mismatch";
  case LLMOPT_NOT_BOUND:
    return "not bound";
  case LLMOPT_BUSY:
    return "busy";
  case LLMOPT_OUT_OF_MEMORY:
    return "out of memory";
  case LLMOPT_IO_ERROR:
    return "input/output error";
  case LLMOPT_BAD_VALUE:
    return "bad value";
  case LLMOPT_NO_DEVICE:
    return "no device";
  case LLMOPT_DEVICE_ERROR:
    return "device error";
  case LLMOPT_INTERNAL:
    return "internal error";
  }
  return "unknown status";
}

namespace {
struct DtypeInfo {
  const char *name;
  size_t size;
};
constexpr DtypeInfo dtypes[] = {{"unknown", 0}, {"f32", 4},        {"f64", 8},    {"f16", 2},      {"bf16", 2},
                                {"i8", 1},      {"u8", 1},         {"i16", 2},    {"u16", 2},      {"i32", 4},
                                {"u32", 4},     {"i64", 8},        {"u64", 8},    {"bool", 1},     {"i4", 1},
                                {"u4", 1},      {"i2", 1},         {"u2", 1},     {"f8e4m3fn", 1}, {"f8e4m3fnuz", 1},
                                {"f8e5m2", 1},  {"f8e5m2fnuz", 1}, {"f8e8m0", 1}, {"f4e2m1", 1}};
constexpr uint32_t numDtypes = sizeof(dtypes) / sizeof(dtypes[0]);
static_assert(numDtypes == LLMOPT_F4E2M1 + 1, "one row per llmopt_dtype");
} // namespace

extern "C" size_t llmopt_dtype_size(uint32_t dtype) { return dtype < numDtypes ? dtypes[dtype].size : 0; }

extern "C" const char *llmopt_dtype_name(uint32_t dtype) { return dtypes[dtype < numDtypes ? dtype : 0].name; }
