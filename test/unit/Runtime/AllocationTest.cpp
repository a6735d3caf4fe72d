// Counts what the process asks of the allocator and of mmap while a model runs.
#include "ModelBuilder.h"

#include <atomic>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !LLMOPT_SANITIZED && defined(__GLIBC__)

static std::atomic<bool> counting{false};
static std::atomic<int> allocations{0};
static void note() {
  if (counting.load(std::memory_order_relaxed))
    allocations.fetch_add(1);
}

extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t n) {
  note();
  return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
  note();
  return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
  note();
  return __libc_realloc(p, n);
}
int posix_memalign(void **p, size_t alignment, size_t n) {
  note();
  *p = __libc_memalign(alignment, n);
  return *p ? 0 : 12;
}
void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset) {
  note();
  return reinterpret_cast<void *>(syscall(SYS_mmap, address, n, protection, flags, fd, offset));
}
}

using namespace llmopt::test;

namespace {
void touch(void *const *args, const int64_t *, int64_t tile, void *) {
  static_cast<char *>(args[0])[tile] = char(tile);
}
} // namespace

TEST(Allocation, TheCountersWork) {
  counting = true;
  void *volatile p = malloc(10);
  counting = false;
  EXPECT_EQ(allocations.exchange(0), 1);
  free(p);
}

TEST(Allocation, RunAndRebindingEqualShapesAllocateNothing) {
  ModelBuilder b;
  uint32_t n = b.symbol("n");
  b.input("x", LLMOPT_I8, {n});
  uint32_t a = b.arena(n, 0, 1);
  uint32_t y = b.output("y", LLMOPT_I8, {n});
  b.step("first", touch, {a}, {}, n);
  b.step("second", touch, {y}, {}, n);
  for (uint32_t threads : {1u, 3u})
    for (bool profile : {false, true}) {
      Running r(b.build(), threads, nullptr, profile);
      llmopt_tensor_type t = type(LLMOPT_I8, {100});
      llmopt_tensor_type smaller = type(LLMOPT_I8, {50});
      std::vector<int8_t> x(100), result(100);
      llmopt_input input = in(x);
      llmopt_output output = out(result);
      ASSERT_EQ(llmopt_session_bind(r.session, &t, 1, nullptr), LLMOPT_OK);
      allocations = 0;
      counting = true;
      for (int i = 0; i < 1000; ++i) {
        llmopt_session_bind(r.session, &t, 1, nullptr);
        llmopt_session_run(r.session, &input, 1, &output, 1, nullptr);
      }
      // Even other shapes allocate nothing while memory does not grow.
      llmopt_session_bind(r.session, &smaller, 1, nullptr);
      llmopt_session_run(r.session, &input, 1, &output, 1, nullptr);
      counting = false;
      EXPECT_EQ(allocations.load(), 0);
    }
}
#endif
