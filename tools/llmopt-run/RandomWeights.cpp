#include "RandomWeights.h"

#include "Failure.h"
#include "PackWeights.h"

#include "llmopt/weights.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

using namespace llmopt;
using namespace llmopt::run;

namespace {

/// Of the scores of attention: large enough that few keys get most of the weight.
constexpr double kGain = 1.5;

uint64_t mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

bool contains(const std::string &name, const char *part) { return name.find(part) != std::string::npos; }

/// The range that elements of a float tensor are drawn from.
std::pair<double, double> rangeOf(const std::string &name, const std::vector<int64_t> &dims) {
  if (contains(name, "scale"))
    return {0.005, 0.02};
  if (dims.size() >= 2 && dims[0] > 1 && dims[1] > 1) {
    double fan = double(dims[0] < dims[1] ? dims[0] : dims[1]);
    double limit = kGain * std::sqrt(3.0 / fan);
    return {-limit, limit};
  }
  if (contains(name, "bias") || contains(name, "beta"))
    return {-0.1, 0.1};
  return {0.75, 1.25};
}

uint16_t toHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  int exponent = int(bits >> 23 & 0xff) - 127 + 15;
  uint32_t sign = bits >> 16 & 0x8000;
  return exponent <= 0 ? uint16_t(sign) : uint16_t(sign | uint32_t(exponent) << 10 | (bits >> 13 & 0x3ff));
}

/// A canonical tensor: each element follows from the seed, the name and its index.
std::vector<char> makeTensor(const std::string &name, uint32_t dtype, const std::vector<int64_t> &dims, uint64_t seed) {
  uint64_t bytes = getDTypeBytes(dtype), count = 1;
  for (int64_t d : dims)
    count *= uint64_t(d);
  uint64_t key = mix(seed ^ llmopt_hash_bytes(name.data(), name.size(), 0));
  auto [low, high] = rangeOf(name, dims);
  std::vector<char> data(size_t(count * bytes));
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t bits = mix(key + i);
    double unit = double(bits >> 11) * 0x1p-53, value = low + (high - low) * unit;
    char *to = data.data() + i * bytes;
    float single = float(value);
    uint32_t singleBits;
    std::memcpy(&singleBits, &single, 4);
    uint16_t half = dtype == LLMOPT_F16 ? toHalf(single) : uint16_t(singleBits >> 16);
    bool isZeroPoint = contains(name, "zero_point");
    switch (dtype) {
    case LLMOPT_F32:
      std::memcpy(to, &single, 4);
      break;
    case LLMOPT_F64:
      std::memcpy(to, &value, 8);
      break;
    case LLMOPT_F16:
    case LLMOPT_BF16:
      std::memcpy(to, &half, 2);
      break;
    case LLMOPT_I8:
      *to = isZeroPoint ? 0 : char(int(bits % 255) - 127);
      break;
    case LLMOPT_U8:
      *to = isZeroPoint ? char(128) : char(bits % 256);
      break;
    case LLMOPT_I4:
      *to = isZeroPoint ? 0 : char(int(bits % 15) - 7);
      break;
    case LLMOPT_U4:
      *to = isZeroPoint ? 8 : char(bits % 16);
      break;
    case LLMOPT_BOOL:
      *to = char(bits % 2);
      break;
    default: // indices and sizes: 0 is one of every table
      std::memset(to, 0, bytes);
    }
  }
  return data;
}

} // namespace

bool llmopt::run::parseRandomWeights(const std::string &text, uint64_t &seed) {
  const std::string prefix = "random:";
  if (text.compare(0, prefix.size(), prefix) != 0)
    return false;
  char *end = nullptr;
  errno = 0;
  seed = std::strtoull(text.c_str() + prefix.size(), &end, 10);
  if (text.size() == prefix.size() || text[prefix.size()] < '0' || text[prefix.size()] > '9' || *end || errno)
    throw Failure{Usage, "--weights: expected random:<seed>, but got '" + text + "'"};
  return true;
}

void llmopt::run::writeRandomWeights(const std::string &model, uint64_t seed, const std::string &output) {
  std::map<std::string, std::vector<char>> tensors;
  CanonicalSource source;
  source.get = [&](const std::string &name, uint32_t dtype, const std::vector<int64_t> &dims) -> const char * {
    auto [it, isNew] = tensors.try_emplace(name);
    if (isNew)
      it->second = makeTensor(name, dtype, dims, seed);
    return it->second.data();
  };
  source.release = [&](const std::string &name) { tensors.erase(name); };
  packWeights(model, source, output);
}
