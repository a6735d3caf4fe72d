#include "PackWeights.h"

#include "Failure.h"

#include "llmopt/weights.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <memory>

using namespace llmopt;
using namespace llmopt::run;

namespace {

constexpr uint64_t kAlignment = 256;

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

/// Carries a recipe out.
void execute(const char *text, const CanonicalSource &canonical,
             const std::function<void(const char *, size_t)> &append) {
  Recipe recipe;
  std::string error = Recipe::parse(text, recipe);
  std::map<std::string, const Recipe::Node *> nodes;
  for (const Recipe::Node &node : recipe.nodes)
    if (node.op == Recipe::Op::Weight)
      nodes[node.name] = &node;
  RecipeSource source;
  source.get = [&](const std::string &name, std::string &problem) -> const char * {
    auto it = nodes.find(name);
    if (it != nodes.end())
      return canonical.get(name, it->second->dtype, it->second->dims);
    problem = "weight '" + name + "' is not there";
    return nullptr;
  };
  source.release = canonical.release;
  if (error.empty())
    error = executeRecipe(recipe, source, [&](const char *bytes, size_t size) {
      append(bytes, size);
      return true;
    });
  if (!error.empty())
    throw Failure{BadData, error};
}

} // namespace

void llmopt::run::packWeights(const std::string &model, const CanonicalSource &canonical, const std::string &output) {
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
    try {
      if (!weight.recipe) {
        append(canonical.get(weight.name, weight.dtype, std::vector<int64_t>(weight.dims, weight.dims + weight.rank)),
               weight.size);
        canonical.release(weight.name);
      } else {
        execute(weight.recipe, canonical, append);
      }
    } catch (const Failure &failure) {
      throw Failure{failure.code, model + ": weight '" + weight.name + "': " + failure.message};
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
