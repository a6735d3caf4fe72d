#include "llmopt/Transforms/Quantization/WeightMatrix.h"

#include <algorithm>
#include <cblas.h>
#include <cmath>

using namespace llmopt;

/// `q` as the integer it stands for.
static int toInt(int8_t q, bool isSigned) { return isSigned ? q : static_cast<uint8_t>(q); }

float QuantizedMatrix::value(int64_t i, int64_t o) const {
  int64_t g = i / group * n + o;
  int zero = symmetric ? 0 : toInt(zeroPoint[g], false);
  return scale[g] * static_cast<float>(toInt(q[i * n + o], symmetric) - zero);
}

int QuantizedMatrix::round(float w, int64_t i, int64_t o) const {
  int64_t g = i / group * n + o;
  float zero = symmetric ? 0.0f : static_cast<float>(toInt(zeroPoint[g], false));
  float level = std::nearbyint(w / scale[g]) + zero;
  return static_cast<int>(std::clamp(level, static_cast<float>(lowest()), static_cast<float>(highest())));
}

WeightMatrix QuantizedMatrix::dequantize() const {
  WeightMatrix w{k, n, std::vector<float>(k * n)};
  for (int64_t i = 0; i < k; ++i)
    for (int64_t o = 0; o < n; ++o)
      w.at(i, o) = value(i, o);
  return w;
}

namespace {
struct Range {
  float low = 0, high = 0;
};
} // namespace

/// Scale and zero point of one group for values in `range`, which holds zero.
static void setParameters(QuantizedMatrix &m, int64_t g, Range range) {
  if (m.symmetric) {
    float largest = std::max(-range.low, range.high);
    m.scale[g] = largest > 0 ? largest / m.highest() : 1;
    return;
  }
  float span = range.high - range.low;
  m.scale[g] = span > 0 ? span / m.highest() : 1;
  float zero = std::nearbyint(-range.low / m.scale[g]);
  m.zeroPoint[g] = static_cast<int8_t>(std::clamp(zero, 0.0f, static_cast<float>(m.highest())));
}

QuantizedMatrix llmopt::roundToNearest(const WeightMatrix &w, const GridOptions &options,
                                       const std::vector<float> &importance) {
  QuantizedMatrix m;
  m.k = w.k, m.n = w.n, m.bits = options.bits, m.symmetric = options.symmetric;
  m.group = options.group ? options.group : w.k;
  int64_t groups = w.k / m.group;
  m.q.resize(w.k * w.n);
  m.scale.resize(groups * w.n);
  m.zeroPoint.resize(m.symmetric ? 0 : groups * w.n);
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t o = 0; o < w.n; ++o) {
      int64_t first = group * m.group, end = first + m.group, g = group * w.n + o;
      Range range;
      for (int64_t i = first; i < end; ++i) {
        range.low = std::min(range.low, w.at(i, o));
        range.high = std::max(range.high, w.at(i, o));
      }
      setParameters(m, g, range);
      if (options.search) {
        double best = INFINITY;
        Range kept = range;
        for (int step = 0; step <= 12; ++step) { // from the whole range down to 0.52 of it
          float part = 1 - 0.04f * step;
          Range candidate{range.low * part, range.high * part};
          setParameters(m, g, candidate);
          double loss = 0;
          for (int64_t i = first; i < end; ++i) {
            m.q[i * w.n + o] = static_cast<int8_t>(m.round(w.at(i, o), i, o));
            double error = m.value(i, o) - w.at(i, o);
            loss += error * error * (importance.empty() ? 1 : importance[i]);
          }
          if (loss < best) {
            best = loss;
            kept = candidate;
          }
        }
        setParameters(m, g, kept);
      }
      for (int64_t i = first; i < end; ++i)
        m.q[i * w.n + o] = static_cast<int8_t>(m.round(w.at(i, o), i, o));
    }
  return m;
}

double llmopt::getOutputError(const WeightMatrix &w, const QuantizedMatrix &quantized, const std::vector<float> &gram) {
  WeightMatrix error = quantized.dequantize();
  for (size_t i = 0; i < error.values.size(); ++i)
    error.values[i] -= w.values[i];
  auto k = static_cast<int>(w.k), n = static_cast<int>(w.n);
  std::vector<float> product(error.values.size());
  cblas_ssymm(CblasRowMajor, CblasLeft, CblasUpper, k, n, 1.0f, gram.data(), k, error.values.data(), n, 0.0f,
              product.data(), n);
  double total = 0;
  for (size_t i = 0; i < product.size(); ++i)
    total += double(product[i]) * error.values[i];
  return total;
}

double llmopt::getSQNR(const WeightMatrix &w, const QuantizedMatrix &quantized) {
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < w.k; ++i)
    for (int64_t o = 0; o < w.n; ++o) {
      double x = w.at(i, o), e = quantized.value(i, o) - x;
      signal += x * x;
      noise += e * e;
    }
  return noise > 0 ? 10 * std::log10(signal / noise) : INFINITY;
}
