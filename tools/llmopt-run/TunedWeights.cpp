#include "TunedWeights.h"

#include "Failure.h"
#include "PackWeights.h"

#include "llmopt/safetensors.h"

#include <cstring>
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

static std::map<std::string, llmopt_stored_tensor> list(const llmopt_tensor_file *file) {
  std::map<std::string, llmopt_stored_tensor> tensors;
  llmopt_error error;
  for (uint32_t i = 0; i < llmopt_tensor_file_size(file); ++i) {
    llmopt_stored_tensor tensor;
    check(llmopt_tensor_file_get(file, i, &tensor, &error), error);
    tensors[tensor.name] = tensor;
  }
  return tensors;
}

static void transpose(const llmopt_stored_tensor &matrix, std::vector<char> &result) {
  const uint64_t rows = uint64_t(matrix.type.dims[0]), columns = uint64_t(matrix.type.dims[1]);
  const uint64_t bytes = llmopt_dtype_size(matrix.type.dtype);
  const char *from = static_cast<const char *>(matrix.data);
  result.resize(size_t(rows * columns * bytes));
  for (uint64_t r = 0; r < rows; ++r)
    for (uint64_t c = 0; c < columns; ++c)
      std::memcpy(&result[(c * rows + r) * bytes], from + (r * columns + c) * bytes, bytes);
}

void llmopt::run::writeTunedWeights(const std::string &model, const std::string &tensors, const std::string &output) {
  struct Close {
    void operator()(llmopt_tensor_file *file) const { llmopt_tensor_file_close(file); }
  };
  llmopt_tensor_file *opened = nullptr;
  llmopt_error error;
  check(llmopt_tensor_file_open(tensors.c_str(), &opened, &error), error);
  std::unique_ptr<llmopt_tensor_file, Close> file(opened);
  std::map<std::string, llmopt_stored_tensor> stored = list(opened);
  // The model's own file knows how its modules call weights that an exporter renamed.
  llmopt_tensor_file *own = nullptr;
  std::string beside = model.substr(0, model.find_last_of('.')) + ".safetensors";
  std::map<std::string, llmopt_stored_tensor> modules;
  if (llmopt_tensor_file_open(beside.c_str(), &own, &error) == LLMOPT_OK)
    modules = list(own);
  std::unique_ptr<llmopt_tensor_file, Close> ownFile(own);
  std::vector<char> turned;
  size_t found = 0;
  CanonicalSource source;
  source.get = [&](const std::string &name, uint32_t dtype, const std::vector<int64_t> &dims) -> const char * {
    auto it = stored.find(name);
    if (auto module = modules.find(name); it == stored.end() && module != modules.end()) {
      it = stored.find(module->second.module_name);
      if (it == stored.end()) // in an adapter of PEFT
        it = stored.find(std::string("base_model.model.") + module->second.module_name);
      if (it == stored.end()) // an adapter has some only
        it = module;
      else
        ++found;
      if (it != module && it != stored.end() && module->second.transposed) {
        const llmopt_tensor_type &type = it->second.type;
        if (type.dtype != dtype || type.rank != 2 || dims.size() != 2 || type.dims[0] != dims[1] ||
            type.dims[1] != dims[0])
          throw Failure{BadData, "'" + it->first + "' of " + tensors + " has another type or shape"};
        transpose(it->second, turned);
        return turned.data();
      }
    } else if (it != stored.end())
      ++found;
    if (it == stored.end())
      throw Failure{BadData, tensors + " has no tensor '" + name + "'"};
    const llmopt_tensor_type &type = it->second.type;
    if (!canBe(type.dtype, dtype) || std::vector<int64_t>(type.dims, type.dims + type.rank) != dims)
      throw Failure{BadData, "'" + name + "' of " + tensors + " has another type or shape"};
    return static_cast<const char *>(it->second.data);
  };
  source.release = [](const std::string &) {};
  packWeights(model, source, output);
  if (found == 0)
    throw Failure{BadData, tensors + " has none of the model's weights"};
}
