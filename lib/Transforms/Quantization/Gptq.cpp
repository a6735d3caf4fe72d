// The error of one rounded input is spread over the inputs not rounded yet, by the
// rows of U, the upper Cholesky factor of the inverse of H = X^T X:
//   e = (w_i - q_i) / U_ii;   w_j -= e U_ij for j > i.
// Blocks of inputs go through memory once: within a block rank-1 updates, behind
// it one matrix product.
#include "llmopt/Transforms/Quantization/Gptq.h"

#include <algorithm>
#include <cblas.h>
#include <cmath>
#include <numeric>

extern "C" {
// LAPACK: column major, so "L" of ours is the upper triangle of a row-major matrix.
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info);
}

using namespace llmopt;

static constexpr int64_t kBlock = 128;

/// The upper Cholesky factor of the inverse of H, permuted and damped; empty where H
/// is not positive definite.
static std::vector<double> factorInverse(const std::vector<float> &gram, const std::vector<int64_t> &order,
                                         double damping) {
  auto k = static_cast<int>(order.size());
  std::vector<double> h(int64_t(k) * k);
  double trace = 0;
  for (int i = 0; i < k; ++i) {
    for (int j = i; j < k; ++j) {
      auto [a, b] = std::minmax(order[i], order[j]);
      h[int64_t(i) * k + j] = gram[a * k + b];
    }
    trace += h[int64_t(i) * k + i];
  }
  if (!(trace > 0) || !std::isfinite(trace))
    return {};
  for (int i = 0; i < k; ++i) {
    double &diagonal = h[int64_t(i) * k + i];
    if (diagonal == 0) // never active: any value is as good
      diagonal = trace / k;
    diagonal += damping * trace / k;
  }
  // Row-major upper is column-major lower: H = L L^T, then the inverse in the same triangle.
  int info = 0;
  dpotrf_("L", &k, h.data(), &k, &info);
  if (info == 0)
    dpotri_("L", &k, h.data(), &k, &info);
  if (info != 0)
    return {};
  // inverse = U^T U with U upper in row-major order: column-major lower L' = U^T, L' L'^T = inverse.
  dpotrf_("L", &k, h.data(), &k, &info);
  return info == 0 ? h : std::vector<double>();
}

std::optional<QuantizedMatrix> llmopt::solveGptq(const WeightMatrix &w, const std::vector<float> &gram,
                                                 const GptqOptions &options) {
  int64_t k = w.k, n = w.n;
  std::vector<float> energy(k);
  for (int64_t i = 0; i < k; ++i)
    energy[i] = gram[i * k + i];
  std::vector<int64_t> order(k);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return energy[a] != energy[b] ? energy[a] > energy[b] : a < b; });

  std::vector<double> u = factorInverse(gram, order, options.damping);
  if (u.empty())
    return std::nullopt;
  QuantizedMatrix m = roundToNearest(w, options.grid, energy);

  WeightMatrix rest{k, n, std::vector<float>(k * n)}; // permuted; loses what is done
  for (int64_t i = 0; i < k; ++i)
    std::copy_n(&w.values[order[i] * n], n, &rest.values[i * n]);
  std::vector<float> errors(kBlock * n), factor;
  for (int64_t first = 0; first < k; first += kBlock) {
    int64_t end = std::min(k, first + kBlock), count = end - first;
    for (int64_t i = first; i < end; ++i) {
      float *row = &rest.values[i * n], *error = &errors[(i - first) * n];
      auto diagonal = static_cast<float>(u[i * k + i]);
      for (int64_t o = 0; o < n; ++o) {
        int64_t original = order[i];
        m.q[original * n + o] = static_cast<int8_t>(m.round(row[o], original, o));
        error[o] = (row[o] - m.value(original, o)) / diagonal;
      }
      for (int64_t j = i + 1; j < end; ++j)
        cblas_saxpy(static_cast<int>(n), -static_cast<float>(u[i * k + j]), error, 1, &rest.values[j * n], 1);
    }
    if (end == k)
      break;
    // rest[end..] -= U[first..end, end..]^T errors
    int64_t behind = k - end;
    factor.resize(count * behind);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < behind; ++j)
        factor[i * behind + j] = static_cast<float>(u[(first + i) * k + end + j]);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(behind), static_cast<int>(n),
                static_cast<int>(count), -1.0f, factor.data(), static_cast<int>(behind), errors.data(),
                static_cast<int>(n), 1.0f, &rest.values[end * n], static_cast<int>(n));
  }
  return m;
}
