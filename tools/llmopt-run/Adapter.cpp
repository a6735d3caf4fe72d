#include "Adapter.h"

#include "Failure.h"
#include "Files.h"

#include "llmopt/safetensors.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <vector>

using namespace llmopt::run;

namespace {

const std::string kPrefix = "base_model.model.";

std::string quoted(const std::string &text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      result += '\\';
    result += c;
  }
  return result + '"';
}

std::string list(const std::set<std::string> &names) {
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "" : ", ") + quoted(name);
  return "[" + text + "]";
}

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// "encoder.layer.0.query" of "base_model.model.encoder.layer.0.query.lora_A.weight"
std::string moduleOf(const std::string &name, const std::string &end) {
  return name.substr(kPrefix.size(), name.size() - kPrefix.size() - end.size());
}

} // namespace

void llmopt::run::saveAdapter(const llmopt_trainer *trainer, const std::string &own, const std::string &path) {
  struct Close {
    void operator()(llmopt_tensor_file *file) const { llmopt_tensor_file_close(file); }
  };
  llmopt_error error;
  llmopt_tensor_file *opened = nullptr;
  check(llmopt_tensor_file_open(own.c_str(), &opened, &error), error);
  std::unique_ptr<llmopt_tensor_file, Close> file(opened);
  const char *alpha = llmopt_tensor_file_get_metadata(opened, "lora_alpha");
  const char *rs = llmopt_tensor_file_get_metadata(opened, "use_rslora");
  if (!alpha || !rs)
    throw Failure{Usage, "--save-adapter: expected a model that was compiled with -lora"};

  std::vector<std::string> names;
  std::vector<llmopt_stored_tensor> tensors;
  std::set<std::string> targets, saved;
  int64_t rank = 0;
  const uint32_t count = llmopt_trainer_num_parameters(trainer);
  names.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    llmopt_parameter_info p = {};
    p.struct_size = sizeof(p);
    check(llmopt_trainer_get_parameter(trainer, i, &p, &error), error);
    std::string name = p.name;
    if (endsWith(name, ".lora_A.weight")) {
      targets.insert(moduleOf(name, ".lora_A.weight"));
      rank = p.dims[0];
    } else if (!endsWith(name, ".lora_B.weight")) {
      saved.insert(name.substr(0, name.find_last_of('.')));
      name = kPrefix + name;
    }
    names.push_back(name);
    llmopt_stored_tensor tensor = {};
    tensor.name = names.back().c_str();
    tensor.type.dtype = LLMOPT_F32;
    tensor.type.rank = p.rank;
    std::memcpy(tensor.type.dims, p.dims, sizeof(tensor.type.dims));
    tensor.data = p.value;
    tensor.size = p.count * sizeof(float);
    tensors.push_back(tensor);
  }
  if (mkdir(path.c_str(), 0777) != 0 && errno != EEXIST)
    throw Failure{Environment, path + ": cannot be made: " + std::strerror(errno)};
  check(llmopt_tensor_file_write((path + "/adapter_model.safetensors").c_str(), tensors.data(), count, &error), error);
  std::string text = "{\n  \"peft_type\": \"LORA\",\n  \"task_type\": null,\n  \"base_model_name_or_path\": null,\n"
                     "  \"inference_mode\": true,\n  \"r\": " +
                     std::to_string(rank) + ",\n  \"lora_alpha\": " + alpha +
                     ",\n  \"lora_dropout\": 0.0,\n  \"use_rslora\": " + rs +
                     ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n  \"target_modules\": " + list(targets) +
                     ",\n  \"modules_to_save\": " + (saved.empty() ? "null" : list(saved)) + "\n}\n";
  PendingFile config(path + "/adapter_config.json");
  config.write(text.data(), text.size());
  config.commit();
}
