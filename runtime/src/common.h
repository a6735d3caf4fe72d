// What every part of the runtime needs: how it reports an error and how it
// holds memory. The runtime is C++17 without exceptions, RTTI or anything that
// needs libstdc++ at link time, hence no std containers.
#ifndef LLMOPT_RT_COMMON_H
#define LLMOPT_RT_COMMON_H

#include "llmopt/runtime.h"

#include <cstdlib>
#include <cstring>

namespace llmopt::rt {

/// Writes the message, cut to fit and free of control characters, and returns
/// `status`, so that callers write `return fail(...)`.
llmopt_status fail(llmopt_error *error, llmopt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/// The text of an errno value (the thread-safe strerror).
class ErrnoText {
public:
  explicit ErrnoText(int code);
  const char *c_str() const { return text; }

private:
  char buffer[128];
  const char *text;
};

/// A fixed number of zero-initialised elements on the heap. T is trivial.
template <typename T> class Array {
public:
  Array() = default;
  Array(const Array &) = delete;
  Array &operator=(const Array &) = delete;
  ~Array() { std::free(elements); }

  [[nodiscard]] bool allocate(size_t size) {
    std::free(elements);
    count = 0;
    // calloc(0) may return NULL, which would read as a failure.
    elements = static_cast<T *>(std::calloc(size ? size : 1, sizeof(T)));
    if (!elements)
      return false;
    count = size;
    return true;
  }
  void swap(Array &other) {
    T *e = elements;
    elements = other.elements;
    other.elements = e;
    size_t c = count;
    count = other.count;
    other.count = c;
  }
  T *data() { return elements; }
  const T *data() const { return elements; }
  size_t size() const { return count; }
  T &operator[](size_t i) { return elements[i]; }
  const T &operator[](size_t i) const { return elements[i]; }
  T *begin() { return elements; }
  T *end() { return elements + count; }

private:
  T *elements = nullptr;
  size_t count = 0;
};

/// Anonymous pages, zero-filled by the system on first touch.
class Pages {
public:
  Pages() = default;
  Pages(const Pages &) = delete;
  Pages &operator=(const Pages &) = delete;
  ~Pages() { release(); }

  /// Replaces what is held; on failure the old pages stay.
  [[nodiscard]] bool allocate(uint64_t bytes);
  void release();
  void swap(Pages &other) {
    char *b = base;
    base = other.base;
    other.base = b;
    uint64_t l = length;
    length = other.length;
    other.length = l;
  }
  char *data() const { return base; }
  uint64_t size() const { return length; }

private:
  char *base = nullptr;
  uint64_t length = 0;
};

/// A heap copy of a C string; false where memory is short.
class String {
public:
  String() = default;
  String(const String &) = delete;
  String &operator=(const String &) = delete;
  ~String() { std::free(text); }
  [[nodiscard]] bool assign(const char *source) { return adopt(strdup(source)); }
  /// Takes a malloc'ed string.
  [[nodiscard]] bool adopt(char *owned) {
    std::free(text);
    text = owned;
    return text != nullptr;
  }
  const char *c_str() const { return text ? text : ""; }
  bool empty() const { return !text || !*text; }

private:
  char *text = nullptr;
};

/// Rounds up to a power of two; false on overflow.
inline bool alignUp(uint64_t value, uint64_t alignment, uint64_t *result) {
  if (__builtin_add_overflow(value, alignment - 1, result))
    return false;
  *result &= ~(alignment - 1);
  return true;
}

/// Copies an options struct of any known or newer size into `known`, whose
/// fields beyond `given->struct_size` stay zero. Fields that this version does
/// not know must be zero, or the caller would not get what they asked for.
template <typename T> llmopt_status readOptions(const T *given, T *known, const char *what, llmopt_error *error) {
  std::memset(known, 0, sizeof(T));
  known->struct_size = sizeof(T);
  if (!given)
    return LLMOPT_OK;
  size_t size = given->struct_size;
  if (size < sizeof(size_t) || size > 4096)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "%s: expected struct_size %zu, but got %zu", what, sizeof(T), size);
  const char *bytes = reinterpret_cast<const char *>(given);
  for (size_t i = sizeof(T); i < size; ++i)
    if (bytes[i])
      return fail(error, LLMOPT_INVALID_ARGUMENT, "%s: asks for something that this runtime (%s) does not know", what,
                  llmopt_runtime_version());
  std::memcpy(known, given, size < sizeof(T) ? size : sizeof(T));
  return LLMOPT_OK;
}

/// Copies an info struct out, as much of it as the caller knows.
template <typename T> llmopt_status writeInfo(T *out, T *filled, const char *what, llmopt_error *error) {
  if (!out)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "%s: is NULL", what);
  size_t size = out->struct_size;
  if (size < sizeof(size_t) || size > 4096)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "%s: expected struct_size %zu, but got %zu", what, sizeof(T), size);
  filled->struct_size = size;
  std::memcpy(out, filled, size < sizeof(T) ? size : sizeof(T));
  return LLMOPT_OK;
}

} // namespace llmopt::rt

#endif
