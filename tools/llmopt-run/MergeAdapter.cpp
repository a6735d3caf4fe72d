#include "MergeAdapter.h"

#include "Failure.h"

#include "llmopt/safetensors.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

using namespace llmopt::run;

namespace {

struct Close {
  void operator()(llmopt_tensor_file *file) const { llmopt_tensor_file_close(file); }
};
using TensorFile = std::unique_ptr<llmopt_tensor_file, Close>;

const std::string kPrefix = "base_model.model.";

TensorFile open(const std::string &path) {
  llmopt_tensor_file *file = nullptr;
  llmopt_error error;
  check(llmopt_tensor_file_open(path.c_str(), &file, &error), error);
  return TensorFile(file);
}

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// As its module has it.
struct Tensor {
  llmopt_tensor_type type;
  std::vector<char> bytes;
};

Tensor readTensor(const llmopt_stored_tensor &stored) {
  Tensor tensor{stored.type, std::vector<char>(stored.size)};
  const char *from = static_cast<const char *>(stored.data);
  if (!stored.transposed) {
    std::memcpy(tensor.bytes.data(), from, stored.size);
    return tensor;
  }
  const uint64_t rows = uint64_t(stored.type.dims[0]), columns = uint64_t(stored.type.dims[1]);
  const uint64_t bytes = llmopt_dtype_size(stored.type.dtype);
  for (uint64_t r = 0; r < rows; ++r)
    for (uint64_t c = 0; c < columns; ++c)
      std::memcpy(&tensor.bytes[(c * rows + r) * bytes], from + (r * columns + c) * bytes, bytes);
  std::swap(tensor.type.dims[0], tensor.type.dims[1]);
  return tensor;
}

class Merger {
public:
  explicit Merger(const std::string &own) : ownFile(open(own)) {
    llmopt_error error;
    for (uint32_t i = 0; i < llmopt_tensor_file_size(ownFile.get()); ++i) {
      llmopt_stored_tensor stored;
      check(llmopt_tensor_file_get(ownFile.get(), i, &stored, &error), error);
      moduleOf[stored.name] = stored;
      tensors[stored.module_name] = readTensor(stored);
    }
    const char *alphaText = llmopt_tensor_file_get_metadata(ownFile.get(), "lora_alpha");
    const char *rs = llmopt_tensor_file_get_metadata(ownFile.get(), "use_rslora");
    if (!alphaText || !rs)
      throw Failure{Usage, "--merge and --unmerge: expected a model that was compiled with -lora"};
    alpha = std::strtod(alphaText, nullptr);
    isRankStabilized = std::strcmp(rs, "true") == 0;
  }

  /// Tensors of another file take the places of those that are there.
  void overlay(const std::string &path) {
    if (path.empty())
      return;
    TensorFile file = open(path);
    llmopt_error error;
    size_t found = 0;
    for (uint32_t i = 0; i < llmopt_tensor_file_size(file.get()); ++i) {
      llmopt_stored_tensor stored;
      check(llmopt_tensor_file_get(file.get(), i, &stored, &error), error);
      std::string name = stored.name;
      if (auto own = moduleOf.find(name); own != moduleOf.end()) { // named and laid out as in ONNX
        stored.transposed = own->second.transposed;
        name = own->second.module_name;
      } else if (!tensors.count(name) && name.compare(0, kPrefix.size(), kPrefix) == 0) {
        name = name.substr(kPrefix.size());
      }
      auto place = tensors.find(name);
      if (place == tensors.end())
        continue;
      Tensor tensor = readTensor(stored);
      if (tensor.type.dtype != place->second.type.dtype || tensor.bytes.size() != place->second.bytes.size())
        throw Failure{BadData, "'" + name + "' of " + path + " has another type or shape"};
      place->second = std::move(tensor);
      ++found;
    }
    if (found == 0)
      throw Failure{BadData, path + " has none of the model's weights"};
  }

  void write(double sign, const std::string &output) {
    for (auto &[name, a] : tensors) {
      const std::string end = ".lora_A.weight";
      if (endsWith(name, end))
        add(name.substr(0, name.size() - end.size()), a, sign);
    }
    std::vector<llmopt_stored_tensor> list;
    for (auto &[name, tensor] : tensors) {
      if (endsWith(name, ".lora_A.weight") || endsWith(name, ".lora_B.weight"))
        continue;
      llmopt_stored_tensor stored = {};
      stored.name = name.c_str();
      stored.type = tensor.type;
      stored.data = tensor.bytes.data();
      stored.size = tensor.bytes.size();
      list.push_back(stored);
    }
    llmopt_error error;
    check(llmopt_tensor_file_write(output.c_str(), list.data(), uint32_t(list.size()), &error), error);
  }

private:
  /// weight += sign s B A
  void add(const std::string &layer, const Tensor &a, double sign) {
    auto b = tensors.find(layer + ".lora_B.weight");
    const std::string module = layer.compare(0, kPrefix.size(), kPrefix) == 0 ? layer.substr(kPrefix.size()) : layer;
    auto weight = tensors.find(module + ".weight");
    if (b == tensors.end() || weight == tensors.end() || weight->second.type.dtype != LLMOPT_F32)
      throw Failure{BadData, "the adapter of '" + module + "' has no f32 weight to go into"};
    const int64_t rank = a.type.dims[0], in = a.type.dims[1], out = b->second.type.dims[0];
    const bool isTurned = weight->second.type.dims[0] == in && weight->second.type.dims[1] == out && in != out;
    if (!isTurned && (weight->second.type.dims[0] != out || weight->second.type.dims[1] != in))
      throw Failure{BadData, "the adapter of '" + module + "' has another shape than its weight"};
    const double scale = sign * alpha / (isRankStabilized ? std::sqrt(double(rank)) : double(rank));
    const auto *down = reinterpret_cast<const float *>(a.bytes.data());
    const auto *up = reinterpret_cast<const float *>(b->second.bytes.data());
    auto *w = reinterpret_cast<float *>(weight->second.bytes.data());
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < in; ++i) {
        double sum = 0;
        for (int64_t r = 0; r < rank; ++r)
          sum += double(up[o * rank + r]) * double(down[r * in + i]);
        float &element = w[isTurned ? i * out + o : o * in + i];
        element = float(double(element) + scale * sum);
      }
  }

  TensorFile ownFile;
  std::map<std::string, llmopt_stored_tensor> moduleOf; ///< by ONNX name
  std::map<std::string, Tensor> tensors;                ///< by the names of modules
  double alpha = 0;
  bool isRankStabilized = false;
};

} // namespace

void llmopt::run::mergeAdapter(const std::string &own, const std::string &weights, const std::string &adapter,
                               bool isRemoved, const std::string &output) {
  Merger merger(own);
  merger.overlay(weights);
  merger.overlay(adapter);
  merger.write(isRemoved ? -1 : 1, output);
}
