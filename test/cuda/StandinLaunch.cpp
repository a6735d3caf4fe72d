// Launches: everything that a launch can get wrong, then the emulated kernel.
#include "Standin.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

using namespace standin;

static constexpr unsigned kMostShared = 227 * 1024;

namespace {

/// What the blocks of an early launch see before they wait: of all memory that kernels write
/// nothing but poison, which they must leave as it is.
class Early {
public:
  explicit Early(const char *kernel) : kernel(kernel) {
    for (const auto &[base, size] : state().memory)
      if (!state().constant.count(base) && size <= kMostBytes)
        hidden.push_back({reinterpret_cast<unsigned char *>(base), std::vector<unsigned char>(size)});
    current = this;
  }
  ~Early() {
    change(true); // of a block that has failed
    current = nullptr;
  }
  static void changeCurrent(int waited) { current->change(waited != 0); }
  bool written = false;

private:
  static constexpr int kBlocks = 3, kPoison = 0xa5;
  static constexpr size_t kMostBytes = size_t(64) << 20;

  void change(bool waited) {
    if (waited == !isHiding)
      return; // nothing is hidden, or all of it is
    if (!waited && ++blocks > kBlocks)
      return;
    for (auto &[memory, content] : hidden) {
      if (waited) {
        written = written || std::any_of(memory, memory + content.size(), [](unsigned char c) { return c != kPoison; });
        std::memcpy(memory, content.data(), content.size());
      } else {
        std::memcpy(content.data(), memory, content.size());
        std::memset(memory, kPoison, content.size());
      }
    }
    isHiding = !waited;
    if (written && waited)
      violation(0, "kernel %s: wrote memory before it waited for the kernels in front", kernel);
  }

  static thread_local Early *current;
  const char *kernel;
  std::vector<std::pair<unsigned char *, std::vector<unsigned char>>> hidden;
  bool isHiding = false;
  int blocks = 0;
};
thread_local Early *Early::current = nullptr;

} // namespace

int standin::prepareLaunch(Kernel &kernel, const unsigned *grid, const unsigned *block, unsigned sharedBytes,
                           void **parameters, bool early, Operation &operation) {
  const EmulatedKernel &code = *kernel.code;
  if (grid[0] == 0 || grid[0] > 0x7fffffff || grid[1] == 0 || grid[1] > 65535 || grid[2] == 0 || grid[2] > 65535)
    return violation(InvalidValue, "kernel %s: no sound grid: %u x %u x %u", code.name, grid[0], grid[1], grid[2]);
  uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
  if (threads == 0 || threads > 1024)
    return violation(InvalidValue, "kernel %s: expected blocks of 1 to 1024 threads, but got %llu", code.name,
                     static_cast<unsigned long long>(threads));
  if (sharedBytes > kMostShared || sharedBytes > unsigned(kernel.dynamicShared))
    return violation(InvalidValue, "kernel %s: expected at most %d bytes of dynamic shared memory, but got %u",
                     code.name, kernel.dynamicShared, sharedBytes);
  int count = code.buffers + code.dims + code.scratch;
  if (count && !parameters)
    return violation(InvalidValue, "kernel %s: no parameters", code.name);
  std::vector<uint64_t> values(count);
  for (int i = 0; i < count; ++i) {
    if (!parameters[i])
      return violation(InvalidValue, "kernel %s: expected %d parameters, but parameter %d is NULL", code.name, count,
                       i);
    std::memcpy(&values[i], parameters[i], sizeof(uint64_t));
    bool isPointer = i < code.buffers || i >= code.buffers + code.dims;
    if (isPointer && !isInside(state().memory, values[i], 0))
      return violation(IllegalAddress, "kernel %s: parameter %d: %#llx lies in no live allocation", code.name, i,
                       static_cast<unsigned long long>(values[i]));
  }
  std::array<unsigned, 3> g = {grid[0], grid[1], grid[2]}, b = {block[0], block[1], block[2]};
  const EmulatedLibrary *library = kernel.library;
  operation = [=, &code]() mutable {
    std::vector<void *> pointers;
    for (uint64_t &value : values)
      pointers.push_back(&value);
    std::vector<const void *> bases, constants;
    std::vector<size_t> sizes, constantSizes;
    for (const auto &[base, size] : state().memory) {
      bases.push_back(reinterpret_cast<const void *>(base));
      sizes.push_back(size);
      if (state().constant.count(base)) {
        constants.push_back(bases.back());
        constantSizes.push_back(size);
      }
    }
    library->setRanges(bases.data(), sizes.data(), bases.size());
    std::optional<Early> hidden;
    if (early && library->setEarly)
      hidden.emplace(code.name);
    if (library->setEarly)
      library->setEarly(early, Early::changeCurrent, constants.data(), constantSizes.data(), constants.size());
    if (!code.run(g.data(), b.data(), sharedBytes, pointers.data()))
      return violation(LaunchFailed, "kernel %s: %s", code.name, library->error());
    return hidden && hidden->written ? int(IllegalAddress) : int(Success);
  };
  return Success;
}
