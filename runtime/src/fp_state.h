// The floating-point control state that kernels are compiled for: round to
// nearest, subnormals kept, no traps.
#ifndef LLMOPT_RT_FP_STATE_H
#define LLMOPT_RT_FP_STATE_H

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace llmopt::rt {

/// Sets the state for its lifetime and puts the former one back, sticky
/// exception flags included.
class ScopedFpState {
public:
#if defined(__x86_64__)
  ScopedFpState() : saved(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~ScopedFpState() { _mm_setcsr(static_cast<unsigned>(saved)); }
#elif defined(__aarch64__)
  ScopedFpState() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("mrs %0, fpsr" : "=r"(flags));
    __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t(0)) : "memory");
  }
  ~ScopedFpState() {
    __asm__ volatile("msr fpcr, %0" : : "r"(saved) : "memory");
    __asm__ volatile("msr fpsr, %0" : : "r"(flags) : "memory");
  }
#else
  ScopedFpState() {}
  ~ScopedFpState() {}
#endif
  ScopedFpState(const ScopedFpState &) = delete;
  ScopedFpState &operator=(const ScopedFpState &) = delete;

private:
  uint64_t saved = 0;
#if defined(__aarch64__)
  uint64_t flags = 0;
#endif
};

} // namespace llmopt::rt

#endif
