#include "TunedWeights.h"

#include "Failure.h"
#include "PackWeights.h"

#include "llmopt/safetensors.h"

#include <map>
#include <memory>

using namespace llmopt::run;

bool llmopt::run::isSafetensors(const std::string &path) {
  const std::string extension = ".safetensors";
  return path.size() > extension.size() &&
         path.compare(path.size() - extension.size(), extension.size(), extension) == 0;
}

/// Files hold elements of less than a byte as bytes.
static bool canBe(uint32_t stored, uint32_t wanted) {
  if (stored == wanted)
    return true;
  return (stored == LLMOPT_I8 && (wanted == LLMOPT_I4 || wanted == LLMOPT_I2)) ||
         (stored == LLMOPT_U8 && wanted >= LLMOPT_I4);
}

void llmopt::run::writeTunedWeights(const std::string &model, const std::string &tensors, const std::string &output) {
  struct Close {
    void operator()(llmopt_tensor_file *file) const { llmopt_tensor_file_close(file); }
  };
  llmopt_tensor_file *opened = nullptr;
  llmopt_error error;
  check(llmopt_tensor_file_open(tensors.c_str(), &opened, &error), error);
  std::unique_ptr<llmopt_tensor_file, Close> file(opened);
  std::map<std::string, llmopt_stored_tensor> stored;
  for (uint32_t i = 0; i < llmopt_tensor_file_size(opened); ++i) {
    llmopt_stored_tensor tensor;
    check(llmopt_tensor_file_get(opened, i, &tensor, &error), error);
    stored[tensor.name] = tensor;
  }
  CanonicalSource source;
  source.get = [&](const std::string &name, uint32_t dtype, const std::vector<int64_t> &dims) -> const char * {
    auto it = stored.find(name);
    if (it == stored.end())
      throw Failure{BadData, tensors + " has no tensor '" + name + "'"};
    const llmopt_tensor_type &type = it->second.type;
    if (!canBe(type.dtype, dtype) || std::vector<int64_t>(type.dims, type.dims + type.rank) != dims)
      throw Failure{BadData, "'" + name + "' of " + tensors + " has another type or shape"};
    return static_cast<const char *>(it->second.data);
  };
  source.release = [](const std::string &) {};
  packWeights(model, source, output);
}
