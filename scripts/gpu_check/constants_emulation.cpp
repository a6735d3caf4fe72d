// constants.cu for the driver that stands in for a GPU, as model_emulation.cpp is for a
// model.
#include "llmopt/cuda/emulation.h"

#define __ldcs(address) (*(address))
#define __stcs(address, value) (*(address) = (value))
#include "constants.cu"

struct llmopt_emulated_kernel {
  const char *name;
  int buffers, dims, scratch;
  bool (*run)(const unsigned *grid, const unsigned *block, size_t shared_bytes, void *const *parameters);
};
template <typename... P>
static bool run(void (*kernel)(P...), const unsigned *grid, const unsigned *block, size_t shared,
                void *const *parameters) {
  return llmopt_emulation::run_grid(kernel, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared,
                                    parameters);
}
static const llmopt_emulated_kernel kernels[] = {
    {"read_all", 2, 1, 0,
     [](const unsigned *g, const unsigned *b, size_t s, void *const *p) { return run(read_all, g, b, s, p); }},
    {"copy_all", 2, 1, 0,
     [](const unsigned *g, const unsigned *b, size_t s, void *const *p) { return run(copy_all, g, b, s, p); }},
    {"nothing", 0, 0, 0,
     [](const unsigned *g, const unsigned *b, size_t s, void *const *p) { return run(nothing, g, b, s, p); }},
    {nullptr, 0, 0, 0, nullptr},
};

extern "C" const llmopt_emulated_kernel *llmopt_emulated_kernels_v1() { return kernels; }
extern "C" const char *llmopt_emulated_error_v1() { return llmopt_emulation::last_error(); }
extern "C" void llmopt_emulated_ranges_v1(const void *const *, const size_t *, size_t) {}
