#include "llmopt/Transforms/Quantization/Statistics.h"

#include <algorithm>
#include <cblas.h>
#include <cmath>

using namespace llmopt;

/// Rows that one update of a Gram matrix takes: enough for BLAS, little memory.
static constexpr int64_t kPendingRows = 256;

ActivationStatistics::ActivationStatistics(int64_t width, const StatisticsOptions &options)
    : width(width), absMax(width), sum(width), sumAbs(width), sumSquares(width), options(options) {
  if (options.gram)
    gram.resize(width * width);
}

void ActivationStatistics::flush() {
  if (pending.empty())
    return;
  auto k = static_cast<int>(width), count = static_cast<int>(pending.size() / width);
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, k, count, 1.0f, pending.data(), k, 1.0f, gram.data(), k);
  pending.clear();
}

void ActivationStatistics::add(const float *x, int64_t count, const std::vector<bool> *keep) {
  for (int64_t r = 0; r < count; ++r, x += width) {
    if (keep && !(*keep)[r])
      continue;
    bool finite = true;
    for (int64_t i = 0; i < width; ++i)
      finite &= std::isfinite(x[i]);
    if (!finite) {
      for (int64_t i = 0; i < width; ++i)
        notFinite += !std::isfinite(x[i]);
      continue;
    }
    for (int64_t i = 0; i < width; ++i) {
      float a = std::fabs(x[i]);
      absMax[i] = std::max(absMax[i], a);
      sum[i] += x[i];
      sumAbs[i] += a;
      sumSquares[i] += double(a) * a;
      batchMax = std::max(batchMax, double(a));
    }
    histogram.add(x, width);
    if (options.gram) {
      pending.insert(pending.end(), x, x + width);
      if (static_cast<int64_t>(pending.size()) >= kPendingRows * width)
        flush();
    }
    if (options.sampleRows && rows % sampleStride == 0) {
      sample.insert(sample.end(), x, x + width);
      if (static_cast<int64_t>(sample.size()) >= 2 * options.sampleRows * width)
        thinSample();
    }
    ++rows;
  }
}

/// Keeps every second row, and from now on takes half as many.
void ActivationStatistics::thinSample() {
  int64_t count = sample.size() / width;
  for (int64_t r = 1; 2 * r < count; ++r)
    std::copy_n(sample.begin() + 2 * r * width, width, sample.begin() + r * width);
  sample.resize((count + 1) / 2 * width);
  sampleStride *= 2;
}

void ActivationStatistics::endBatch() {
  flush();
  average = hasBatches ? average + 0.01 * (batchMax - average) : batchMax;
  hasBatches = true;
  batchMax = 0;
}

double ActivationStatistics::getAbsMax() const {
  return absMax.empty() ? 0 : *std::max_element(absMax.begin(), absMax.end());
}

std::vector<float> ActivationStatistics::getMean() const {
  std::vector<float> mean(width);
  for (int64_t i = 0; i < width; ++i)
    mean[i] = static_cast<float>(sum[i] / std::max<int64_t>(1, rows));
  return mean;
}

std::string llmopt::getLinearAlgebraName() {
  return std::string(openblas_get_config()) + " " + openblas_get_corename();
}
