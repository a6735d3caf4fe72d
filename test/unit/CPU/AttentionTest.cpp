// Fused attention against a plain f64 loop.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/Attention.h"

using namespace llmopt::cpu;

namespace {

class AttentionTest : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(AttentionTest);

enum class MaskShape { None, Keys, Full, KeepKeys };

struct Case {
  int64_t headDim = 64, heads = 3, kvHeads = 3, valueDim = 64;
  MaskShape mask = MaskShape::None;
  bool causal = false, lengths = false;
  AttentionSpec::FullyMasked fullyMasked = AttentionSpec::FullyMasked::Source;
  float maskValue = -3.4028235e38f;
  int64_t queryBlock = 0;
};

// dims: 0 B, 1 Sq, 2 Sk, 3..6 batch strides q k v out, 7 mask batch, 8 mask
// head, 9 mask query, 10 causal offset
AttentionSpec makeSpec(const Case &c) {
  AttentionSpec s;
  s.name = "attention";
  s.batch = Size::dim(0);
  s.queryLength = Size::dim(1);
  s.keyLength = Size::dim(2);
  s.heads = c.heads;
  s.kvHeads = c.kvHeads;
  s.headDim = c.headDim;
  s.valueDim = c.valueDim;
  // Q alone; K and V joint in one buffer, behind each other in a row.
  int64_t kvRow = c.kvHeads * (c.headDim + c.valueDim);
  s.q = {Operand(0), Size::dim(3), c.heads * c.headDim, c.headDim};
  s.k = {Operand(1), Size::dim(4), kvRow, c.headDim};
  s.v = {Operand(1, c.kvHeads * c.headDim), Size::dim(5), kvRow, c.valueDim};
  s.out = {Operand(2), Size::dim(6), c.heads * c.valueDim, c.valueDim};
  s.scale = 1 / std::sqrt((double)c.headDim);
  if (c.mask != MaskShape::None) {
    s.maskKind = c.mask == MaskShape::KeepKeys ? AttentionSpec::Mask::Keep
                                               : AttentionSpec::Mask::Additive;
    s.mask = Operand(3);
    s.maskBatchStride = Size::dim(7);
    s.maskHeadStride = Size::dim(8);
    s.maskQueryStride = Size::dim(9);
    s.maskedValue = c.maskValue;
  }
  s.causal = c.causal;
  s.causalOffset = Size::dim(10);
  if (c.lengths)
    s.keyLengths = Operand(4);
  s.fullyMasked = c.fullyMasked;
  s.queryBlock = c.queryBlock;
  return s;
}

void check(const TargetInfo &target, const Case &c, llmopt_kernel_fn kernel,
           int64_t batch, int64_t sq, int64_t sk, uint32_t seed) {
  AttentionSpec spec = makeSpec(c);
  const int64_t group = c.heads / c.kvHeads,
                kvRow = c.kvHeads * (c.headDim + c.valueDim);
  // Large values: peaked attention.
  auto q = randomVector(batch * sq * c.heads * c.headDim, seed, -4, 4);
  auto kv = randomVector(batch * sk * kvRow, seed + 1, -2, 2);
  std::mt19937 rng(seed + 2);
  int64_t maskRows = c.mask == MaskShape::Full ? batch * c.heads * sq : batch;
  std::vector<float> mask(maskRows * sk, 0.0f);
  std::vector<uint8_t> keep(batch * sk, 1);
  for (size_t i = 0; i < mask.size(); ++i)
    if (rng() % 3 == 0) {
      mask[i] = c.maskValue;
      if (c.mask == MaskShape::KeepKeys)
        keep[i] = 0;
    }
  if (c.mask == MaskShape::Full) // one row fully masked, one masked twice
    for (int64_t j = 0; j < sk; ++j) {
      mask[j] = c.maskValue;
      mask[(maskRows - 1) * sk + j] = j % 2 ? 0 : c.maskValue * 2;
    }
  if (c.mask == MaskShape::Keys || c.mask == MaskShape::KeepKeys)
    for (int64_t j = 0; j < sk; ++j) {
      mask[(batch - 1) * sk + j] = c.maskValue;
      keep[(batch - 1) * sk + j] = 0;
    }
  std::vector<int64_t> lengths(batch);
  for (int64_t b = 0; b < batch; ++b)
    lengths[b] = b == 0 ? sk : (b * 7) % (sk + 1);
  const int64_t causalOffset = sk - sq;
  bool full = c.mask == MaskShape::Full;
  std::vector<int64_t> dims = {batch,
                               sq,
                               sk,
                               sq * c.heads * c.headDim,
                               sk * kvRow,
                               sk * kvRow,
                               sq * c.heads * c.valueDim,
                               full ? c.heads * sq * sk : sk,
                               full ? sq * sk : 0,
                               full ? sk : 0,
                               causalOffset};
  Guarded gq(q), gkv(kv),
      out(std::vector<float>(batch * sq * c.heads * c.valueDim, 99.0f)),
      gmask(mask), gkeep(keep), glengths(lengths);
  SizeFormula scratch = attentionScratch(spec, target);
  runTiles(kernel,
           {gq, gkv, out,
            c.mask == MaskShape::KeepKeys ? (void *)gkeep : (void *)gmask,
            glengths},
           dims, attentionTiles(spec, target), &scratch);

  std::vector<double> expected(batch * sq * c.heads * c.valueDim);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t i = 0; i < sq; ++i) {
        std::vector<double> scores(sk);
        double largest = -INFINITY, total = 0;
        for (int64_t j = 0; j < sk; ++j) {
          double s = 0;
          for (int64_t d = 0; d < c.headDim; ++d)
            s += (double)q[((b * sq + i) * c.heads + h) * c.headDim + d] *
                 kv[(b * sk + j) * kvRow + (h / group) * c.headDim + d];
          s *= spec.scale;
          if (c.mask == MaskShape::KeepKeys)
            s = keep[b * sk + j] ? s : c.maskValue;
          else if (c.mask !=
                   MaskShape::None) // rounded as in f32: absorbs the score
            s = (double)((float)s +
                         mask[full ? ((b * c.heads + h) * sq + i) * sk + j
                                   : b * sk + j]);
          if ((c.causal && j > i + causalOffset) ||
              (c.lengths && j >= lengths[b]))
            s = -INFINITY;
          scores[j] = s;
          largest = std::max(largest, s);
        }
        bool nothing = largest == -INFINITY;
        for (double &s : scores) {
          s = std::exp(s - largest);
          total += s;
        }
        for (int64_t d = 0; d < c.valueDim; ++d) {
          double sum = 0;
          for (int64_t j = 0; j < sk; ++j)
            sum += scores[j] / total *
                   kv[(b * sk + j) * kvRow + c.kvHeads * c.headDim +
                      (h / group) * c.valueDim + d];
          if (nothing)
            sum = c.fullyMasked == AttentionSpec::FullyMasked::Zero ? 0 : NAN;
          expected[((b * sq + i) * c.heads + h) * c.valueDim + d] = sum;
        }
      }
  EXPECT_LT(relativeError(out.floats(), expected), 5e-6)
      << "B " << batch << " Sq " << sq << " Sk " << sk << " D " << c.headDim
      << " mask " << int(c.mask) << " causal " << c.causal << " lengths "
      << c.lengths << " value " << c.maskValue;
}

TEST_P(AttentionTest, AgainstReference) {
  using FM = AttentionSpec::FullyMasked;
  const float inf = INFINITY;
  const Case cases[] = {
      {},
      {64, 3, 3, 64, MaskShape::Keys},
      {64, 2, 2, 64, MaskShape::Full, false, false, FM::Source, -inf},
      {64, 2, 2, 64, MaskShape::Full, false, false, FM::Source, -10000.0f},
      {64, 2, 2, 64, MaskShape::Keys, false, false, FM::Zero, -inf},
      {64, 2, 2, 64, MaskShape::KeepKeys, false, false, FM::Nan, -inf},
      {64, 2, 2, 64, MaskShape::KeepKeys, false, false, FM::Source,
       -3.4028235e38f},
      {64, 2, 2, 64, MaskShape::None, true},
      {64, 2, 2, 64, MaskShape::Keys, true, true, FM::Zero},
      {32, 4, 2, 48, MaskShape::Full},
      {40, 4, 1, 20, MaskShape::None, false, true, FM::Zero},
      {450, 1, 1, 7, MaskShape::Keys, false, false, FM::Source, -3.4028235e38f,
       16},
  };
  uint32_t seed = 1;
  for (const Case &c : cases) {
    KernelLibrary library(
        target, [&](KernelBuilder &kb) { emitAttention(kb, makeSpec(c)); });
    for (auto [b, sq, sk] : {std::array<int64_t, 3>{1, 1, 1},
                             {2, 7, 7},
                             {2, 13, 33},
                             {1, 1, 300},
                             {3, 65, 65},
                             {1, 128, 128},
                             {1, 20, 530}})
      check(target, c, library["attention"], b, sq, sk, seed += 3);
  }
}

} // namespace
