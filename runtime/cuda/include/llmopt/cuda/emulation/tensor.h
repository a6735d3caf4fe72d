// ldmatrix and mma.sync on the lanes of a warp: fragments lie as "Matrix fragments
// for mma" of the PTX ISA says. With g = lane / 4 and t = lane % 4, a word of two
// halves or four bytes holds neighbours along K:
//
//   A, 16 rows: words {row g, row g + 8} for k = t * e.., then the same for the other
//               half of K; e is elements per word
//   B, 8 columns: words of column g for k = t * e.., then for the other half of K
//   C: c[0], c[1] are row g, columns 2 t and 2 t + 1; c[2], c[3] the same of row g + 8
//
// tf32 has one element per word. The sums of floats are f32, products exact.
#pragma once

#include "llmopt/cuda/emulation/warp.h"

namespace llmopt_emulation {

inline float half_to_float(uint16_t h) {
  // The exponent of a half is 112 less; scaling also makes subnormal halves normal.
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, rest = static_cast<uint32_t>(h & 0x7fff) << 13;
  uint32_t bits = rest;
  float value;
  if (rest >= 0x0f800000u) { // infinities and NaNs
    bits = rest | 0x7f800000u | sign;
    memcpy(&value, &bits, 4);
    return value;
  }
  memcpy(&value, &bits, 4);
  value *= 5.192296858534828e33f; // 2^112
  memcpy(&bits, &value, 4);
  bits |= sign;
  memcpy(&value, &bits, 4);
  return value;
}

inline uint16_t float_to_half(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000)
    return static_cast<uint16_t>(sign | 0x7e00);
  if (size >= 0x477ff000)
    return static_cast<uint16_t>(sign | 0x7c00);
  if (size < 0x38800000) { // below 2^-14: a multiple of 2^-24
    float scaled;
    memcpy(&scaled, &size, 4);
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(__builtin_rintf(scaled * 16777216.0f)));
  }
  return static_cast<uint16_t>(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
}

inline float bfloat_to_float(uint16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline uint16_t float_to_bfloat(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (x != x)
    return static_cast<uint16_t>((bits | 0x400000) >> 16);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// Rounds to the 10 bits of tf32, ties away from zero, as cvt.rna.tf32.f32 does.
inline float float_to_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000) != 0x7f800000)
    bits = (bits + 0x1000) & ~0x1fffu;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/// Four bits of exponent (bias 7), three of mantissa, no infinities.
inline float float8_to_float(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f)
    return __builtin_nanf("");
  const float size = exponent ? __builtin_ldexpf(static_cast<float>(8 + mantissa), exponent - 10)
                              : __builtin_ldexpf(static_cast<float>(mantissa), -9);
  return bits & 0x80 ? -size : size;
}

/// Rounds to that, ties to even, what is too large to 448, as cvt.rn.satfinite.e4m3x2.f32 does.
inline uint8_t float_to_float8(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 24 & 0x80, size = bits & 0x7fffffff;
  if (size > 0x7f800000)
    return 0x7f;
  if (size < 0x3c800000) { // below 2^-6: a multiple of 2^-9
    float scaled;
    memcpy(&scaled, &size, 4);
    return static_cast<uint8_t>(sign | static_cast<uint32_t>(__builtin_rintf(scaled * 512.0f)));
  }
  const uint32_t rounded = (size - 0x3c000000 + 0x7ffff + (size >> 20 & 1)) >> 20;
  return static_cast<uint8_t>(sign | (rounded > 0x7e ? 0x7e : rounded));
}

// ---- element types: how one word of a fragment becomes numbers

struct HalfWord {
  static constexpr int elements = 2;
  using Number = float;
  static float get(uint32_t word, int i) { return half_to_float(static_cast<uint16_t>(word >> (16 * i))); }
};
struct BfloatWord {
  static constexpr int elements = 2;
  using Number = float;
  static float get(uint32_t word, int i) { return bfloat_to_float(static_cast<uint16_t>(word >> (16 * i))); }
};
struct Tf32Word { // the hardware ignores the low 13 bits
  static constexpr int elements = 1;
  using Number = float;
  static float get(uint32_t word, int) {
    word &= ~0x1fffu;
    float value;
    memcpy(&value, &word, 4);
    return value;
  }
};
struct ByteWord {
  static constexpr int elements = 4;
  using Number = int32_t;
  static int32_t get(uint32_t word, int i) { return static_cast<int8_t>(word >> (8 * i)); }
};

struct Float8Word {
  static constexpr int elements = 4;
  using Number = float;
  static float get(uint32_t word, int i) { return float8_to_float(static_cast<uint8_t>(word >> (8 * i))); }
};

template <typename Word, int AWords, int BWords> struct Fragments {
  const uint32_t *a, *b;
  typename Word::Number *c;
};

/// C += A B for A of `Rows` (8 or 16) rows; K is Word::elements * 4 * BWords.
template <typename Word, int Rows, int BWords>
inline void multiply(const char *name, typename Word::Number *c, const uint32_t *a, const uint32_t *b) {
  using Number = typename Word::Number;
  static constexpr int halves = Rows / 8, e = Word::elements, k_size = e * 4 * BWords;
  using Slot = Fragments<Word, halves * BWords, BWords>;
  Slot slot{a, b, c};
  warp_meeting(0xffffffffu, name, slot, [](Slot *const *lanes, uint32_t) {
    Number am[Rows][k_size], bm[k_size][8];
    for (int lane = 0; lane < kWarp; ++lane) {
      const int g = lane / 4, t = lane % 4;
      for (int w = 0; w < BWords; ++w)
        for (int i = 0; i < e; ++i) {
          const int k = w * 4 * e + t * e + i;
          for (int h = 0; h < halves; ++h)
            am[g + 8 * h][k] = Word::get(lanes[lane]->a[w * halves + h], i);
          bm[k][g] = Word::get(lanes[lane]->b[w], i);
        }
    }
    for (int row = 0; row < Rows; ++row) {
      Number sum[8] = {};
      for (int k = 0; k < k_size; ++k)
        for (int column = 0; column < 8; ++column)
          sum[column] += am[row][k] * bm[k][column];
      for (int column = 0; column < 8; ++column)
        lanes[row % 8 * 4 + column / 2]->c[row / 8 * 2 + column % 2] += sum[column];
    }
  });
}

struct MatrixRow {
  uint32_t address;
  uint32_t *words;
};

/// ldmatrix of `Count` 8 x 8 matrices of 16-bit elements: lane 8 m + r brings the address
/// of row r of matrix m; lane l gets elements 2 (l % 4) and the next of row l / 4 of each,
/// or with `Transposed` of column l / 4.
template <int Count, bool Transposed> inline void load_matrices(const char *name, uint32_t *words, uint32_t address) {
  MatrixRow slot{address, words};
  if (current_lane() < 8 * Count) {
    check_shared_bounds(address, 16, 16, "ldmatrix");
    note_read(address, 16);
  }
  warp_meeting(0xffffffffu, name, slot, [](MatrixRow *const *lanes, uint32_t) {
    const unsigned char *bytes = memory().bytes;
    for (int m = 0; m < Count; ++m)
      for (int lane = 0; lane < kWarp; ++lane) {
        const int row = lane / 4, column = lane % 4 * 2;
        uint16_t pair[2];
        for (int i = 0; i < 2; ++i) {
          const int r = Transposed ? column + i : row, c = Transposed ? row : column + i;
          memcpy(&pair[i], bytes + lanes[8 * m + r]->address + 2 * c, 2);
        }
        lanes[lane]->words[m] = static_cast<uint32_t>(pair[1]) << 16 | pair[0];
      }
  });
}

} // namespace llmopt_emulation
