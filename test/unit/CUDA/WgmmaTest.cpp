// The model of Hopper: products of warpgroups fed by TMA against sums in double, and the
// mistakes that it is there to find.
#include "RunKernel.h"

#include "llmopt/cuda/wgmma_gemm.cuh"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

template <typename Wgmma, typename Tile, typename Epilogue>
void wgmma_kernel(const TensorMap *x, const TensorMap *w, GemmShape shape, int64_t blocks, Epilogue epilogue) {
  wgmma_gemm<Wgmma, Tile>(x, w, shape, blocks, epilogue);
}

double number(f16 x) { return to_float(x); }
double number(bf16 x) { return to_float(x); }
double number(int8_t x) { return x; }
double number(e4m3 x) { return llmopt_emulation::Float8Element{x.bits}.number(); }

class Wgmma : public KernelTest {
protected:
  template <typename T> std::vector<T> draw(size_t count) {
    if constexpr (std::is_same_v<T, e4m3>) {
      std::vector<T> result(count);
      for (T &x : result)
        x.bits = uint8_t(integer(0, 0x3f) | integer(0, 1) << 7); // below 2
      return result;
    } else {
      return numbers<T>(count, sizeof(T) == 1 ? -127 : -1, sizeof(T) == 1 ? 127 : 1);
    }
  }

  template <typename Elements, typename Out, typename Tile = WgmmaTile<3>>
  void check(int64_t m, int64_t n, int64_t k, int64_t blocks) {
    using T = typename Elements::Input;
    int64_t pad = 16 / sizeof(T), width = (k + pad - 1) / pad * pad;
    std::vector<T> xs = draw<T>(m * width), ws = draw<T>(n * width);
    for (int64_t j = 0; j < n; ++j)
      std::fill(ws.begin() + j * width + k, ws.begin() + (j + 1) * width, T{});
    Buffer<T> x(xs), w(ws);
    Buffer<Out> y(m * n);
    TensorMap xMap = {reinterpret_cast<char *>(x.data()), m,         int64_t(k * sizeof(T)),
                      int64_t(width * sizeof(T)),         sizeof(T), 128};
    TensorMap wMap = {reinterpret_cast<char *>(w.data()), n,         int64_t(width * sizeof(T)),
                      int64_t(width * sizeof(T)),         sizeof(T), 128};
    using Epilogue = GemmEpilogue<Out>;
    ASSERT_EQ((run(wgmma_kernel<Elements, Tile, Epilogue>, {unsigned(blocks)}, Tile::kThreads, Tile::kSharedBytes,
                   &xMap, &wMap, GemmShape{m, n, k, width, 0}, blocks,
                   Epilogue{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0})),
              "");
    const double allowed = std::is_same_v<Out, int32_t> ? 0 : tolerance<Out>();
    std::vector<double> expected(m * n);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t l = 0; l < k; ++l)
          expected[i * n + j] += number(x[i * width + l]) * number(w[j * width + l]);
    EXPECT_LE(relativeError(y, expected), allowed) << m << "x" << n << "x" << k;
  }
};

TEST_F(Wgmma, Types) {
  check<WgmmaF16, f16>(128, 128, 256, 1);
  check<WgmmaBf16, float>(128, 128, 128, 1);
  check<WgmmaE4m3, float>(128, 128, 256, 1);
  check<WgmmaS8, int32_t>(128, 128, 512, 1);
}

TEST_F(Wgmma, TailsAndTilesThatFollowEachOther) {
  for (const char *seed : {"0", "1"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    check<WgmmaF16, f16>(140, 264, 200, 2);
    check<WgmmaF16, float>(5, 33, 40, 1);
    check<WgmmaS8, int32_t>(130, 40, 400, 1);
  }
}

TEST_F(Wgmma, Float8) {
  EXPECT_EQ(number(e4m3{0x38}), 1.0);
  EXPECT_EQ(number(e4m3{0x7e}), 448.0);
  EXPECT_EQ(number(e4m3{0x01}), std::ldexp(1.0, -9));
  EXPECT_EQ(number(e4m3{0xc4}), -3.0);
  EXPECT_TRUE(std::isnan(number(e4m3{0x7f})));
}

// ---- planted mistakes: one slice, multiplied by one warpgroup

enum class Mistake { none, no_wait_for_copy, no_wait_for_product, wrong_swizzle, early_reuse };

template <Mistake Planted> void one_slice(const TensorMap *x, float *y) {
  LLMOPT_DYNAMIC_SHARED(memory);
  const uint32_t a = smem_address(memory + 0), full = smem_address(memory + 32768);
  if (threadIdx.x == 0)
    mbarrier_init(full, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(full, 16384);
    tma_load(a, x, full, 0, 0);
  }
  if (Planted != Mistake::no_wait_for_copy)
    mbarrier_wait(full, 0);
  float sums[16][4] = {};
  uint64_t descriptor = wgmma_descriptor(a);
  if (Planted == Mistake::wrong_swizzle)
    descriptor ^= 3ull << 62;
  wgmma_fence();
  WgmmaF16::multiply(sums, descriptor, descriptor, true);
  wgmma_commit();
  if (Planted == Mistake::early_reuse && threadIdx.x == 0) {
    mbarrier_arrive_expect(full, 16384);
    tma_load(a, x, full, 0, 0);
  }
  if (Planted != Mistake::no_wait_for_product)
    wgmma_wait<0>();
  y[threadIdx.x] = sums[0][0];
}

TEST_F(Wgmma, FindsMistakes) {
  Buffer<f16> x(numbers<f16>(128 * 64));
  Buffer<float> y(128);
  TensorMap map = {reinterpret_cast<char *>(x.data()), 128, 128, 128, 2, 128};
  auto launch = [&](auto kernel) { return run(kernel, {1}, 128, 32768 + 16, &map, y.data()); };
  ASSERT_EQ(launch(one_slice<Mistake::none>), "");
  double expected = 0;
  for (int i = 0; i < 16; ++i)
    expected += number(x[i]) * number(x[i]);
  EXPECT_NEAR(y[0], expected, 1e-3);
  auto reports = [](const std::string &error, const char *part) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  reports(launch(one_slice<Mistake::no_wait_for_copy>), "a wait is missing");
  reports(launch(one_slice<Mistake::early_reuse>), "a wait is missing");
  reports(launch(one_slice<Mistake::wrong_swizzle>), "expected a descriptor with the 128-byte swizzle");
  ASSERT_EQ(launch(one_slice<Mistake::no_wait_for_product>), "");
  EXPECT_EQ(y[0], 0.0f); // old data: the product is not there yet
}

} // namespace
