// softmax(scale Q K^T + mask) V on tensor cores (sm_80), without the matrix of scores
// (Dao et al. 2022; online softmax: Milakov and Gimelshein 2018).
//
// One block takes `Rows` rows of Q, 16 per warp, and walks over tiles of keys, which
// cp.async brings while the tile before is worked on. Scores stay in the registers that
// the product made them in; as the left operand of P V they need no exchange (16 bit:
// accumulators pair up into operands; 32 bit: keys are taken in the order 0 2 4 6 1 3 5 7).
// Exponentials are of base 2, in f32. Operands are token-major and may be columns of
// wider tensors: AttentionShape (attention.cuh) has the strides.
//
//   FlashKind::batched  [B, S, ..], one head per block
//   FlashKind::varlen   sequences one after the other without padding; starts[B + 1]
//                       gives where each begins
//   FlashKind::decode   few queries: those of all heads that share a key head make up the
//                       rows, keys are cut into splits, and the last block of a group to
//                       come adds the splits in their order
//
// Where a row without any visible key gives what the source graph computes
// (FullyMasked::source), hidden keys have the lowest finite score instead of -infinity: they
// count for nothing beside a visible one, and all alike where there is none.
//
// Keys behind a key length are not read. Keys that another mask hides have weight 0, so
// a NaN or infinity in their values shows, as in the softmax written out.
#pragma once

#include "llmopt/cuda/attention.cuh"
#include "llmopt/cuda/copy.cuh"
#include "llmopt/cuda/mma_elements.cuh"

namespace llmopt {

enum class FlashKind { batched, varlen, decode };

template <typename MmaT, int D, int DV, int Rows, MaskKind MaskV, bool CausalV, FullyMasked MaskedV,
          FlashKind KindV = FlashKind::batched, int AlignV = 16, int Keys = sizeof(typename MmaT::Input) == 2 ? 64 : 16>
struct FlashForm {
  using Mma = MmaT;
  using T = typename Mma::Input;
  static constexpr int kHeadDim = D, kValueDim = DV, kRows = Rows, kAlign = AlignV;
  static constexpr MaskKind kMask = MaskV;
  static constexpr bool kCausal = CausalV;
  static constexpr FullyMasked kMasked = MaskedV;
  static constexpr FlashKind kKind = KindV;
  static constexpr int kWarps = Rows / 16, kThreads = 32 * kWarps;
  static constexpr int kKeys = Keys;                // of one tile: what more takes, registers have no room for
  static constexpr int kStep = 32 / (int)sizeof(T); // elements per mma along K
  static constexpr int kDim = (D + kStep - 1) / kStep * kStep, kDimV = (DV + 15) / 16 * 16;
  // 16 bytes of padding: rows of eight follow each other around the banks.
  static constexpr int kPitch = kDim * (int)sizeof(T) + 16, kPitchV = kDimV * (int)sizeof(T) + 16;
  static constexpr int kStageBytes = kKeys * (kPitch + kPitchV);
  static constexpr int kSharedBytes = Rows * kPitch + 2 * kStageBytes;
  static constexpr bool kKeepsQuery = sizeof(T) == 2; // in registers
  static_assert(Rows % 16 == 0, "16 rows per warp");
};

/// Partial results of decode: `partials` has room for blocks * Rows * (DV + 2) floats,
/// `counters` one word per group of `splits` blocks, zero before and after a launch.
struct FlashSplit {
  int64_t splits;
  float *partials;
  uint32_t *counters;
};

struct FlashArguments {
  AttentionShape shape; // query_length and key_length: the longest, of varlen
  const void *mask;
  const int32_t *query_starts, *key_starts; // varlen
  float scale;
  float inverse_output_scale; // of int8 results
  FlashSplit split;           // decode
};

/// Brings `count` rows of `width` elements to shared memory, zeros for rows that do not
/// exist and for elements beyond the width.
template <int Align, int Width, int Padded, int Pitch, int Threads, typename T, typename RowOffset>
__device__ __forceinline__ void copy_rows(shared<unsigned char> to, global<const T> from, int count, int existing,
                                          RowOffset row_offset) {
  constexpr int kChunks = Padded * (int)sizeof(T) / 16, kElements = 16 / (int)sizeof(T);
#pragma unroll 2
  for (int i = threadIdx.x; i < count * kChunks; i += Threads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const int left = (Width - chunk * kElements) * (int)sizeof(T);
    const int bytes = row >= existing || left < 0 ? 0 : left > 16 ? 16 : left;
    copy_chunk<Align, T>(to + (row * Pitch + 16 * chunk), from + (bytes ? row_offset(row) + chunk * kElements : 0),
                         bytes);
  }
}

/// The rows, keys and heads that one block works on.
template <typename Form> struct FlashPlace {
  int64_t batch, head, key_head; // head: the first of the group
  int group;                     // heads in the rows of this block
  int first_row, rows;           // of the group; `rows` exist from first_row on
  int64_t query_base, key_base;  // first token in Q and in K, V
  int queries, keys;             // of this sequence
  int begin, end;                // tiles of keys
  int64_t unit;                  // which group of splits
  int split;

  __device__ __forceinline__ explicit FlashPlace(const FlashArguments &a) {
    const AttentionShape &s = a.shape;
    constexpr bool decode = Form::kKind == FlashKind::decode;
    group = decode ? (int)s.heads_per_key_head : 1;
    const int64_t groups = s.heads / group, tiles = (s.query_length * group + Form::kRows - 1) / Form::kRows;
    unit = decode ? blockIdx.x / a.split.splits : blockIdx.x;
    split = decode ? (int)(blockIdx.x % a.split.splits) : 0;
    batch = unit / tiles / groups;
    head = unit / tiles % groups * group;
    key_head = head / s.heads_per_key_head;
    first_row = (int)(unit % tiles) * Form::kRows;
    if constexpr (Form::kKind == FlashKind::varlen) {
      query_base = a.query_starts[batch];
      key_base = a.key_starts[batch];
      queries = a.query_starts[batch + 1] - (int)query_base;
      keys = a.key_starts[batch + 1] - (int)key_base;
    } else {
      query_base = batch * s.query_length;
      key_base = 0;
      queries = (int)s.query_length;
      keys = (int)s.key_length;
    }
    rows = queries * group - first_row < Form::kRows ? queries * group - first_row : Form::kRows;
    int stop = keys;
    if constexpr (Form::kMask == MaskKind::key_lengths) {
      const int64_t length = global<const int64_t>((const int64_t *)a.mask)[batch];
      if (length > 0 || Form::kMasked != FullyMasked::source)
        stop = length < 0 ? 0 : length < stop ? (int)length : stop;
    }
    // With fewer keys than queries the first queries see none of them.
    if (Form::kCausal && (keys >= queries || Form::kMasked != FullyMasked::source)) {
      const int last = last_key((first_row + rows - 1) / group);
      stop = last + 1 < stop ? last + 1 : stop;
    }
    const int tiles_of_keys = stop > 0 ? (stop + Form::kKeys - 1) / Form::kKeys : 0;
    begin = decode ? (int)(tiles_of_keys * (int64_t)split / a.split.splits) : 0;
    end = decode ? (int)(tiles_of_keys * (int64_t)(split + 1) / a.split.splits) : tiles_of_keys;
    visible = stop;
  }

  int visible; // keys of the block that may be read
  __device__ __forceinline__ int last_key(int query) const { return query + keys - queries; }
};

/// Running maximum, sum and values of the two rows of a lane.
template <typename Form> struct FlashState {
  float largest[2], total[2];
  float values[Form::kDimV / 8][4];
};

/// Scores in base 2 of one tile; hidden keys are -infinity.
template <typename Form>
__device__ __forceinline__ void mask_scores(float (&scores)[Form::kKeys / 8][4], const FlashPlace<Form> &at,
                                            const FlashArguments &a, int first_key) {
  constexpr float kLog2e = 1.4426950408889634f, kLowest = -3.402823466e38f;
  constexpr float kHidden = Form::kMasked == FullyMasked::source ? kLowest : -INFINITY;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float scale = a.scale * kLog2e;
  // Only the last tiles of a sequence or of the triangle need to look at every key.
  const int first_query = at.first_row / at.group;
  const bool whole = Form::kMask != MaskKind::additive && Form::kMask != MaskKind::boolean &&
                     first_key + Form::kKeys <= at.visible &&
                     (!Form::kCausal || first_key + Form::kKeys - 1 <= at.last_key(first_query));
  if (whole) {
#pragma unroll
    for (int j = 0; j < Form::kKeys / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        scores[j][e] *= scale;
    return;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    int row = at.first_row + warp * 16 + lane / 4 + 8 * half;
    row = row < at.first_row + at.rows ? row : at.first_row + at.rows - 1; // one that exists
    const int query = row / at.group;
    const int last = Form::kCausal ? at.last_key(query) : at.keys;
    const int64_t base =
        at.batch * a.shape.mask_batch + (at.head + row % at.group) * a.shape.mask_head + query * a.shape.mask_query;
#pragma unroll
    for (int j = 0; j < Form::kKeys / 8; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int key = first_key + 8 * j + lane % 4 * 2 + i;
        float &score = scores[j][2 * half + i];
        bool visible = key < at.visible && key <= last;
        score *= scale;
        if constexpr (Form::kMask == MaskKind::additive)
          if (visible) {
            // A mask value is finite where the source's is, also times log2(e).
            const float value = global<const float>((const float *)a.mask)[base + key * a.shape.mask_key];
            score += kLog2e * value;
            score = score < kLowest && value >= kLowest ? kLowest : score;
          }
        if constexpr (Form::kMask == MaskKind::boolean)
          visible = visible && global<const uint8_t>((const uint8_t *)a.mask)[base + key * a.shape.mask_key] != 0;
        score = visible ? score : key < at.keys ? kHidden : -INFINITY;
      }
  }
}

/// Turns scores into weights relative to the new maxima, and rescales what is there.
template <typename Form>
__device__ __forceinline__ void update_softmax(float (&scores)[Form::kKeys / 8][4], FlashState<Form> &state) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = state.largest[half];
#pragma unroll
    for (int j = 0; j < Form::kKeys / 8; ++j)
      largest = fmaxf(largest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
    // While everything so far is masked, there is nothing to be relative to.
    const float origin = largest == -INFINITY ? 0.0f : largest;
    const float rescale = exp2f(state.largest[half] - origin);
    float total = 0.0f;
#pragma unroll
    for (int j = 0; j < Form::kKeys / 8; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float &score = scores[j][2 * half + i];
        score = exp2f(score - origin);
        total += score;
      }
    state.total[half] = state.total[half] * rescale + total;
    state.largest[half] = largest;
#pragma unroll
    for (int d = 0; d < Form::kDimV / 8; ++d) {
      state.values[d][2 * half] *= rescale;
      state.values[d][2 * half + 1] *= rescale;
    }
  }
}

/// values += weights V.
template <typename Form>
__device__ __forceinline__ void add_values(const float (&weights)[Form::kKeys / 8][4], shared<unsigned char> v,
                                           FlashState<Form> &state) {
  using T = typename Form::T;
  const int lane = threadIdx.x % 32, matrix = lane / 8;
  if constexpr (sizeof(T) == 2) {
    const uint32_t base = smem_address(v);
#pragma unroll
    for (int j = 0; j < Form::kKeys / 16; ++j) {
      const float (&low)[4] = weights[2 * j], (&high)[4] = weights[2 * j + 1];
      const uint32_t p[4] = {Storage<T>::pack(low[0], low[1]), Storage<T>::pack(low[2], low[3]),
                             Storage<T>::pack(high[0], high[1]), Storage<T>::pack(high[2], high[3])};
#pragma unroll
      for (int d = 0; d < Form::kDimV / 16; ++d) {
        uint32_t both[4];
        ldmatrix<4, true>(both,
                          base + (16 * j + lane % 8 + matrix % 2 * 8) * Form::kPitchV + 16 * (2 * d + matrix / 2));
        Form::Mma::multiply(state.values[2 * d], p, {both[0], both[1]});
        Form::Mma::multiply(state.values[2 * d + 1], p, {both[2], both[3]});
      }
    }
  } else {
    const shared<T> rows = shared_cast<T>(v);
    constexpr int kPitch = Form::kPitchV / (int)sizeof(T);
#pragma unroll
    for (int j = 0; j < Form::kKeys / 8; ++j) {
      const float (&w)[4] = weights[j];
      const uint32_t p[4] = {__float_as_uint(w[0]), __float_as_uint(w[2]), __float_as_uint(w[1]),
                             __float_as_uint(w[3])};
      const int key = 8 * j + lane % 4 * 2;
#pragma unroll
      for (int d = 0; d < Form::kDimV / 8; ++d) {
        const float low = rows[key * kPitch + 8 * d + lane / 4], high = rows[(key + 1) * kPitch + 8 * d + lane / 4];
        Form::Mma::multiply(state.values[d], p, {__float_as_uint(low), __float_as_uint(high)});
      }
    }
  }
}

/// The fragment of Q for step `step` along D.
template <typename Form>
__device__ __forceinline__ void load_query(uint32_t (&a)[4], shared<unsigned char> q, int step) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, matrix = lane / 8;
  ldmatrix(a, smem_address(q) + (warp * 16 + lane % 8 + matrix % 2 * 8) * Form::kPitch + 16 * (2 * step + matrix / 2));
}

/// Leaves the state of this split; the last block of the unit adds all and gets true.
template <typename Form>
__device__ __forceinline__ bool combine_splits(shared<unsigned char> memory, FlashState<Form> &state,
                                               const FlashPlace<Form> &at, const FlashSplit &where) {
  constexpr int kFloats = Form::kRows * (Form::kDimV + 2);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  global<float> partials(where.partials);
  const int64_t mine = (at.unit * where.splits + at.split) * kFloats;
  const bool active = warp * 16 < at.rows;
#pragma unroll
  for (int half = 0; active && half < 2; ++half) {
    const int64_t row = mine + (warp * 16 + lane / 4 + 8 * half) * (Form::kDimV + 2);
    if (lane % 4 == 0) {
      partials[row] = state.largest[half];
      partials[row + 1] = state.total[half];
    }
#pragma unroll
    for (int d = 0; d < Form::kDimV / 8; ++d)
      store(partials, row + 2 + 8 * d + lane % 4 * 2,
            make_float2(state.values[d][2 * half], state.values[d][2 * half + 1]));
  }
  __threadfence();
  __syncthreads();
  const shared<uint32_t> ticket = shared_cast<uint32_t>(memory);
  if (threadIdx.x == 0)
    ticket[0] = atomicAdd(where.counters + at.unit, 1u);
  __syncthreads();
  const bool last = ticket[0] == (uint32_t)where.splits - 1;
  if (!last)
    return false;
  __threadfence();
  if (threadIdx.x == 0)
    where.counters[at.unit] = 0;
#pragma unroll
  for (int half = 0; active && half < 2; ++half) {
    const int64_t first = at.unit * where.splits * kFloats + (warp * 16 + lane / 4 + 8 * half) * (Form::kDimV + 2);
    float largest = -INFINITY, total = 0.0f;
    for (int64_t s = 0; s < where.splits; ++s)
      largest = fmaxf(largest, partials[first + s * kFloats]);
    const float origin = largest == -INFINITY ? 0.0f : largest;
#pragma unroll
    for (int d = 0; d < Form::kDimV / 8; ++d)
      state.values[d][2 * half] = state.values[d][2 * half + 1] = 0.0f;
    for (int64_t s = 0; s < where.splits; ++s) {
      const int64_t row = first + s * kFloats;
      const float share = exp2f(partials[row] - origin);
      total += share * partials[row + 1];
#pragma unroll
      for (int d = 0; d < Form::kDimV / 8; ++d) {
        const float2 v = load<float2>(partials, row + 2 + 8 * d + lane % 4 * 2);
        state.values[d][2 * half] += share * v.x;
        state.values[d][2 * half + 1] += share * v.y;
      }
    }
    state.largest[half] = largest;
    state.total[half] = total;
  }
  return true;
}

template <typename Form, typename Out>
__device__ __forceinline__ void store_attention(const FlashState<Form> &state, const FlashPlace<Form> &at,
                                                const FlashArguments &a, Out *y) {
  constexpr int kDV = Form::kValueDim;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  global<Out> out(y);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + lane / 4 + 8 * half;
    if (row >= at.rows)
      continue;
    const int of_group = at.first_row + row;
    const bool masked = state.largest[half] == -INFINITY;
    const float share = masked ? (Form::kMasked == FullyMasked::zero ? 0.0f : NAN) : 1.0f / state.total[half];
    const int64_t first = ((at.query_base + of_group / at.group) * a.shape.heads + at.head + of_group % at.group) * kDV;
#pragma unroll
    for (int d = 0; d < Form::kDimV / 8; ++d) {
      const int column = 8 * d + lane % 4 * 2;
      const float low = state.values[d][2 * half] * share, high = state.values[d][2 * half + 1] * share;
      if constexpr (sizeof(Out) == 1) {
        if (column < kDV)
          out[first + column] = (int8_t)quantize(low, a.inverse_output_scale);
        if (column + 1 < kDV)
          out[first + column + 1] = (int8_t)quantize(high, a.inverse_output_scale);
      } else if (kDV % 2 == 0) {
        if (column < kDV) {
          if constexpr (sizeof(Out) == 2)
            store(out, first + column, Storage<Out>::pack(low, high));
          else
            store(out, first + column, make_float2(low, high));
        }
      } else {
        if (column < kDV)
          out[first + column] = from_float<Out>(low);
        if (column + 1 < kDV)
          out[first + column + 1] = from_float<Out>(high);
      }
    }
  }
}

/// One block; launch B * (heads / group) * ceil(query_length * group / Rows) * splits blocks
/// of Form::kThreads threads with Form::kSharedBytes of dynamic shared memory, where group
/// is heads_per_key_head for decode and else 1, splits likewise split.splits or 1.
/// y is [tokens, heads, DV] in T or int8.
template <typename Form, typename Out>
__device__ __forceinline__ void flash_attention(const typename Form::T *q, const typename Form::T *k,
                                                const typename Form::T *v, Out *y, FlashArguments a) {
  using T = typename Form::T;
  LLMOPT_DYNAMIC_SHARED(memory);
  const FlashPlace<Form> at(a);
  if (at.rows <= 0)
    return; // varlen: behind the end of this sequence
  const AttentionShape &s = a.shape;
  const shared<unsigned char> ring = memory + Form::kRows * Form::kPitch;
  const global<const T> queries(q), keys(k), values(v);
  const int64_t query_head = at.head * Form::kHeadDim;
  copy_rows<Form::kAlign, Form::kHeadDim, Form::kDim, Form::kPitch, Form::kThreads, T>(
      memory + 0, queries, Form::kRows, at.rows, [&](int row) {
        const int of_group = at.first_row + row;
        return (at.query_base + of_group / at.group) * s.query_row + query_head + of_group % at.group * Form::kHeadDim;
      });
  const int64_t first_key = (Form::kKind == FlashKind::varlen ? at.key_base : at.batch * s.key_rows) * s.key_row +
                            at.key_head * Form::kHeadDim;
  const int64_t first_value = (Form::kKind == FlashKind::varlen ? at.key_base : at.batch * s.value_rows) * s.value_row +
                              at.key_head * Form::kValueDim;
  auto fetch = [&](int tile) {
    if (tile < at.end) {
      const int first = tile * Form::kKeys, existing = at.visible - first;
      const shared<unsigned char> to = ring + (tile - at.begin) % 2 * Form::kStageBytes;
      copy_rows<Form::kAlign, Form::kHeadDim, Form::kDim, Form::kPitch, Form::kThreads, T>(
          to, keys, Form::kKeys, existing, [&](int row) { return first_key + (int64_t)(first + row) * s.key_row; });
      copy_rows<Form::kAlign, Form::kValueDim, Form::kDimV, Form::kPitchV, Form::kThreads, T>(
          to + Form::kKeys * Form::kPitch, values, Form::kKeys, existing,
          [&](int row) { return first_value + (int64_t)(first + row) * s.value_row; });
    }
    cp_async_commit();
  };
  fetch(at.begin);

  FlashState<Form> state = {{-INFINITY, -INFINITY}, {0.0f, 0.0f}, {}};
  constexpr int kSteps = Form::kDim / Form::kStep;
  uint32_t query[Form::kKeepsQuery ? kSteps : 1][4];
  const int lane = threadIdx.x % 32, matrix = lane / 8;
  const bool active = (int)threadIdx.x / 32 * 16 < at.rows; // warps without rows only bring keys
  for (int tile = at.begin; tile < at.end; ++tile) {
    fetch(tile + 1);
    cp_async_wait<1>();
    __syncthreads();
    if (active) {
      if (Form::kKeepsQuery && tile == at.begin) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step)
          load_query<Form>(query[Form::kKeepsQuery ? step : 0], memory + 0, step);
      }
      const shared<unsigned char> stage = ring + (tile - at.begin) % 2 * Form::kStageBytes;
      float scores[Form::kKeys / 8][4] = {};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        if (!Form::kKeepsQuery)
          load_query<Form>(query[0], memory + 0, step);
#pragma unroll
        for (int j = 0; j < Form::kKeys / 16; ++j) {
          uint32_t both[4];
          ldmatrix(both, smem_address(stage) + (16 * j + lane % 8 + matrix / 2 * 8) * Form::kPitch +
                             16 * (2 * step + matrix % 2));
          Form::Mma::multiply(scores[2 * j], query[Form::kKeepsQuery ? step : 0], {both[0], both[1]});
          Form::Mma::multiply(scores[2 * j + 1], query[Form::kKeepsQuery ? step : 0], {both[2], both[3]});
        }
      }
      mask_scores<Form>(scores, at, a, tile * Form::kKeys);
      update_softmax<Form>(scores, state);
      add_values<Form>(scores, stage + Form::kKeys * Form::kPitch, state);
    }
    __syncthreads(); // the stage, before it is filled again
  }
  cp_async_wait<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.total[half] += __shfl_xor_sync(0xffffffffu, state.total[half], 1);
    state.total[half] += __shfl_xor_sync(0xffffffffu, state.total[half], 2);
  }
  if constexpr (Form::kKind == FlashKind::decode) {
    if (a.split.splits > 1) {
      __syncthreads();
      if (!combine_splits<Form>(memory + 0, state, at, a.split))
        return;
    }
  }
  store_attention<Form>(state, at, a, y);
}

/// Rows of decode, which are few where those of all heads of a key head fit one warp.
constexpr int64_t kFewQueryRows = 16;

/// Where the number of queries is known at run time only: `Few` (FlashKind::decode) for few of
/// them, else `Many` (batched), in blocks of the same size. As many blocks as of the one that runs.
template <typename Many, typename Few, typename Out>
__device__ __forceinline__ void flash_any_queries(const typename Many::T *q, const typename Many::T *k,
                                                  const typename Many::T *v, Out *y, FlashArguments a) {
  static_assert(Many::kThreads == Few::kThreads && Many::kSharedBytes == Few::kSharedBytes, "one launch for both");
  if (a.shape.query_length * a.shape.heads_per_key_head <= kFewQueryRows)
    flash_attention<Few>(q, k, v, y, a);
  else
    flash_attention<Many>(q, k, v, y, a);
}

} // namespace llmopt
