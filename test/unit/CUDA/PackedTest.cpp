// Sequences without padding: packing, products and norms of as many rows as the device
// says, unpacking.
#include "RunKernel.h"

#include "llmopt/cuda/mma_gemm.cuh"
#include "llmopt/cuda/norm.cuh"
#include "llmopt/cuda/packed.cuh"

#include <algorithm>

using namespace llmopt;
using namespace llmopt::testing;

namespace {

using Tile = GemmTile<32, 32, 64, 16, 16, 3>;
using Form = RowForm<f16, 32, 1, true>;

void starts_kernel(const int64_t *lengths, int32_t *starts, int64_t batch, int64_t longest) {
  sequence_starts(lengths, starts, batch, longest);
}
void pack_kernel(const f16 *padded, const int32_t *starts, f16 *packed, int64_t longest, int64_t width) {
  pack_rows(padded, starts, packed, longest, width);
}
void unpack_kernel(const f16 *packed, const int32_t *starts, f16 *padded, int64_t longest, int64_t width) {
  unpack_rows(packed, starts, padded, longest, width);
}
void gemm_kernel(const f16 *x, const f16 *w, f16 *y, const int32_t *starts, int64_t batch) {
  mma_gemm<MmaF16, Tile, 16>(x, w, {starts[batch], 32, 32, 32, 0},
                             GemmEpilogue<f16>{y, nullptr, nullptr, nullptr, nullptr, 0, 1, 0});
}
void norm_kernel(const f16 *x, f16 *y, const int32_t *starts, int64_t batch) {
  norm_rows_typed<Form, true, false>(NormArguments<f16>{
      x, nullptr, nullptr, nullptr, nullptr, y, nullptr, nullptr, nullptr, {}, starts[batch], 32, 1e-5f});
}

class Packed : public KernelTest {};

TEST_F(Packed, Starts) {
  for (int64_t batch : {1, 5, 128, 300}) {
    Buffer<int64_t> lengths(batch);
    Buffer<int32_t> starts(batch + 1);
    for (int64_t &length : lengths)
      length = integer(-2, 12);
    ASSERT_EQ(run(starts_kernel, {1}, kPackThreads, 0, lengths.data(), starts.data(), batch, 9), "");
    int32_t sum = 0;
    for (int64_t b = 0; b <= batch; ++b) {
      ASSERT_EQ(starts[b], sum) << b;
      if (b < batch)
        sum += int32_t(std::clamp<int64_t>(lengths[b], 0, 9));
    }
  }
}

TEST_F(Packed, PaddingIsNeverTouched) {
  const int64_t batch = 4, longest = 20, width = 32;
  Buffer<int32_t> starts(std::vector<int32_t>{0, 7, 7, 27, 33});
  Buffer<f16> padded(numbers<f16>(batch * longest * width)), w(numbers<f16>(32 * 32));
  Buffer<f16> packed(33 * width), product(33 * width), normed(33 * width),
      out(batch * longest * width); // no room for more
  for (int64_t row = 0; row < batch * longest; ++row)
    if (row % longest >= starts[row / longest + 1] - starts[row / longest])
      std::fill_n(padded.begin() + row * width, width, from_float<f16>(NAN));
  unsigned rows = batch * longest;
  ASSERT_EQ(run(pack_kernel, {rows}, kPackThreads, 0, padded.data(), starts.data(), packed.data(), longest, width), "");
  ASSERT_EQ(run(gemm_kernel, {(rows + 31) / 32}, Tile::kThreads, Tile::kSharedBytes, packed.data(), w.data(),
                product.data(), starts.data(), batch),
            "");
  ASSERT_EQ(run(norm_kernel, {(rows + 3) / 4}, Form::kBlock, 0, product.data(), normed.data(), starts.data(), batch),
            "");
  ASSERT_EQ(run(unpack_kernel, {rows}, kPackThreads, 0, normed.data(), starts.data(), out.data(), longest, width), "");
  std::vector<double> expected(out.size(), 0.0);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < starts[b + 1] - starts[b]; ++s) {
      double y[32], mean = 0, variance = 0;
      for (int j = 0; j < 32; ++j) {
        y[j] = 0;
        for (int i = 0; i < 32; ++i)
          y[j] += toDouble(padded[(b * longest + s) * width + i]) * toDouble(w[j * 32 + i]);
        mean += y[j] / 32;
      }
      for (double v : y)
        variance += (v - mean) * (v - mean) / 32;
      for (int j = 0; j < 32; ++j)
        expected[(b * longest + s) * width + j] = (y[j] - mean) / std::sqrt(variance + 1e-5);
    }
  EXPECT_LE(relativeError(out, expected), 5e-3);
  Buffer<int32_t> none(batch + 1); // no token at all
  ASSERT_EQ(run(gemm_kernel, {2}, Tile::kThreads, Tile::kSharedBytes, packed.data(), w.data(), product.data(),
                none.data(), batch),
            "");
  ASSERT_EQ(run(norm_kernel, {2}, Form::kBlock, 0, product.data(), normed.data(), none.data(), batch), "");
}

} // namespace
