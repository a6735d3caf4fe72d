// Fragments: what ldmatrix loads, multiplied by mma.sync, is the product of matrices;
// and the lanes hold what the tables of the PTX ISA say, here written out lane by lane.
#include "RunKernel.h"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class Intrin : public KernelTest {};

// ---- the tables of the PTX ISA ("Matrix fragments for mma.m16n8k16 with floating point
// type", "for mma.m16n8k32", and so on): row and column of element i of a fragment

struct Place {
  int row, column;
};
int groupOf(int lane) { return lane >> 2; }
int inGroup(int lane) { return lane % 4; }

/// .f16, .bf16: a_i of m16n8k16, i in 0..7
Place halfA(int lane, int i) {
  return {(i >= 0 && i < 2) || (i >= 4 && i < 6) ? groupOf(lane) : groupOf(lane) + 8,
          i < 4 ? inGroup(lane) * 2 + (i & 1) : inGroup(lane) * 2 + (i & 1) + 8};
}
Place halfB(int lane, int i) {
  return {i < 2 ? inGroup(lane) * 2 + (i & 1) : inGroup(lane) * 2 + (i & 1) + 8, groupOf(lane)};
}
Place accumulator(int lane, int i) { return {i < 2 ? groupOf(lane) : groupOf(lane) + 8, inGroup(lane) * 2 + (i & 1)}; }
/// .tf32: a_i of m16n8k8, i in 0..3
Place tf32A(int lane, int i) {
  return {i == 0 || i == 2 ? groupOf(lane) : groupOf(lane) + 8, i == 0 || i == 1 ? inGroup(lane) : inGroup(lane) + 4};
}
Place tf32B(int lane, int i) { return {i == 0 ? inGroup(lane) : inGroup(lane) + 4, groupOf(lane)}; }
/// .s8: a_i of m16n8k32, i in 0..15
Place byteA(int lane, int i) {
  return {(i >= 0 && i < 4) || (i >= 8 && i < 12) ? groupOf(lane) : groupOf(lane) + 8,
          i < 8 ? inGroup(lane) * 4 + (i & 3) : inGroup(lane) * 4 + (i & 3) + 16};
}
Place byteB(int lane, int i) {
  return {i < 4 ? inGroup(lane) * 4 + (i & 3) : inGroup(lane) * 4 + (i & 3) + 16, groupOf(lane)};
}

/// One warp: fragments of A and B per lane in, accumulators out.
void multiply_f16(const uint32_t *a, const uint32_t *b, float *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  float sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k16_f16(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_bf16(const uint32_t *a, const uint32_t *b, float *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  float sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k16_bf16(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_f16_k8(const uint32_t *a, const uint32_t *b, float *c) {
  const int lane = threadIdx.x;
  uint32_t af[2] = {a[lane * 2], a[lane * 2 + 1]}, bf[1] = {b[lane]};
  float sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k8_f16(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_tf32(const uint32_t *a, const uint32_t *b, float *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  float sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k8_tf32(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_s8(const uint32_t *a, const uint32_t *b, int *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  int sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k32_s8(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_e4m3(const uint32_t *a, const uint32_t *b, float *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  float sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k32_e4m3(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_s8_k16(const uint32_t *a, const uint32_t *b, int *c) {
  const int lane = threadIdx.x;
  uint32_t af[2] = {a[lane * 2], a[lane * 2 + 1]}, bf[1] = {b[lane]};
  int sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k16_s8(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_s8_m8(const uint32_t *a, const uint32_t *b, int *c) {
  const int lane = threadIdx.x;
  uint32_t af[1] = {a[lane]}, bf[1] = {b[lane]};
  int sum[2] = {c[lane * 2], c[lane * 2 + 1]};
  mma_m8n8k16_s8(sum, af, bf);
  c[lane * 2] = sum[0];
  c[lane * 2 + 1] = sum[1];
}

void multiply_f16_sm75(const uint32_t *a, const uint32_t *b, float *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  float sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k16_f16_sm75(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}
void multiply_s8_sm75(const uint32_t *a, const uint32_t *b, int *c) {
  const int lane = threadIdx.x;
  uint32_t af[4] = {a[lane * 4], a[lane * 4 + 1], a[lane * 4 + 2], a[lane * 4 + 3]};
  uint32_t bf[2] = {b[lane * 2], b[lane * 2 + 1]};
  int sum[4] = {c[lane * 4], c[lane * 4 + 1], c[lane * 4 + 2], c[lane * 4 + 3]};
  mma_m16n8k32_s8_sm75(sum, af, bf);
  for (int i = 0; i < 4; ++i)
    c[lane * 4 + i] = sum[i];
}

/// Small integers, which every type holds and whose sums are exact.
struct Case {
  std::vector<int> a, b, c; // Rows x k, k x 8, Rows x 8
  int rows, k;
  Case(int rows, int k, std::mt19937 &random) : a(rows * k), b(k * 8), c(rows * 8), rows(rows), k(k) {
    std::uniform_int_distribution<int> digit(-7, 7);
    for (auto *v : {&a, &b, &c})
      for (int &x : *v)
        x = digit(random);
  }
  int product(int row, int column) const {
    int sum = c[row * 8 + column];
    for (int i = 0; i < k; ++i)
      sum += a[row * k + i] * b[i * 8 + column];
    return sum;
  }
};

template <typename Element, typename Sum, typename PlaceA, typename PlaceB>
void check(const Case &test, void (*kernel)(const uint32_t *, const uint32_t *, Sum *), PlaceA placeA, PlaceB placeB,
           Element (*convert)(int)) {
  const int inA = test.rows * test.k / 32, inB = test.k * 8 / 32, inC = test.rows * 8 / 32;
  std::vector<Element> a(inA * 32), b(inB * 32);
  std::vector<Sum> c(inC * 32);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < inA; ++i)
      a[lane * inA + i] = convert(test.a[placeA(lane, i).row * test.k + placeA(lane, i).column]);
    for (int i = 0; i < inB; ++i)
      b[lane * inB + i] = convert(test.b[placeB(lane, i).row * 8 + placeB(lane, i).column]);
    for (int i = 0; i < inC; ++i)
      c[lane * inC + i] = Sum(test.c[accumulator(lane, i).row * 8 + accumulator(lane, i).column]);
  }
  ASSERT_EQ(run(kernel, {1}, 32, 0, (const uint32_t *)a.data(), (const uint32_t *)b.data(), c.data()), "");
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < inC; ++i) {
      Place p = accumulator(lane, i);
      EXPECT_EQ(c[lane * inC + i], Sum(test.product(p.row, p.column))) << lane << " " << i;
    }
}

f16 toHalf(int x) { return from_float<f16>(float(x)); }
bf16 toBfloat(int x) { return from_float<bf16>(float(x)); }
float toSingle(int x) { return float(x); }
int8_t toByte(int x) { return int8_t(x); }
e4m3 toFloat8(int x) { return {uint8_t(pack_e4m3(float(x), 0, 0, 0))}; }

TEST_F(Intrin, Float8) {
  // Every number comes back, and what lies between two goes to the nearer one, ties to even.
  float before = NAN;
  for (int bits = 0; bits < 0x7f; ++bits) {
    const float x = to_float(e4m3{uint8_t(bits)});
    ASSERT_EQ(pack_e4m3(x, -x, x, -x), uint32_t(bits | (bits | 0x80) << 8) * 0x10001u) << bits;
    const float middle = (before + x) / 2;
    if (bits > 0) {
      const uint32_t even = bits % 2 ? bits - 1 : bits;
      ASSERT_EQ(pack_e4m3(middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f), 0),
                even | uint32_t(bits - 1) << 8 | uint32_t(bits) << 16)
          << bits;
    }
    before = x;
  }
  ASSERT_EQ(before, 448.0f);
  ASSERT_EQ(pack_e4m3(1e9f, -INFINITY, 460.0f, -449.0f), 0xfe7efe7eu);
  ASSERT_TRUE(std::isnan(to_float(e4m3{uint8_t(pack_e4m3(NAN, 0, 0, 0))})));
}

TEST_F(Intrin, FragmentsLieAsPtxSays) {
  check<f16, float>(Case(16, 16, random), multiply_f16, halfA, halfB, toHalf);
  check<bf16, float>(Case(16, 16, random), multiply_bf16, halfA, halfB, toBfloat);
  check<float, float>(Case(16, 8, random), multiply_tf32, tf32A, tf32B, toSingle);
  check<int8_t, int>(Case(16, 32, random), multiply_s8, byteA, byteB, toByte);
  check<e4m3, float>(Case(16, 32, random), multiply_e4m3, byteA, byteB, toFloat8);
  check<f16, float>(Case(16, 16, random), multiply_f16_sm75, halfA, halfB, toHalf);
  check<int8_t, int>(Case(16, 32, random), multiply_s8_sm75, byteA, byteB, toByte);
  // m16n8k8: a_i, i in 0..3, of rows g and g + 8; m16n8k16 and m8n8k16 of bytes alike.
  check<f16, float>(
      Case(16, 8, random), multiply_f16_k8,
      [](int lane, int i) { return Place{i < 2 ? groupOf(lane) : groupOf(lane) + 8, inGroup(lane) * 2 + (i & 1)}; },
      [](int lane, int i) { return Place{inGroup(lane) * 2 + i, groupOf(lane)}; }, toHalf);
  check<int8_t, int>(
      Case(16, 16, random), multiply_s8_k16,
      [](int lane, int i) { return Place{i < 4 ? groupOf(lane) : groupOf(lane) + 8, inGroup(lane) * 4 + (i & 3)}; },
      [](int lane, int i) { return Place{inGroup(lane) * 4 + i, groupOf(lane)}; }, toByte);
  check<int8_t, int>(
      Case(8, 16, random), multiply_s8_m8, [](int lane, int i) { return Place{groupOf(lane), inGroup(lane) * 4 + i}; },
      [](int lane, int i) { return Place{inGroup(lane) * 4 + i, groupOf(lane)}; }, toByte);
}

/// Loads four matrices of a 16 x 16 tile, as A of m16n8k16 is loaded.
template <bool Transposed> void load_tile(const uint16_t *x, uint32_t *out) {
  LLMOPT_SHARED(uint16_t, tile, 256);
  for (int i = threadIdx.x; i < 256; i += 32)
    tile[i] = x[i];
  __syncwarp();
  const int lane = threadIdx.x;
  uint32_t words[4];
  ldmatrix<4, Transposed>(words, smem_address(tile + lane % 16 * 16 + lane / 16 * 8));
  for (int i = 0; i < 4; ++i)
    out[lane * 4 + i] = words[i];
}

TEST_F(Intrin, LoadsMatrices) {
  Buffer<uint16_t> x(256);
  for (int i = 0; i < 256; ++i)
    x[i] = uint16_t(i);
  Buffer<uint32_t> out(128);
  ASSERT_EQ(run(load_tile<false>, {1}, 32, 0, x.data(), out.data()), "");
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 8; ++i) {
      Place p = halfA(lane, i);
      EXPECT_EQ(out[lane * 4 + i / 2] >> (i % 2 * 16) & 0xffff, uint32_t(p.row * 16 + p.column));
    }
  ASSERT_EQ(run(load_tile<true>, {1}, 32, 0, x.data(), out.data()), "");
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 8; ++i) { // matrix i / 2 of rows (i / 2 % 2) * 8, columns (i / 4) * 8, transposed
      int row = i / 2 % 2 * 8 + inGroup(lane) * 2 + i % 2, column = i / 4 * 8 + groupOf(lane);
      EXPECT_EQ(out[lane * 4 + i / 2] >> (i % 2 * 16) & 0xffff, uint32_t(row * 16 + column));
    }
}

void load_misaligned(uint32_t *out) {
  LLMOPT_SHARED(uint16_t, tile, 512);
  for (int i = threadIdx.x; i < 512; i += 32)
    tile[i] = 0;
  __syncwarp();
  uint32_t words[1];
  ldmatrix<1>(words, smem_address(tile + threadIdx.x % 8 * 12));
  out[threadIdx.x] = words[0];
}

TEST_F(Intrin, RowsOfMatricesAreAligned) {
  Buffer<uint32_t> out(32);
  std::string error = run(load_misaligned, {1}, 32, 0, out.data());
  EXPECT_NE(error.find("misaligned ldmatrix"), std::string::npos) << error;
}

TEST_F(Intrin, RoundsHalves) {
  // Every half survives; floats between two halves go to the nearer, ties to even.
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float value = to_float(f16{uint16_t(bits)});
    if (value != value)
      continue;
    EXPECT_EQ(from_float<f16>(value).bits, bits);
    if ((bits & 0x7fff) < 0x7bff) {
      float next = to_float(f16{uint16_t(bits + 1)}), middle = value + (next - value) / 2;
      EXPECT_EQ(from_float<f16>(middle).bits, bits & 1 ? bits + 1 : bits);
    }
  }
  EXPECT_EQ(from_float<f16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(from_float<bf16>(1.00390625f).bits, 0x3f80);
  EXPECT_EQ(from_float<bf16>(1.01171875f).bits, 0x3f82);
  EXPECT_TRUE(std::isnan(to_float(from_float<f16>(NAN))));
  EXPECT_TRUE(std::isnan(to_float(from_float<bf16>(NAN))));
}

} // namespace
