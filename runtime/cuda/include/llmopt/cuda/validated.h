// Which paths of the kernel library a run on a GPU has validated. Emulation models wgmma and
// TMA at the level of warpgroups: it finds mistakes in layouts and phases, but cannot vouch
// for the instructions. Until a run has, the compiler does not choose them.
#pragma once

namespace llmopt {

constexpr bool kWgmmaValidated = false; // sm_90a: wgmma_gemm.cuh

} // namespace llmopt
