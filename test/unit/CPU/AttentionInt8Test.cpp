// Attention over int8 keys and values: the same bits as attention over the floats that
// they stand for. And the kernel that appends bytes to a cache.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/Attention.h"
#include "llmopt/CodeGen/CPU/KVAppend.h"

using namespace llmopt::cpu;

namespace {

class AttentionInt8Test : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(AttentionInt8Test);

struct Heads {
  int64_t heads, kvHeads, headDim, valueDim;
};

// dims: 0 B, 1 Sq, 2 Sk, 3 batch stride of k, 4 of v, 5 of scales, 6 of q, 7 of out, 8
// causal offset. Buffers: 0 q, 1 k, 2 v, 3 scales of k, 4 scales of v, 5 out.
AttentionSpec makeSpec(const Heads &h, bool quantized) {
  AttentionSpec s;
  s.name = quantized ? "int8" : "f32";
  s.batch = Size::dim(0);
  s.queryLength = Size::dim(1);
  s.keyLength = Size::dim(2);
  s.heads = h.heads;
  s.kvHeads = h.kvHeads;
  s.headDim = h.headDim;
  s.valueDim = h.valueDim;
  s.q = {Operand(0), Size::dim(6), h.heads * h.headDim, h.headDim};
  s.k = {Operand(1), Size::dim(3), h.kvHeads * h.headDim, h.headDim};
  s.v = {Operand(2), Size::dim(4), h.kvHeads * h.valueDim, h.valueDim};
  if (quantized) {
    s.kScale = {Operand(3), Size::dim(5), h.kvHeads, 1};
    s.vScale = {Operand(4), Size::dim(5), h.kvHeads, 1};
  }
  s.out = {Operand(5), Size::dim(7), h.heads * h.valueDim, h.valueDim};
  s.scale = 1 / std::sqrt(double(h.headDim));
  s.causal = true;
  s.causalOffset = Size::dim(8);
  return s;
}

/// Bytes, their scales per token and head, and the floats of both.
struct Rows {
  std::vector<uint8_t> q;
  std::vector<float> scale, values;
};

Rows makeRows(int64_t tokens, int64_t heads, int64_t width, uint32_t seed) {
  std::mt19937 random(seed);
  Rows rows;
  rows.scale = randomVector(tokens * heads, seed + 1, 0.001f, 0.05f);
  for (int64_t i = 0; i < tokens * heads * width; ++i) {
    auto q = static_cast<int8_t>(int(random() % 255) - 127);
    rows.q.push_back(static_cast<uint8_t>(q));
    rows.values.push_back(static_cast<float>(q) * rows.scale[i / width]);
  }
  return rows;
}

TEST_P(AttentionInt8Test, EqualsFloats) {
  uint32_t seed = 1;
  for (const Heads &h : {Heads{3, 3, 64, 64}, Heads{4, 2, 32, 48}, Heads{6, 1, 20, 7}, Heads{1, 1, 450, 33}}) {
    AttentionSpec floats = makeSpec(h, false), bytes = makeSpec(h, true);
    KernelLibrary library(target, [&](KernelBuilder &kb) {
      emitAttention(kb, floats);
      emitAttention(kb, bytes);
    });
    for (auto [b, sq, sk, room] :
         {std::array<int64_t, 4>{1, 1, 1, 1}, {2, 1, 37, 64}, {2, 13, 33, 33}, {1, 20, 530, 600}}) {
      auto q = randomVector(b * sq * h.heads * h.headDim, seed, -2, 2);
      Rows k = makeRows(b * room, h.kvHeads, h.headDim, seed + 2),
           v = makeRows(b * room, h.kvHeads, h.valueDim, seed + 4);
      seed += 6;
      std::vector<int64_t> dims = {b,
                                   sq,
                                   sk,
                                   room * h.kvHeads * h.headDim,
                                   room * h.kvHeads * h.valueDim,
                                   room * h.kvHeads,
                                   sq * h.heads * h.headDim,
                                   sq * h.heads * h.valueDim,
                                   sk - sq};
      std::vector<float> nothing(b * sq * h.heads * h.valueDim, 99.0f);
      Guarded gq(q), kBytes(k.q), vBytes(v.q), kScale(k.scale), vScale(v.scale), kFloats(k.values), vFloats(v.values),
          got(nothing), expected(nothing);
      SizeFormula scratch = attentionScratch(floats, target), more = attentionScratch(bytes, target);
      runTiles(library["f32"], {gq, kFloats, vFloats, nullptr, nullptr, expected}, dims, attentionTiles(floats, target),
               &scratch);
      runTiles(library["int8"], {gq, kBytes, vBytes, kScale, vScale, got}, dims, attentionTiles(bytes, target), &more);
      EXPECT_EQ(0, std::memcmp(got.floats(), expected.floats(), nothing.size() * 4))
          << "B " << b << " Sq " << sq << " Sk " << sk << " D " << h.headDim;
      EXPECT_NE(0, std::memcmp(got.floats(), nothing.data(), nothing.size() * 4));
    }
  }
}

TEST_P(AttentionInt8Test, AppendsBytes) {
  KVAppendSpec spec;
  spec.name = "append";
  spec.batch = Size::dim(0);
  spec.tokens = Size::dim(1);
  spec.past = Size::dim(2);
  spec.capacity = Size::dim(3);
  spec.width = Size::dim(4);
  spec.cache = Operand(0);
  spec.input = Operand(1);
  spec.bytes = true;
  KernelLibrary library(target, [&](KernelBuilder &kb) { emitKVAppend(kb, spec); });
  for (auto [b, s, past, capacity, width] :
       {std::array<int64_t, 5>{1, 1, 0, 1, 1}, {2, 3, 5, 9, 40}, {3, 1, 7, 8, 33}, {1, 17, 0, 20, 16}}) {
    std::vector<uint8_t> cache(b * capacity * width, 7), input(b * s * width);
    std::mt19937 random(3);
    for (uint8_t &byte : input)
      byte = static_cast<uint8_t>(random());
    std::vector<uint8_t> expected = cache;
    for (int64_t i = 0; i < b; ++i)
      std::copy_n(input.begin() + i * s * width, s * width, expected.begin() + (i * capacity + past) * width);
    Guarded to(cache), from(input);
    runTiles(library["append"], {to, from}, {b, s, past, capacity, width}, kvAppendTiles(spec));
    EXPECT_EQ(0, std::memcmp(to, expected.data(), expected.size())) << "width " << width;
  }
}

} // namespace
