#include "llmopt/Transforms/Quantization/Histogram.h"

#include <cmath>
#include <numeric>

using namespace llmopt;

double Histogram::getWidth() const { return std::ldexp(1.0, exponent); }

uint64_t Histogram::getTotal() const { return std::accumulate(counts.begin(), counts.end(), uint64_t(0)); }

void Histogram::widenTo(int newExponent) {
  int shift = newExponent - exponent;
  if (shift <= 0)
    return;
  exponent = newExponent;
  for (int i = 0; i < numBins; ++i) {
    uint64_t count = counts[i];
    counts[i] = 0;
    counts[shift < 31 ? i >> shift : 0] += count;
  }
}

void Histogram::add(float x) { add(&x, 1); }

void Histogram::add(const float *x, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    float a = std::fabs(x[i]);
    largest = a > largest && std::isfinite(a) ? a : largest;
  }
  // The least width with largest < numBins * width.
  if (largest > 0)
    widenTo(std::ilogb(largest) + 1 - std::ilogb(static_cast<double>(numBins)));
  double perBin = std::ldexp(1.0, -exponent);
  for (int64_t i = 0; i < count; ++i) {
    float a = std::fabs(x[i]);
    if (std::isfinite(a))
      ++counts[static_cast<int>(a * perBin)];
  }
}

void Histogram::merge(const Histogram &other) {
  Histogram copy = other;
  widenTo(other.exponent);
  copy.widenTo(exponent);
  for (int i = 0; i < numBins; ++i)
    counts[i] += copy.counts[i];
}
