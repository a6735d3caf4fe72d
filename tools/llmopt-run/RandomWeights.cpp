#include "RandomWeights.h"

#include "Failure.h"

#include "llmopt/CodeGen/Plan/Recipe.h"
#include "llmopt/weights.h"

#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <vector>

using namespace llmopt;
using namespace llmopt::run;

namespace {

/// Of the scores of attention: large enough that few keys get most of the weight.
constexpr double kGain = 1.5;
constexpr uint64_t kAlignment = 256;

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

struct File {
  std::FILE *file;
  std::string path;
  explicit File(const std::string &path) : file(std::fopen(path.c_str(), "wb")), path(path) {
    if (!file)
      throw Failure{Environment, path + ": cannot be written: " + std::strerror(errno)};
  }
  ~File() {
    if (file)
      std::fclose(file);
  }
  void write(const void *bytes, size_t size) {
    if (size && std::fwrite(bytes, 1, size, file) != size)
      throw Failure{Environment, path + ": cannot be written: " + std::strerror(errno)};
  }
};

struct CloseLibrary {
  void operator()(void *library) const { dlclose(library); }
};

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
  std::unique_ptr<char, decltype(&std::free)> resolved(realpath(model.c_str(), nullptr), &std::free);
  if (!resolved)
    throw Failure{BadData, model + ": " + std::strerror(errno)};
  std::unique_ptr<void, CloseLibrary> library(dlopen(resolved.get(), RTLD_NOW | RTLD_LOCAL));
  void *symbol = library ? dlsym(library.get(), LLMOPT_MODEL_SYMBOL) : nullptr;
  if (!symbol)
    throw Failure{BadData, model + ": is not a compiled model"};
  llmopt_model_fn function;
  std::memcpy(&function, &symbol, sizeof(function));
  const llmopt_model_desc &desc = *function();
  if (desc.abi_version != LLMOPT_ABI_VERSION)
    throw Failure{BadData, model + ": expected ABI version " + std::to_string(LLMOPT_ABI_VERSION) + ", but got " +
                               std::to_string(desc.abi_version)};

  File file(output);
  llmopt_weights_header header = {};
  std::vector<char> zeros(kAlignment);
  file.write(zeros.data(), kAlignment); // the header's place
  llmopt_hash hash;
  llmopt_hash_begin(&hash, 0);
  uint64_t position = 0;
  auto append = [&](const char *bytes, size_t size) {
    llmopt_hash_update(&hash, bytes, size);
    file.write(bytes, size);
    position += size;
  };
  auto pad = [&](uint64_t to) {
    while (position < to)
      append(zeros.data(), size_t(to - position < kAlignment ? to - position : kAlignment));
  };
  for (uint32_t i = 0; i < desc.num_weights; ++i) {
    const llmopt_weight &weight = desc.weights[i];
    pad(weight.offset);
    uint64_t before = position;
    if (!weight.recipe) {
      std::vector<char> data =
          makeTensor(weight.name, weight.dtype, std::vector<int64_t>(weight.dims, weight.dims + weight.rank), seed);
      append(data.data(), data.size());
    } else {
      Recipe recipe;
      std::string error = Recipe::parse(weight.recipe, recipe);
      std::map<std::string, std::vector<char>> tensors;
      RecipeSource source;
      source.get = [&](const std::string &name, std::string &) -> const char * {
        for (const Recipe::Node &node : recipe.nodes)
          if (node.op == Recipe::Op::Weight && node.name == name && !tensors.count(name))
            tensors[name] = makeTensor(name, node.dtype, node.dims, seed);
        return tensors[name].data();
      };
      source.release = [&](const std::string &name) { tensors.erase(name); };
      if (error.empty())
        error = executeRecipe(recipe, source, [&](const char *bytes, size_t size) {
          append(bytes, size);
          return true;
        });
      if (!error.empty())
        throw Failure{BadData, model + ": weight '" + weight.name + "': " + error};
    }
    if (position - before != weight.size)
      throw Failure{BadData, model + ": weight '" + weight.name + "': expected " + std::to_string(weight.size) +
                                 " bytes, but its recipe gives " + std::to_string(position - before)};
  }
  pad(desc.weights_size);
  llmopt_weights_header_init(&header, desc.build_id, kAlignment, desc.weights_size, llmopt_hash_finish(&hash));
  if (std::fseek(file.file, 0, SEEK_SET) != 0)
    throw Failure{Environment, output + ": cannot be written: " + std::strerror(errno)};
  file.write(&header, sizeof(header));
  if (std::fflush(file.file) != 0)
    throw Failure{Environment, output + ": cannot be written: " + std::strerror(errno)};
}
