// Pointers into shared and global memory. On a device they are plain pointers; under
// emulation they know their bounds, and shared memory knows who touched it when.
//
//   LLMOPT_SHARED(float, tile, 1024);    an array of shared memory
//   LLMOPT_DYNAMIC_SHARED(bytes);        what the launch asked for, as unsigned char
//   global<const float> x(pointer);      a parameter of the kernel
#pragma once

#include "llmopt/cuda/common.cuh"

#ifdef LLMOPT_EMULATE

#define LLMOPT_SHARED(T, name, count)                                                                                  \
  static char name##_key;                                                                                              \
  const ::llmopt::shared<T> name(llmopt_emulation::get_shared_array(&name##_key, sizeof(T) * (count)))
#define LLMOPT_DYNAMIC_SHARED(name) const ::llmopt::shared<unsigned char> name(llmopt_emulation::get_dynamic_shared())

namespace llmopt {

/// Reads a V at element `i` of `p`, aligned as V is.
template <typename V, typename T> V load(global<T> p, int64_t i = 0) {
  const char *at = reinterpret_cast<const char *>(p.get() + i);
  llmopt_emulation::check_global(at, sizeof(V), sizeof(V), p.bounds());
  V value;
  memcpy(&value, at, sizeof(V));
  return value;
}
template <typename V, typename T> void store(global<T> p, int64_t i, V value) {
  char *at = reinterpret_cast<char *>(p.get() + i);
  llmopt_emulation::check_global(at, sizeof(V), sizeof(V), p.bounds());
  memcpy(at, &value, sizeof(V));
}
template <typename V, typename T> V load_stream(global<T> p, int64_t i = 0) { return load<V>(p, i); }
template <typename V, typename T> V load(shared<T> p, int64_t i = 0) {
  const uint32_t at = (p + i).get();
  llmopt_emulation::check_shared_bounds(at, sizeof(V), sizeof(V), "read");
  llmopt_emulation::note_read(at, sizeof(V));
  V value;
  memcpy(&value, llmopt_emulation::memory().bytes + at, sizeof(V));
  return value;
}
template <typename V, typename T> void store(shared<T> p, int64_t i, V value) {
  const uint32_t at = (p + i).get();
  llmopt_emulation::check_shared_bounds(at, sizeof(V), sizeof(V), "write");
  llmopt_emulation::note_write(at, sizeof(V));
  memcpy(llmopt_emulation::memory().bytes + at, &value, sizeof(V));
}
/// The same place as another type.
template <typename U, typename T> shared<U> shared_cast(shared<T> p) { return shared<U>(p.get()); }
/// The address that instructions of PTX take.
template <typename T> uint32_t smem_address(shared<T> p) { return p.get(); }

} // namespace llmopt

#else

#define LLMOPT_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define LLMOPT_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

namespace llmopt {

template <typename T> using global = T *;
template <typename T> using shared = T *;

template <typename V, typename T> __device__ __forceinline__ V load(T *p, int64_t i = 0) {
  return *reinterpret_cast<const V *>(p + i);
}
template <typename V, typename T> __device__ __forceinline__ void store(T *p, int64_t i, V value) {
  *reinterpret_cast<V *>(p + i) = value;
}
/// The same for what is read once: it takes no room in L1.
template <typename V, typename T> __device__ __forceinline__ V load_stream(T *p, int64_t i = 0) {
  static_assert(sizeof(V) == 16, "16 bytes at a time");
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p + i));
  return v;
}
template <typename U, typename T> __device__ __forceinline__ U *shared_cast(T *p) { return reinterpret_cast<U *>(p); }
template <typename T> __device__ __forceinline__ uint32_t smem_address(T *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

} // namespace llmopt

#endif
