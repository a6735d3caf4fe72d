// Atomic operations on global memory, which other OS threads may run blocks on,
// and on shared memory, where they do not race with each other.
#pragma once

#include "llmopt/cuda/emulation/memory.h"

namespace llmopt_emulation {

/// Replaces *p by update(*p) in one step; gives what it was.
template <typename T, typename Update> inline T atomic_update(T *p, Update update) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "words of 32 or 64 bits");
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  Bits *word = reinterpret_cast<Bits *>(p);
  Bits old = __atomic_load_n(word, __ATOMIC_RELAXED), next;
  T value;
  do {
    memcpy(&value, &old, sizeof(T));
    const T updated = update(value);
    memcpy(&next, &updated, sizeof(T));
  } while (!__atomic_compare_exchange_n(word, &old, next, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
  return value;
}
template <typename T, typename Update> inline T atomic_update(llmopt::shared<T> p, Update update) {
  check_shared_bounds(p.get(), sizeof(T), sizeof(T), "atomic");
  note_write(p.get(), sizeof(T), /*atomic=*/true);
  T value;
  memcpy(&value, memory().bytes + p.get(), sizeof(T));
  const T updated = update(value);
  memcpy(memory().bytes + p.get(), &updated, sizeof(T));
  return value;
}
template <typename T, typename Update> inline T atomic_update(llmopt::global<T> p, Update update) {
  return atomic_update(&*p, update);
}

} // namespace llmopt_emulation

// `Pointer` is T *, llmopt::global<T> or llmopt::shared<T>.
template <typename Pointer, typename T> inline auto atomicAdd(Pointer p, T value) {
  return llmopt_emulation::atomic_update(p, [=](auto old) { return static_cast<decltype(old)>(old + value); });
}
template <typename Pointer, typename T> inline auto atomicMax(Pointer p, T value) {
  return llmopt_emulation::atomic_update(
      p, [=](auto old) { return old < static_cast<decltype(old)>(value) ? static_cast<decltype(old)>(value) : old; });
}
template <typename Pointer, typename T> inline auto atomicMin(Pointer p, T value) {
  return llmopt_emulation::atomic_update(
      p, [=](auto old) { return static_cast<decltype(old)>(value) < old ? static_cast<decltype(old)>(value) : old; });
}
template <typename Pointer, typename T> inline auto atomicExch(Pointer p, T value) {
  return llmopt_emulation::atomic_update(p, [=](auto old) { return static_cast<decltype(old)>(value); });
}
template <typename Pointer, typename T> inline auto atomicCAS(Pointer p, T compare, T value) {
  return llmopt_emulation::atomic_update(p, [=](auto old) {
    return old == static_cast<decltype(old)>(compare) ? static_cast<decltype(old)>(value) : old;
  });
}

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}
