#include "llmopt/Transforms/Quantization/Awq.h"

#include <algorithm>
#include <cblas.h>
#include <cmath>

using namespace llmopt;

WeightMatrix llmopt::scaleInputs(const WeightMatrix &w, const InputScales &scales) {
  WeightMatrix scaled = w;
  for (int64_t i = 0; i < w.k; ++i)
    for (int64_t o = 0; o < w.n; ++o)
      scaled.at(i, o) *= scales[i];
  return scaled;
}

double llmopt::getSampleError(const WeightMatrix &w, const QuantizedMatrix &quantized, const InputScales &scales,
                              const ActivationStatistics &statistics) {
  auto rows = static_cast<int>(statistics.sample.size() / w.k), k = static_cast<int>(w.k), n = static_cast<int>(w.n);
  WeightMatrix error = quantized.dequantize();
  for (int64_t i = 0; i < w.k; ++i)
    for (int64_t o = 0; o < w.n; ++o)
      error.at(i, o) = error.at(i, o) / scales[i] - w.at(i, o);
  std::vector<float> outputs(int64_t(rows) * n);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, n, k, 1.0f, statistics.sample.data(), k,
              error.values.data(), n, 0.0f, outputs.data(), n);
  double total = 0;
  for (float e : outputs)
    total += double(e) * e;
  return total;
}

/// mean over outputs of |w_j| / (the largest |w| of its group and output).
static std::vector<double> getRelativeMagnitudes(const WeightMatrix &w, int64_t group) {
  std::vector<double> result(w.k);
  std::vector<float> largest(w.n);
  for (int64_t first = 0; first < w.k; first += group) {
    std::fill(largest.begin(), largest.end(), 0.0f);
    for (int64_t i = first; i < first + group; ++i)
      for (int64_t o = 0; o < w.n; ++o)
        largest[o] = std::max(largest[o], std::fabs(w.at(i, o)));
    for (int64_t i = first; i < first + group; ++i) {
      for (int64_t o = 0; o < w.n; ++o)
        result[i] += largest[o] > 0 ? std::fabs(w.at(i, o)) / largest[o] : 0;
      result[i] /= static_cast<double>(w.n);
    }
  }
  return result;
}

InputScales llmopt::searchAwqScales(llvm::ArrayRef<const WeightMatrix *> weights,
                                    const ActivationStatistics &statistics, const GridOptions &grid) {
  int64_t k = weights.front()->k;
  std::vector<double> weightSize(k);
  for (const WeightMatrix *w : weights) {
    std::vector<double> part = getRelativeMagnitudes(*w, grid.group ? grid.group : k);
    for (int64_t i = 0; i < k; ++i)
      weightSize[i] += part[i] / static_cast<double>(weights.size());
  }
  double rows = static_cast<double>(std::max<int64_t>(1, statistics.rows));
  auto errorOf = [&](const InputScales &scales) {
    double total = 0;
    for (const WeightMatrix *w : weights)
      total += getSampleError(*w, roundToNearest(scaleInputs(*w, scales), grid), scales, statistics);
    return total;
  };
  InputScales best(k, 1.0f), scales(k);
  double least = errorOf(best);
  for (int step = 0; step < 20; ++step) {
    double alpha = step / 20.0, smallest = INFINITY, largest = 0;
    for (int64_t i = 0; i < k; ++i) {
      double s = std::pow(statistics.sumAbs[i] / rows, alpha) / (std::pow(weightSize[i], 1 - alpha) + 1e-4);
      s = std::max(s, 1e-4);
      scales[i] = static_cast<float>(s);
      smallest = std::min(smallest, s);
      largest = std::max(largest, s);
    }
    for (float &s : scales)
      s = static_cast<float>(s / std::sqrt(smallest * largest));
    double error = errorOf(scales);
    if (error < least) {
      least = error;
      best = scales;
    }
  }
  return best;
}

InputScales llmopt::getSmoothQuantScales(llvm::ArrayRef<const WeightMatrix *> weights,
                                         const ActivationStatistics &statistics, double alpha) {
  int64_t k = weights.front()->k;
  InputScales scales(k, 1.0f);
  for (int64_t i = 0; i < k; ++i) {
    float largest = 0;
    for (const WeightMatrix *w : weights)
      for (int64_t o = 0; o < w->n; ++o)
        largest = std::max(largest, std::fabs(w->at(i, o)));
    if (statistics.absMax[i] > 0 && largest > 0)
      scales[i] =
          static_cast<float>(std::max(1e-5, std::pow(statistics.absMax[i], alpha) / std::pow(largest, 1 - alpha)));
  }
  return scales;
}
