// Fibers: stacks that one OS thread switches between. A switch saves what a
// function call preserves, nothing else, so it costs a few nanoseconds; where
// there is no such code, and under AddressSanitizer, ucontext does it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define LLMOPT_EMULATION_UCONTEXT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LLMOPT_EMULATION_UCONTEXT 1
#endif
#endif
#if !defined(__x86_64__) && !(defined(__aarch64__) && defined(__clang__))
#define LLMOPT_EMULATION_UCONTEXT 1
#endif

#ifdef LLMOPT_EMULATION_UCONTEXT
#include <ucontext.h>
#endif

namespace llmopt_emulation {

#ifdef LLMOPT_EMULATION_UCONTEXT

using Fiber = ucontext_t;

/// Makes `fiber` start in `entry`, which must not return, on `stack`.
inline void prepare_fiber(Fiber &fiber, char *stack, size_t bytes, void (*entry)()) {
  getcontext(&fiber);
  fiber.uc_stack.ss_sp = stack;
  fiber.uc_stack.ss_size = bytes;
  fiber.uc_link = nullptr;
  makecontext(&fiber, entry, 0);
}
inline void switch_fiber(Fiber &from, Fiber &to) { swapcontext(&from, &to); }

#else

using Fiber = void *; // the stack pointer of a fiber that does not run

#ifdef __x86_64__
constexpr int kSavedWords = 6; // rbp, rbx, r12 to r15
__attribute__((naked, noinline)) inline void switch_stacks(void **, void *const *) {
  asm volatile("pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
               "movq %rsp, (%rdi)\n\tmovq (%rsi), %rsp\n\t"
               "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tretq");
}
#else
constexpr int kSavedWords = 20; // x19 to x30, d8 to d15
__attribute__((naked, noinline)) inline void switch_stacks(void **, void *const *) {
  asm volatile("sub sp, sp, #160\n\tstp x19, x20, [sp]\n\tstp x21, x22, [sp, #16]\n\tstp x23, x24, [sp, #32]\n\t"
               "stp x25, x26, [sp, #48]\n\tstp x27, x28, [sp, #64]\n\tstp x29, x30, [sp, #80]\n\t"
               "stp d8, d9, [sp, #96]\n\tstp d10, d11, [sp, #112]\n\tstp d12, d13, [sp, #128]\n\t"
               "stp d14, d15, [sp, #144]\n\tmov x9, sp\n\tstr x9, [x0]\n\tldr x9, [x1]\n\tmov sp, x9\n\t"
               "ldp x19, x20, [sp]\n\tldp x21, x22, [sp, #16]\n\tldp x23, x24, [sp, #32]\n\t"
               "ldp x25, x26, [sp, #48]\n\tldp x27, x28, [sp, #64]\n\tldp x29, x30, [sp, #80]\n\t"
               "ldp d8, d9, [sp, #96]\n\tldp d10, d11, [sp, #112]\n\tldp d12, d13, [sp, #128]\n\t"
               "ldp d14, d15, [sp, #144]\n\tadd sp, sp, #160\n\tret");
}
#endif

/// Makes `fiber` start in `entry`, which must not return, on `stack`.
inline void prepare_fiber(Fiber &fiber, char *stack, size_t bytes, void (*entry)()) {
  void **top = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15));
#ifdef __x86_64__
  // On entry to a function the stack is 8 modulo 16, below a return address.
  *--top = nullptr;
  *--top = reinterpret_cast<void *>(entry);
  top -= kSavedWords;
#else
  top -= kSavedWords;
  top[11] = reinterpret_cast<void *>(entry); // x30, where `ret` goes
#endif
  fiber = top;
}
inline void switch_fiber(Fiber &from, Fiber &to) { switch_stacks(&from, &to); }

#endif

} // namespace llmopt_emulation
