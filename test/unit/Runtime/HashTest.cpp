#include "llmopt/weights.h"

#include <cstddef>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

namespace {
uint64_t hash(const char *text, uint64_t seed = 0) { return llmopt_hash_bytes(text, strlen(text), seed); }

// The generator and the sums of xxHash's own sanity check (xxhsum.c):
// a byte sequence from a 32-bit prime, hashed with seeds 0 and PRIME32.
constexpr uint32_t prime32 = 2654435761u;
std::vector<uint8_t> sanityBuffer(size_t size) {
  std::vector<uint8_t> bytes(size);
  uint64_t generator = prime32;
  for (uint8_t &b : bytes) {
    b = uint8_t(generator >> 56);
    generator *= 11400714785074694797ull;
  }
  return bytes;
}
} // namespace

TEST(Hash, KnownVectors) {
  EXPECT_EQ(hash(""), 0xEF46DB3751D8E999ull);
  EXPECT_EQ(hash("a"), 0xD24EC4F1A98C6E5Bull);
  EXPECT_EQ(hash("abc"), 0x44BC2CF5AD770999ull);
  EXPECT_EQ(hash("Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1ull);
}

TEST(Hash, SanitySequence) {
  std::vector<uint8_t> bytes = sanityBuffer(222);
  auto at = [&](size_t size, uint64_t seed) { return llmopt_hash_bytes(bytes.data(), size, seed); };
  EXPECT_EQ(at(0, prime32), 0xAC75FDA2929B17EFull);
  EXPECT_EQ(at(1, 0), 0xE934A84ADB052768ull);
  EXPECT_EQ(at(1, prime32), 0x5014607643A9B4C3ull);
  EXPECT_EQ(at(4, 0), 0x9136A0DCA57457EEull);
  EXPECT_EQ(at(14, 0), 0x8282DCC4994E35C8ull);
  EXPECT_EQ(at(14, prime32), 0xC3BD6BF63DEB6DF0ull);
  EXPECT_EQ(at(222, 0), 0xB641AE8CB691C174ull);
  EXPECT_EQ(at(222, prime32), 0x20CB8AB7AE10C14Aull);
}

TEST(Hash, PiecesEqualTheWhole) {
  std::vector<uint8_t> bytes = sanityBuffer(1000);
  for (size_t size : {0u, 1u, 31u, 32u, 33u, 64u, 999u, 1000u})
    for (size_t piece : {1u, 5u, 31u, 32u, 33u, 100u}) {
      llmopt_hash state;
      llmopt_hash_begin(&state, 42);
      for (size_t at = 0; at < size; at += piece)
        llmopt_hash_update(&state, bytes.data() + at, std::min(piece, size - at));
      EXPECT_EQ(llmopt_hash_finish(&state), llmopt_hash_bytes(bytes.data(), size, 42))
          << size << " in pieces of " << piece;
    }
}

TEST(Hash, HeaderLayout) {
  // The format: offsets never change.
  EXPECT_EQ(sizeof(llmopt_weights_header), 64u);
  EXPECT_EQ(offsetof(llmopt_weights_header, build_id), 16u);
  EXPECT_EQ(offsetof(llmopt_weights_header, data_offset), 32u);
  EXPECT_EQ(offsetof(llmopt_weights_header, header_hash), 56u);
  uint8_t id[16] = {1, 2, 3};
  llmopt_weights_header header;
  llmopt_weights_header_init(&header, id, 256, 1000, 77);
  EXPECT_EQ(memcmp(header.magic, "LLMOPTW1", 8), 0);
  EXPECT_EQ(header.header_hash, llmopt_hash_bytes(&header, 56, 0));
}
