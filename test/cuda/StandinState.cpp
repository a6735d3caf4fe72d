// What is alive, what is to fail, and the account at the end.
#include "Standin.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <unistd.h>

using namespace standin;

State &standin::state() {
  static State theState;
  return theState;
}

State::State() {
  if (const char *plan = std::getenv("LLMOPT_STANDIN_FAIL")) {
    failWhat = plan;
    size_t colon = failWhat.find(':');
    if (colon != std::string::npos) {
      failAt = std::atol(failWhat.c_str() + colon + 1);
      failWhat.resize(colon);
    }
    if (failWhat == "memory")
      total = size_t(failAt);
  }
  std::string paths = std::getenv("LLMOPT_STANDIN_KERNELS") ? std::getenv("LLMOPT_STANDIN_KERNELS") : "";
  for (size_t at = 0; at < paths.size();) {
    size_t end = std::min(paths.find(':', at), paths.size());
    std::string path = paths.substr(at, end - at);
    at = end + 1;
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    auto find = [&](const char *name) { return library ? dlsym(library, name) : nullptr; };
    auto kernels = reinterpret_cast<const EmulatedKernel *(*)()>(find("llmopt_emulated_kernels_v1"));
    auto error = reinterpret_cast<const char *(*)()>(find("llmopt_emulated_error_v1"));
    auto ranges =
        reinterpret_cast<void (*)(const void *const *, const size_t *, size_t)>(find("llmopt_emulated_ranges_v1"));
    auto early = reinterpret_cast<decltype(EmulatedLibrary::setEarly)>(find("llmopt_emulated_early_v1"));
    if (kernels && error && ranges)
      emulated.push_back({kernels(), error, ranges, early});
    else
      violation(0, "%s: expected an artefact of -emit=cuda -emulate: %s", path.c_str(),
                library ? "no kernels" : dlerror());
  }
}

State::~State() {
  size_t left = memory.size() + pinned.size() + streams.size() + events.size() + libraries.size() + graphs.size() +
                executables.size();
  if (const char *path = std::getenv("LLMOPT_STANDIN_LOG"))
    if (FILE *log = std::fopen(path, "a")) {
      for (const auto &[what, count] : counts)
        std::fprintf(log, "%s=%ld ", what.c_str(), count);
      std::fprintf(log, "left=%zu\n", left + size_t(retained));
      std::fclose(log);
    }
  if (left == 0 && retained == 0)
    return;
  violation(0,
            "left at the end: %zu blocks of device memory, %zu of pinned memory, %zu streams, %zu events, %zu "
            "libraries, %zu graphs, %d contexts",
            memory.size(), pinned.size(), streams.size(), events.size(), libraries.size(),
            graphs.size() + executables.size(), retained);
  _exit(66);
}

bool State::fails(const char *what) { return ++counts[what] == failAt && failWhat == what; }

int standin::violation(int result, const char *format, ...) {
  std::fputs("cuda-standin: ", stderr);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputs("\n", stderr);
  return result;
}

bool standin::isInside(const std::map<uintptr_t, size_t> &where, uintptr_t address, size_t bytes) {
  auto next = where.upper_bound(address);
  if (next == where.begin())
    return false;
  const auto &[base, size] = *std::prev(next);
  return address - base <= size && bytes <= size - (address - base);
}

int standin::enqueue(void *handle, const char *call, Operation operation, NodeKind kind) {
  auto *stream = static_cast<Stream *>(handle);
  if (!state().streams.count(stream))
    return violation(InvalidHandle, "%s: the stream is not alive", call);
  if (!stream->capture) {
    stream->pending.push_back(std::move(operation));
    return Success;
  }
  stream->capture->nodes.push_back(std::make_unique<Node>(Node{std::move(operation), kind}));
  stream->last = stream->capture->nodes.back().get();
  return Success;
}

int standin::finish(Stream &stream) {
  std::vector<Operation> pending;
  pending.swap(stream.pending);
  for (Operation &operation : pending)
    if (int result = operation())
      return result;
  return Success;
}
