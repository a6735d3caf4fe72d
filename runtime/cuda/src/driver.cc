#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>

using namespace llmopt::rt;

namespace {
constexpr const char *kDriverVariable = "LLMOPT_CUDA_DRIVER";
constexpr int kLeastVersion = 12000; // cuLibraryLoadData

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
CudaDriver theDriver;
bool isOpen = false;

llmopt_status open(llmopt_error *error) {
  const char *path = std::getenv(kDriverVariable);
  bool named = path && *path;
  if (!named)
    path = "libcuda.so.1";
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *why = dlerror();
    return fail(error, LLMOPT_NO_DEVICE, "no CUDA driver%s: %s", named ? " (LLMOPT_CUDA_DRIVER)" : "",
                why ? why : path);
  }
  CudaDriver found;
  const char *missing = nullptr;
  auto find = [&](const char *name, void *member, bool optional = false) {
    void *symbol = dlsym(library, name);
    if (!symbol && !missing && !optional)
      missing = name;
    std::memcpy(member, &symbol, sizeof(symbol));
  };
#define LLMOPT_CUDA_FIND(member, symbol, parameters) find(#symbol, &found.member);
  LLMOPT_CUDA_FUNCTIONS(LLMOPT_CUDA_FIND)
#undef LLMOPT_CUDA_FIND
#define LLMOPT_CUDA_FIND(member, symbol, parameters) find(#symbol, &found.member, true);
  LLMOPT_CUDA_OPTIONAL(LLMOPT_CUDA_FIND)
#undef LLMOPT_CUDA_FIND
  int version = 0;
  if (found.driverGetVersion)
    found.driverGetVersion(&version);
  if (missing || version < kLeastVersion) {
    dlclose(library);
    if (version)
      return fail(error, LLMOPT_NO_DEVICE, "%s: expected a CUDA driver for CUDA 12.0 or later, but got %d.%d%s%s", path,
                  version / 1000, version % 1000 / 10, missing ? " without " : "", missing ? missing : "");
    return fail(error, LLMOPT_NO_DEVICE, "%s: is no CUDA driver: %s is missing", path, missing);
  }
  if (int result = found.init(0)) {
    llmopt_status status =
        fail(error, LLMOPT_NO_DEVICE, "the CUDA driver finds no usable device: %s", found.text(result));
    dlclose(library);
    return status;
  }
  theDriver = found;
  isOpen = true; // and stays: a driver is not made to be unloaded
  return LLMOPT_OK;
}

/// "sm_90a" -> 90 and 'a'; false where it is neither sm_ nor compute_.
bool parseArchitecture(const char *text, size_t length, bool *isPtx, int *number, char *suffix) {
  *isPtx = length > 8 && std::memcmp(text, "compute_", 8) == 0;
  if (!*isPtx && (length < 4 || std::memcmp(text, "sm_", 3) != 0))
    return false;
  *number = 0;
  *suffix = 0;
  for (size_t i = *isPtx ? 8 : 3; i < length; ++i) {
    if (text[i] >= '0' && text[i] <= '9' && *number < 1000)
      *number = *number * 10 + (text[i] - '0');
    else
      *suffix = text[i];
  }
  return *number >= 10;
}
} // namespace

const char *CudaDriver::text(int result) const {
  const char *found = nullptr;
  return getErrorString(result, &found) == 0 && found ? found : "unknown error";
}

llmopt_status CudaDriver::check(int result, const char *what, llmopt_error *error) const {
  if (!result)
    return LLMOPT_OK;
  return fail(error, result == kCudaOutOfMemory ? LLMOPT_OUT_OF_MEMORY : LLMOPT_DEVICE_ERROR, "%s: %s (CUDA error %d)",
              what, text(result), result);
}

llmopt_status llmopt::rt::openCudaDriver(const CudaDriver **driver, llmopt_error *error) {
  pthread_mutex_lock(&mutex);
  llmopt_status status = isOpen ? LLMOPT_OK : open(error);
  pthread_mutex_unlock(&mutex);
  if (!status)
    *driver = &theDriver;
  return status;
}

bool llmopt::rt::runsOn(const char *architectures, int major, int minor) {
  int device = major * 10 + minor;
  for (const char *at = architectures; *at;) {
    const char *comma = std::strchr(at, ',');
    size_t length = comma ? size_t(comma - at) : std::strlen(at);
    bool isPtx;
    int number;
    char suffix;
    if (parseArchitecture(at, length, &isPtx, &number, &suffix)) {
      bool sameMajor = number / 10 == major;
      // Plain PTX runs on all later devices, plain machine code on those of the same
      // major version; `a` on exactly this one, `f` on its family.
      bool fits = suffix == 'a' ? number == device : number <= device && (sameMajor || (isPtx && suffix != 'f'));
      if (fits)
        return true;
    }
    at += length + (comma != nullptr);
  }
  return false;
}
