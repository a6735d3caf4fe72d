// XXH64 (Yann Collet's public specification, "xxHash fast digest algorithm",
// version 0.1.1), little-endian hosts.
#include "llmopt/weights.h"

#include <cstring>

namespace {
constexpr uint64_t prime1 = 0x9E3779B185EBCA87u;
constexpr uint64_t prime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr uint64_t prime3 = 0x165667B19E3779F9u;
constexpr uint64_t prime4 = 0x85EBCA77C2B2AE63u;
constexpr uint64_t prime5 = 0x27D4EB2F165667C5u;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

inline uint64_t rotl(uint64_t x, int r) { return (x << r) | (x >> (64 - r)); }

template <typename T> inline T read(const uint8_t *p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

inline uint64_t round(uint64_t lane, uint64_t input) { return rotl(lane + input * prime2, 31) * prime1; }

inline void consumeStripe(uint64_t *lanes, const uint8_t *p) {
  for (int i = 0; i < 4; ++i)
    lanes[i] = round(lanes[i], read<uint64_t>(p + 8 * i));
}
} // namespace

extern "C" void llmopt_hash_begin(llmopt_hash *hash, uint64_t seed) {
  std::memset(hash, 0, sizeof(*hash));
  hash->seed = seed;
  hash->lanes[0] = seed + prime1 + prime2;
  hash->lanes[1] = seed + prime2;
  hash->lanes[2] = seed;
  hash->lanes[3] = seed - prime1;
}

extern "C" void llmopt_hash_update(llmopt_hash *hash, const void *data, size_t size) {
  const uint8_t *p = static_cast<const uint8_t *>(data);
  size_t held = hash->length % 32;
  hash->length += size;
  if (held) {
    size_t take = size < 32 - held ? size : 32 - held;
    std::memcpy(hash->pending + held, p, take);
    p += take;
    size -= take;
    if (held + take < 32)
      return;
    consumeStripe(hash->lanes, hash->pending);
  }
  uint64_t lanes[4];
  std::memcpy(lanes, hash->lanes, sizeof(lanes));
  for (; size >= 32; p += 32, size -= 32)
    consumeStripe(lanes, p);
  std::memcpy(hash->lanes, lanes, sizeof(lanes));
  if (size)
    std::memcpy(hash->pending, p, size);
}

extern "C" uint64_t llmopt_hash_finish(const llmopt_hash *hash) {
  const uint64_t *lanes = hash->lanes;
  uint64_t h;
  if (hash->length >= 32) {
    h = rotl(lanes[0], 1) + rotl(lanes[1], 7) + rotl(lanes[2], 12) + rotl(lanes[3], 18);
    for (int i = 0; i < 4; ++i)
      h = (h ^ round(0, lanes[i])) * prime1 + prime4;
  } else {
    h = hash->seed + prime5;
  }
  h += hash->length;

  const uint8_t *p = hash->pending;
  size_t rest = hash->length % 32;
  for (; rest >= 8; p += 8, rest -= 8)
    h = rotl(h ^ round(0, read<uint64_t>(p)), 27) * prime1 + prime4;
  if (rest >= 4) {
    h = rotl(h ^ (read<uint32_t>(p) * prime1), 23) * prime2 + prime3;
    p += 4;
    rest -= 4;
  }
  for (; rest > 0; ++p, --rest)
    h = rotl(h ^ (*p * prime5), 11) * prime1;

  h = (h ^ (h >> 33)) * prime2;
  h = (h ^ (h >> 29)) * prime3;
  return h ^ (h >> 32);
}

extern "C" uint64_t llmopt_hash_bytes(const void *data, size_t size, uint64_t seed) {
  llmopt_hash hash;
  llmopt_hash_begin(&hash, seed);
  llmopt_hash_update(&hash, data, size);
  return llmopt_hash_finish(&hash);
}

extern "C" void llmopt_weights_header_init(llmopt_weights_header *header, const uint8_t build_id[LLMOPT_BUILD_ID_BYTES],
                                           uint64_t data_offset, uint64_t data_size, uint64_t data_hash) {
  std::memset(header, 0, sizeof(*header));
  std::memcpy(header->magic, LLMOPT_WEIGHTS_MAGIC, sizeof(header->magic));
  header->version = 1;
  header->header_size = sizeof(*header);
  std::memcpy(header->build_id, build_id, LLMOPT_BUILD_ID_BYTES);
  header->data_offset = data_offset;
  header->data_size = data_size;
  header->data_hash = data_hash;
  header->header_hash = llmopt_hash_bytes(header, offsetof(llmopt_weights_header, header_hash), 0);
}
