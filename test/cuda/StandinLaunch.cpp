// Launches: everything that a launch can get wrong, then the emulated kernel.
#include "Standin.h"

#include <array>
#include <cstring>

using namespace standin;

static constexpr unsigned kMostShared = 227 * 1024;

int standin::prepareLaunch(Kernel &kernel, const unsigned *grid, const unsigned *block, unsigned sharedBytes,
                           void **parameters, Operation &operation) {
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
    std::vector<const void *> bases;
    std::vector<size_t> sizes;
    for (const auto &[base, size] : state().memory) {
      bases.push_back(reinterpret_cast<const void *>(base));
      sizes.push_back(size);
    }
    library->setRanges(bases.data(), sizes.data(), bases.size());
    if (code.run(g.data(), b.data(), sharedBytes, pointers.data()))
      return int(Success);
    return violation(LaunchFailed, "kernel %s: %s", code.name, library->error());
  };
  return Success;
}
