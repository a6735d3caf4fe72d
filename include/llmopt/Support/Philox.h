// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011): four random words as a function
// of a key and a counter.
#ifndef LLMOPT_SUPPORT_PHILOX_H
#define LLMOPT_SUPPORT_PHILOX_H

#include <array>
#include <cstdint>

namespace llmopt {

constexpr uint32_t kPhiloxMultiplier[2] = {0xD2511F53u, 0xCD9E8D57u};
constexpr uint32_t kPhiloxWeyl[2] = {0x9E3779B9u, 0xBB67AE85u};
constexpr int kPhiloxRounds = 10;

inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    uint64_t a = uint64_t(kPhiloxMultiplier[0]) * c[0], b = uint64_t(kPhiloxMultiplier[1]) * c[2];
    c = {uint32_t(b >> 32) ^ c[1] ^ key[0], uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ key[1], uint32_t(a)};
    key[0] += kPhiloxWeyl[0];
    key[1] += kPhiloxWeyl[1];
  }
  return c;
}

/// The key of a seed: its low half first.
inline std::array<uint32_t, 2> philoxKey(uint64_t seed) { return {uint32_t(seed), uint32_t(seed >> 32)}; }

} // namespace llmopt

#endif
