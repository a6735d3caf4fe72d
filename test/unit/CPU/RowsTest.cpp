// Normalisation, softmax and embedding lookup against plain f64 loops.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/Rows.h"

using namespace llmopt::cpu;

namespace {

class RowsTest : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(RowsTest);

std::vector<double> normReference(const std::vector<double> &s, int64_t width,
                                  bool rms, double epsilon, const float *scale,
                                  const float *bias) {
  std::vector<double> out(s.size());
  for (size_t r = 0; r < s.size(); r += width) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < width; ++i)
      mean += s[r + i] / width;
    if (rms)
      mean = 0;
    for (int64_t i = 0; i < width; ++i)
      variance += (s[r + i] - mean) * (s[r + i] - mean) / width;
    for (int64_t i = 0; i < width; ++i)
      out[r + i] = (s[r + i] - mean) / std::sqrt(variance + epsilon) *
                       (scale ? scale[i] : 1) +
                   (bias ? bias[i] : 0);
  }
  return out;
}

TEST_P(RowsTest, Norm) {
  for (int64_t width : {1, 7, 16, 65, 100, 768, 1000})
    for (int variant = 0; variant < 8; ++variant) {
      bool rms = variant & 1, residual = variant & 2, full = variant & 4;
      NormSpec spec;
      spec.name = "norm";
      spec.rows = Size::dim(0);
      spec.width = width;
      spec.rms = rms;
      spec.epsilon = 1e-5;
      spec.x = Operand(0);
      spec.out = Operand(1);
      if (residual)
        spec.residual = Operand(2);
      if (full) {
        spec.inputBias = Operand(3);
        spec.scale = Operand(4);
        spec.bias = Operand(5);
        spec.sum = Operand(6);
      }
      KernelLibrary library(target,
                            [&](KernelBuilder &kb) { emitNorm(kb, spec); });
      for (int64_t rows : {1, 3, 50}) {
        auto x = randomVector(rows * width, 1, -1, 3),
             skip = randomVector(rows * width, 2),
             inputBias = randomVector(width, 3), scale = randomVector(width, 4),
             bias = randomVector(width, 5);
        Guarded gx(x), out(std::vector<float>(rows * width, NAN)),
            sum(std::vector<float>(rows * width, NAN)), gskip(skip),
            gib(inputBias), gs(scale), gb(bias);
        runTiles(library["norm"], {gx, out, gskip, gib, gs, gb, sum}, {rows},
                 normTiles(spec));
        std::vector<double> s(rows * width);
        for (size_t i = 0; i < s.size(); ++i)
          s[i] = x[i] + (residual ? skip[i] : 0.0) +
                 (full ? inputBias[i % width] : 0.0);
        auto expected =
            normReference(s, width, rms, 1e-5, full ? scale.data() : nullptr,
                          full ? bias.data() : nullptr);
        // One value has no spread: the result is rounding noise of its mean.
        double tolerance = width == 1 && !rms ? 1e-2 : 5e-6;
        EXPECT_LT(relativeError(out.floats(), expected), tolerance)
            << width << " variant " << variant;
        if (full)
          EXPECT_LT(relativeError(sum.floats(), s), 5e-7);
      }
    }
}

TEST_P(RowsTest, Softmax) {
  for (bool logarithm : {false, true}) {
    SoftmaxSpec spec;
    spec.name = "softmax";
    spec.rows = Size::dim(0);
    spec.width = Size::dim(1);
    spec.x = Operand(0);
    spec.out = Operand(1);
    spec.scale = 0.7;
    spec.logarithm = logarithm;
    KernelLibrary library(target,
                          [&](KernelBuilder &kb) { emitSoftmax(kb, spec); });
    for (int64_t width : {1, 5, 8, 16, 17, 63, 64, 65, 130, 1000}) {
      const int64_t rows = 11;
      auto x = randomVector(rows * width, 3, -20, 20);
      for (int64_t i = 0; i < width; ++i) {
        x[2 * width + i] = -INFINITY;
        x[3 * width + i] = -3.4e38f;
        if (i % 3)
          x[4 * width + i] = -INFINITY;
        x[6 * width + i] += 1000;
      }
      x[5 * width + width / 2] = NAN;
      Guarded gx(x), out(std::vector<float>(rows * width, 7.0f));
      runTiles(library["softmax"], {gx, out}, {rows, width},
               softmaxTiles(spec));
      for (int64_t r = 0; r < rows; ++r) {
        double largest = -INFINITY, total = 0;
        std::vector<double> expected;
        for (int64_t i = 0; i < width; ++i)
          largest = std::max(largest, double(x[r * width + i] * 0.7f));
        if (r == 5)
          largest = NAN;
        for (int64_t i = 0; i < width; ++i)
          total += std::exp(x[r * width + i] * 0.7f - largest);
        for (int64_t i = 0; i < width; ++i) {
          double shifted = x[r * width + i] * 0.7f - largest;
          expected.push_back(logarithm ? shifted - std::log(total)
                                       : std::exp(shifted) / total);
        }
        EXPECT_LT(relativeError(out.floats() + r * width, expected), 2e-6)
            << "width " << width << " row " << r << " log " << logarithm;
      }
    }
  }
}

TEST_P(RowsTest, Embedding) {
  for (auto norm : {EmbeddingSpec::Norm::None, EmbeddingSpec::Norm::Layer,
                    EmbeddingSpec::Norm::Rms}) {
    const int64_t width = 100, vocabulary = 50, sequence = 9, batch = 3,
                  rows = batch * sequence;
    EmbeddingSpec spec;
    spec.name = "embed";
    spec.rows = Size::dim(0);
    spec.width = width;
    EmbeddingSpec::Table word, position, type;
    word.table = Operand(0);
    word.tableRows = vocabulary;
    word.ids = Operand(1);
    position.table = Operand(2);
    position.tableRows = 12;
    position.period = Size::dim(1);
    position.first = 2;
    type.table = Operand(3);
    type.tableRows = 2;
    type.ids = Operand(4);
    type.ids64 = false;
    spec.tables = {word, position, type};
    spec.norm = norm;
    spec.scale = Operand(5);
    spec.bias = Operand(6);
    spec.out = Operand(7);
    spec.flag = Operand(8);
    KernelLibrary library(target,
                          [&](KernelBuilder &kb) { emitEmbedding(kb, spec); });
    auto words = randomVector(vocabulary * width, 1),
         positions = randomVector(12 * width, 2),
         types = randomVector(2 * width, 3), scale = randomVector(width, 4),
         bias = randomVector(width, 5);
    std::vector<int64_t> ids(rows);
    std::vector<int32_t> typeIds(rows);
    for (int64_t r = 0; r < rows; ++r) {
      ids[r] = r % 7 == 3 ? -1 - r : (r * 11) % vocabulary;
      typeIds[r] = r % 2;
    }
    for (bool outOfRange : {false, true}) {
      if (outOfRange) {
        ids[4] = vocabulary;
        ids[5] = INT64_MAX;
        ids[6] = INT64_MIN;
        typeIds[7] = -3;
      }
      int32_t flag = 0;
      Guarded gw(words), gp(positions), gt(types), gids(ids),
          out(std::vector<float>(rows * width, NAN));
      runTiles(library["embed"],
               {gw, gids, gp, gt, typeIds.data(), scale.data(), bias.data(),
                out, &flag},
               {rows, sequence}, embeddingTiles(spec));
      EXPECT_EQ(flag, outOfRange);
      std::vector<double> s(rows * width);
      auto clamp = [](int64_t id, int64_t n) {
        id = id < 0 ? id + n : id;
        return std::max<int64_t>(0, std::min(id, n - 1));
      };
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < width; ++i)
          s[r * width + i] =
              (double)words[clamp(ids[r], vocabulary) * width + i] +
              positions[(r % sequence + 2) * width + i] +
              types[clamp(typeIds[r], 2) * width + i];
      auto expected =
          norm == EmbeddingSpec::Norm::None
              ? s
              : normReference(s, width, norm == EmbeddingSpec::Norm::Rms,
                              spec.epsilon, scale.data(), bias.data());
      EXPECT_LT(relativeError(out.floats(), expected), 5e-6);
    }
  }
}

} // namespace
