// Attention against the softmax written out in double: masks, key lengths, sequences
// without padding, triangles, shared key heads, splits of the keys, head sizes and types.
#include "RunKernel.h"

#include "llmopt/cuda/flash_attention.cuh"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

template <typename Form, typename Out>
void attention_kernel(const typename Form::T *q, const typename Form::T *k, const typename Form::T *v, Out *y,
                      FlashArguments a) {
  flash_attention<Form>(q, k, v, y, a);
}

struct Problem {
  int64_t batch, queries, keys, heads, keyHeads;
  int64_t rows = 0; // of the key cache per sequence; 0: as many as keys
  int splits = 1;
};

class FlashAttention : public KernelTest {
protected:
  std::vector<int64_t> lengths;
  std::vector<float> additive;  // [batch, heads, queries, keys]
  std::vector<uint8_t> boolean; // [batch, 1, 1, keys]

  /// One sequence of Q [queries, heads, D], K and V [keys, keyHeads, ..]; strides of a row.
  template <typename Form>
  void reference(const typename Form::T *q, const typename Form::T *k, const typename Form::T *v, int64_t queryRow,
                 int64_t keyRow, int64_t valueRow, const Problem &p, int64_t queries, int64_t keys, int64_t batch,
                 float scale, double *y) {
    constexpr int D = Form::kHeadDim, DV = Form::kValueDim;
    for (int64_t i = 0; i < queries; ++i)
      for (int64_t h = 0; h < p.heads; ++h) {
        int64_t kh = h / (p.heads / p.keyHeads);
        std::vector<double> scores(keys);
        double largest = -INFINITY, total = 0;
        for (int64_t j = 0; j < keys; ++j) {
          double sum = 0;
          for (int d = 0; d < D; ++d)
            sum += toDouble(q[i * queryRow + h * D + d]) * toDouble(k[j * keyRow + kh * D + d]);
          sum *= scale;
          if (Form::kMask == MaskKind::additive)
            sum += additive[((batch * p.heads + h) * queries + i) * keys + j];
          if ((Form::kMask == MaskKind::boolean && !boolean[batch * keys + j]) ||
              (Form::kMask == MaskKind::key_lengths && j >= lengths[batch]) ||
              (Form::kCausal && j > i + keys - queries))
            sum = -INFINITY;
          scores[j] = sum;
          largest = std::max(largest, sum);
        }
        for (double &s : scores)
          total += s = largest == -INFINITY ? 0 : std::exp(s - largest);
        for (int d = 0; d < DV; ++d) {
          double sum = 0;
          for (int64_t j = 0; j < keys; ++j)
            if (scores[j] != 0)
              sum += scores[j] * toDouble(v[j * valueRow + kh * DV + d]);
          y[(i * p.heads + h) * DV + d] =
              largest == -INFINITY ? (Form::kMasked == FullyMasked::zero ? 0 : NAN) : sum / total;
        }
      }
  }

  /// Peaked scores: differences of several units between keys.
  template <typename Form> void check(Problem p, const char *what) {
    using T = typename Form::T;
    constexpr int D = Form::kHeadDim, DV = Form::kValueDim;
    int64_t rows = p.rows ? p.rows : p.keys, keyRow = p.keyHeads * D, valueRow = p.keyHeads * DV,
            queryRow = p.heads * D;
    std::vector<T> qs = numbers<T>(p.batch * p.queries * queryRow, -3, 3), ks = numbers<T>(p.batch * rows * keyRow),
                   vs = numbers<T>(p.batch * rows * valueRow);
    if (Form::kMask == MaskKind::key_lengths) // what lies behind a length must not be read
      for (int64_t b = 0; b < p.batch; ++b)
        for (int64_t j = lengths[b]; j < rows; ++j) {
          std::fill_n(ks.begin() + (b * rows + j) * keyRow, keyRow, from_float<T>(NAN));
          std::fill_n(vs.begin() + (b * rows + j) * valueRow, valueRow, from_float<T>(NAN));
        }
    Buffer<T> q(qs), k(ks), v(vs), y(p.batch * p.queries * p.heads * DV);
    Buffer<int64_t> lengthBuffer(lengths);
    Buffer<float> additiveBuffer(additive);
    Buffer<uint8_t> booleanBuffer(boolean);
    AttentionShape shape = {
        p.queries, p.keys, p.heads, p.heads / p.keyHeads, queryRow, keyRow, valueRow, rows, rows, D, DV, 0, 0, 0, 0};
    const void *mask = nullptr;
    if (Form::kMask == MaskKind::additive) {
      mask = additiveBuffer.data();
      shape.mask_key = 1, shape.mask_query = p.keys, shape.mask_head = p.queries * p.keys;
      shape.mask_batch = p.heads * p.queries * p.keys;
    } else if (Form::kMask == MaskKind::boolean) {
      mask = booleanBuffer.data();
      shape.mask_key = 1, shape.mask_batch = p.keys;
    } else if (Form::kMask == MaskKind::key_lengths) {
      mask = lengthBuffer.data();
    }
    bool decode = Form::kKind == FlashKind::decode;
    int64_t group = decode ? p.heads / p.keyHeads : 1;
    int64_t units = p.batch * p.heads / group * ((p.queries * group + Form::kRows - 1) / Form::kRows);
    Buffer<float> partials(units * p.splits * Form::kRows * (Form::kDimV + 2));
    Buffer<uint32_t> counters(units);
    float scale = 1.0f / std::sqrt(float(D));
    FlashArguments a = {shape, mask, nullptr, nullptr, scale, 0, {p.splits, partials.data(), counters.data()}};
    ASSERT_EQ((run(attention_kernel<Form, T>, {unsigned(units * (decode ? p.splits : 1))}, Form::kThreads,
                   Form::kSharedBytes, q.data(), k.data(), v.data(), y.data(), a)),
              "")
        << what;
    for (uint32_t c : counters)
      EXPECT_EQ(c, 0u);
    std::vector<double> expected(y.size());
    for (int64_t b = 0; b < p.batch; ++b)
      reference<Form>(q.data() + b * p.queries * queryRow, k.data() + b * rows * keyRow, v.data() + b * rows * valueRow,
                      queryRow, keyRow, valueRow, p, p.queries, p.keys, b, scale,
                      expected.data() + b * p.queries * p.heads * DV);
    EXPECT_LE(relativeError(y, expected), tolerance<T>()) << what;
  }

  void drawMasks(const Problem &p) {
    lengths.resize(p.batch);
    for (int64_t &length : lengths)
      length = integer(1, int(p.keys));
    lengths[0] = p.keys;
    additive = numbers<float>(p.batch * p.heads * p.queries * p.keys, -2, 2);
    for (float &x : additive)
      x = x < -1 ? -INFINITY : x < -0.8f ? -10000.0f : x;
    boolean.resize(p.batch * p.keys);
    for (uint8_t &x : boolean)
      x = uint8_t(integer(0, 1));
  }
};

template <typename Mma, int D, MaskKind Mask, bool Causal = false, FullyMasked Masked = FullyMasked::nan, int Rows = 64,
          FlashKind Kind = FlashKind::batched, int DV = D, int Align = 16>
using Form = FlashForm<Mma, D, DV, Rows, Mask, Causal, Masked, Kind, Align>;

TEST_F(FlashAttention, Masks) {
  Problem p{2, 70, 90, 2, 2};
  drawMasks(p);
  check<Form<MmaF16, 64, MaskKind::none>>(p, "none");
  check<Form<MmaF16, 64, MaskKind::key_lengths>>(p, "key lengths");
  check<Form<MmaF16, 64, MaskKind::additive>>(p, "additive");
  check<Form<MmaF16, 64, MaskKind::boolean>>(p, "boolean");
  check<Form<MmaF16, 64, MaskKind::none, true>>(p, "causal");
  check<Form<MmaF16, 64, MaskKind::additive, true>>(p, "causal, additive");
}

TEST_F(FlashAttention, TypesAndHeadSizes) {
  Problem p{1, 20, 70, 2, 1};
  drawMasks(p);
  check<Form<MmaF16, 32, MaskKind::none>>(p, "f16 32");
  check<Form<MmaF16, 128, MaskKind::none>>(p, "f16 128");
  check<Form<MmaF16, 80, MaskKind::none, true>>(p, "f16 80");
  check<Form<MmaF16, 40, MaskKind::none>>(p, "f16 40");
  check<Form<MmaF16, 33, MaskKind::none, false, FullyMasked::nan, 64, FlashKind::batched, 33, 2>>(p, "f16 33");
  check<Form<MmaF16, 64, MaskKind::none, false, FullyMasked::nan, 64, FlashKind::batched, 32>>(p,
                                                                                               "f16 64, values of 32");
  check<Form<MmaBf16, 64, MaskKind::boolean>>(p, "bf16 64");
  check<Form<MmaF32, 64, MaskKind::additive>>(p, "f32 64");
  check<Form<MmaF32, 32, MaskKind::none, true>>(p, "f32 32");
  check<Form<MmaF32, 20, MaskKind::none>>(p, "f32 20");
}

TEST_F(FlashAttention, SharedKeyHeadsAndCaches) {
  Problem p{2, 17, 40, 4, 2, 100}; // 40 of 100 rows of the cache are filled
  drawMasks(p);
  check<Form<MmaF16, 32, MaskKind::none, true>>(p, "causal in a cache");
  lengths = {40, 3};
  check<Form<MmaF16, 32, MaskKind::key_lengths>>(p, "lengths in a cache");
}

TEST_F(FlashAttention, FullyMaskedRows) {
  Problem p{2, 5, 9, 1, 1};
  drawMasks(p);
  lengths = {0, 9};
  boolean.assign(18, 0);
  std::fill(additive.begin(), additive.begin() + 20, -INFINITY);
  check<Form<MmaF16, 32, MaskKind::key_lengths, false, FullyMasked::zero>>(p, "zero");
  check<Form<MmaF16, 32, MaskKind::key_lengths, false, FullyMasked::nan>>(p, "nan");
  check<Form<MmaF16, 32, MaskKind::boolean, false, FullyMasked::zero>>(p, "boolean, zero");
  check<Form<MmaF16, 32, MaskKind::additive, false, FullyMasked::nan>>(p, "additive, nan");
  Problem longer{1, 9, 5, 1, 1}; // queries before the first key
  drawMasks(longer);
  check<Form<MmaF16, 32, MaskKind::none, true, FullyMasked::zero>>(longer, "causal, zero");
}

TEST_F(FlashAttention, DecodesInSplits) {
  for (const char *seed : {"0", "1"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    Problem p{2, 1, 300, 8, 2, 320, 3};
    drawMasks(p);
    using Decode = Form<MmaF16, 64, MaskKind::none, true, FullyMasked::nan, 16, FlashKind::decode>;
    check<Decode>(p, "one token");
    lengths = {300, 40}; // one split has no keys at all
    check<Form<MmaF16, 64, MaskKind::key_lengths, false, FullyMasked::nan, 16, FlashKind::decode>>(p, "lengths");
    Problem several{1, 3, 130, 8, 1, 130, 2}; // 24 rows: two blocks of them
    drawMasks(several);
    check<Decode>(several, "three tokens");
    check<Form<MmaBf16, 128, MaskKind::none, true, FullyMasked::nan, 16, FlashKind::decode>>(several, "bf16");
    Problem empty{1, 1, 20, 2, 2, 20, 2};
    lengths = {0};
    check<Form<MmaF16, 32, MaskKind::key_lengths, false, FullyMasked::zero, 16, FlashKind::decode>>(empty, "no keys");
  }
}

TEST_F(FlashAttention, SequencesWithoutPadding) {
  // Q, K and V are columns of one tensor [tokens, 3 * heads * D]; lengths 5, 0, 66, 17.
  constexpr int D = 32, heads = 2;
  std::vector<int32_t> startsOf = {0, 5, 5, 71, 88};
  int64_t row = 3 * heads * D, tokens = 88;
  for (bool causal : {false, true}) {
    Buffer<f16> qkv(numbers<f16>(tokens * row, -2, 2));
    Buffer<int32_t> starts(startsOf);
    Buffer<int8_t> quantized(tokens * heads * D);
    Buffer<f16> y(tokens * heads * D);
    AttentionShape shape = {66, 66, heads, 1, row, row, row, 0, 0, D, D, 0, 0, 0, 0};
    FlashArguments a = {shape, nullptr, starts.data(), starts.data(), 0.25f, 50.0f, {1, nullptr, nullptr}};
    using Plain = Form<MmaF16, D, MaskKind::none, false, FullyMasked::nan, 64, FlashKind::varlen>;
    using Triangle = Form<MmaF16, D, MaskKind::none, true, FullyMasked::nan, 64, FlashKind::varlen>;
    auto launch = [&](auto *out) {
      using Out = std::remove_pointer_t<decltype(out)>;
      return run(causal ? attention_kernel<Triangle, Out> : attention_kernel<Plain, Out>, {4 * heads * 2},
                 Plain::kThreads, Plain::kSharedBytes, qkv.data(), qkv.data() + heads * D, qkv.data() + 2 * heads * D,
                 out, a);
    };
    ASSERT_EQ(launch(y.data()), "");
    ASSERT_EQ(launch(quantized.data()), "");
    std::vector<double> expected(y.size());
    Problem p{1, 0, 0, heads, heads};
    for (int b = 0; b < 4; ++b) {
      const f16 *first = qkv.data() + startsOf[b] * row;
      int64_t count = startsOf[b + 1] - startsOf[b];
      double *to = expected.data() + startsOf[b] * heads * D;
      if (causal)
        reference<Triangle>(first, first + heads * D, first + 2 * heads * D, row, row, row, p, count, count, b, 0.25f,
                            to);
      else
        reference<Plain>(first, first + heads * D, first + 2 * heads * D, row, row, row, p, count, count, b, 0.25f, to);
    }
    EXPECT_LE(relativeError(y, expected), 5e-3);
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(quantized[i], quantize(to_float(y[i]), 50.0f), 1) << i;
  }
}

} // namespace
