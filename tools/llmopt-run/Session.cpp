#include "Session.h"

#include "Npz.h"
#include "RandomWeights.h"
#include "TunedWeights.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <unistd.h>

using namespace llmopt::run;

const char *const llmopt::run::syntheticText =
    "synthetic: integers 1 (token types 0), booleans true, floats uniform in [-1, 1)";

Model llmopt::run::loadModel(const Options &options) {
  llmopt_load_options load = {};
  load.struct_size = sizeof(load);
  load.weights_path = options.weights.empty() ? nullptr : options.weights.c_str();
  load.load_mode = options.copyWeights ? LLMOPT_LOAD_COPY : LLMOPT_LOAD_MAP;
  load.check_hash = options.check;
  llmopt_model *model = nullptr;
  llmopt_error error;
  uint64_t seed = 0;
  std::string made;
  const bool isRandom = parseRandomWeights(options.weights, seed), isTuned = isSafetensors(options.weights);
  if (isRandom || isTuned) {
    // A file without a name as soon as it is mapped.
    const char *folder = getenv("TMPDIR");
    made = std::string(folder && *folder ? folder : "/tmp") + "/llmopt-weights-XXXXXX";
    int descriptor = mkstemp(&made[0]);
    if (descriptor < 0)
      throw Failure{Environment, made + ": cannot be created: " + strerror(errno)};
    close(descriptor);
    try {
      if (isRandom)
        writeRandomWeights(options.model, seed, made);
      else
        writeTunedWeights(options.model, options.weights, made);
    } catch (...) {
      unlink(made.c_str());
      throw;
    }
    load.weights_path = made.c_str();
  }
  llmopt_status status = llmopt_model_load(options.model.c_str(), &load, &model, &error);
  if (!made.empty())
    unlink(made.c_str());
  check(status, error);
  return Model(model);
}

llmopt_model_info llmopt::run::infoOf(const llmopt_model *model) {
  llmopt_model_info info = {};
  info.struct_size = sizeof(info);
  llmopt_error error;
  check(llmopt_model_get_info(model, &info, &error), error);
  return info;
}

static std::string formatted(const std::function<size_t(char *, size_t)> &format) {
  std::string text(format(nullptr, 0) + 1, '\0');
  format(&text[0], text.size());
  text.pop_back();
  return text;
}

std::string llmopt::run::inputText(const llmopt_model *model, uint32_t index) {
  return formatted(
      [&](char *text, size_t capacity) { return llmopt_model_format_input(model, index, text, capacity); });
}

std::string llmopt::run::outputText(const llmopt_model *model, uint32_t index) {
  return formatted(
      [&](char *text, size_t capacity) { return llmopt_model_format_output(model, index, text, capacity); });
}

static std::string inputName(const llmopt_model *model, uint32_t index) {
  const char *name = nullptr;
  llmopt_error error;
  check(llmopt_model_get_input(model, index, &name, nullptr, &error), error);
  return name;
}

/// "'a', 'b'"
static std::string quoted(const std::vector<std::string> &names) {
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "'" : ", '") + name + "'";
  return text.empty() ? "none" : text;
}

static std::vector<std::string> inputNames(const llmopt_model *model) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < infoOf(model).num_inputs; ++i)
    names.push_back(inputName(model, i));
  return names;
}

/// Files have no types for elements of less than a byte and small floats: these
/// are bytes there.
static void adoptNarrowType(const llmopt_model *model, uint32_t index, Tensor &tensor) {
  llmopt_tensor_type type;
  llmopt_error error;
  check(llmopt_model_get_input(model, index, nullptr, &type, &error), error);
  bool isByte = tensor.type.dtype == LLMOPT_I8 || tensor.type.dtype == LLMOPT_U8;
  if (isByte && type.dtype >= LLMOPT_I4)
    tensor.type.dtype = type.dtype;
}

std::vector<Tensor> llmopt::run::readFiles(const llmopt_model *model, const Options &options) {
  auto endsWith = [](const std::string &s, const char *end) {
    size_t n = strlen(end);
    return s.size() >= n && s.compare(s.size() - n, n, end) == 0;
  };
  std::vector<std::string> names = inputNames(model);
  std::vector<Tensor> given;
  for (const std::string &argument : options.inputs) {
    if (!endsWith(argument, ".npy")) {
      for (Tensor &tensor : readNpz(argument))
        given.push_back(std::move(tensor));
      continue;
    }
    size_t equals = argument.find('=');
    std::string name, path = argument;
    if (equals != std::string::npos) {
      name = argument.substr(0, equals);
      path = argument.substr(equals + 1);
    } else if (names.size() == 1) {
      name = names[0];
    } else {
      throw Failure{Usage, "--input " + argument +
                               ": expected NAME=FILE.npy, as the model has "
                               "the inputs " +
                               quoted(names)};
    }
    if (llmopt_model_find_input(model, name.c_str()) == LLMOPT_NONE)
      throw Failure{BadData, "--input " + argument + ": expected one of the inputs " + quoted(names) + ", but got '" +
                                 name + "'"};
    given.push_back(readNpyFile(path, name));
  }
  return given;
}

std::vector<Tensor> llmopt::run::readInputs(const llmopt_model *model, const Options &options) {
  std::vector<std::string> names = inputNames(model);
  std::vector<Tensor> given = readFiles(model, options), inputs;
  for (uint32_t i = 0; i < names.size(); ++i) {
    Tensor *found = nullptr;
    std::vector<std::string> present;
    for (Tensor &tensor : given) {
      present.push_back(tensor.name);
      if (tensor.name != names[i])
        continue;
      if (found)
        throw Failure{BadData, "input '" + names[i] + "' is given twice"};
      found = &tensor;
    }
    if (!found)
      throw Failure{BadData, "input '" + names[i] + "': expected " + inputText(model, i) +
                                 ", but the files have only " + quoted(present)};
    adoptNarrowType(model, i, *found);
    inputs.push_back(std::move(*found));
    found->name = names[i]; // keeps the list of what is present whole
  }
  return inputs;
}

std::vector<llmopt_tensor_type> llmopt::run::typesForShape(const llmopt_model *model, const Options &options) {
  llmopt_model_info info = infoOf(model);
  std::vector<std::string> symbols;
  for (uint32_t s = 0; s < info.num_symbols; ++s)
    symbols.push_back(llmopt_model_get_symbol(model, s));
  std::vector<int64_t> values(symbols.size(), -1);
  for (const auto &[name, value] : options.shape) {
    size_t s = 0;
    while (s < symbols.size() && symbols[s] != name)
      ++s;
    if (s == symbols.size())
      throw Failure{Usage, "--shape: expected values for " + quoted(symbols) + ", but got '" + name + "'"};
    values[s] = value;
  }
  for (size_t s = 0; s < symbols.size(); ++s)
    if (values[s] < 0) {
      std::string example;
      for (const std::string &symbol : symbols)
        example += (example.empty() ? "" : ",") + symbol + "=N";
      throw Failure{Usage, "the size '" + symbols[s] + "' is open: expected --input, or --shape " + example};
    }
  std::vector<llmopt_tensor_type> types(info.num_inputs);
  llmopt_error error;
  for (uint32_t i = 0; i < info.num_inputs; ++i)
    check(llmopt_model_evaluate_input(model, values.data(), values.size(), i, &types[i], &error), error);
  return types;
}

/// Uniform in [-1, 1), the same on every machine (splitmix64).
static double nextUniform(uint64_t &state) {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return double(z >> 11) * 0x1p-52 - 1;
}

/// Half precision of a value in [-1, 1), cut, subnormals as zero.
static uint16_t toHalf(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  int exponent = int(bits >> 23 & 0xFF) - 127 + 15;
  if (exponent <= 0)
    return uint16_t(bits >> 16 & 0x8000);
  return uint16_t((bits >> 16 & 0x8000) | unsigned(exponent) << 10 | (bits >> 13 & 0x3FF));
}

template <typename T> static void fillInteger(Tensor &tensor, T value) {
  T *data = reinterpret_cast<T *>(tensor.data());
  for (uint64_t i = 0; i < tensor.elements(); ++i)
    data[i] = value;
}

template <typename T, typename Convert> static void fillUniform(Tensor &tensor, uint64_t seed, const Convert &convert) {
  T *data = reinterpret_cast<T *>(tensor.data());
  for (uint64_t i = 0; i < tensor.elements(); ++i)
    data[i] = convert(nextUniform(seed));
}

std::vector<Tensor> llmopt::run::syntheticInputs(const llmopt_model *model, const Options &options) {
  std::vector<llmopt_tensor_type> types = typesForShape(model, options);
  std::vector<Tensor> inputs;
  for (uint32_t i = 0; i < types.size(); ++i) {
    inputs.emplace_back(inputName(model, i), types[i]);
    Tensor &tensor = inputs.back();
    // Ones are token ids of every vocabulary, and a mask that masks nothing: the
    // full work. Not every model has a second token type.
    uint8_t value = tensor.name.find("type") == std::string::npos;
    switch (types[i].dtype) {
    case LLMOPT_F32:
      fillUniform<float>(tensor, i, [](double x) { return float(x); });
      break;
    case LLMOPT_F64:
      fillUniform<double>(tensor, i, [](double x) { return x; });
      break;
    case LLMOPT_F16:
      fillUniform<uint16_t>(tensor, i, [](double x) { return toHalf(float(x)); });
      break;
    case LLMOPT_BF16:
      fillUniform<uint16_t>(tensor, i, [](double x) {
        float f = float(x);
        uint32_t bits;
        memcpy(&bits, &f, 4);
        return uint16_t(bits >> 16);
      });
      break;
    case LLMOPT_I16:
    case LLMOPT_U16:
      fillInteger<uint16_t>(tensor, value);
      break;
    case LLMOPT_I32:
    case LLMOPT_U32:
      fillInteger<uint32_t>(tensor, value);
      break;
    case LLMOPT_I64:
    case LLMOPT_U64:
      fillInteger<uint64_t>(tensor, value);
      break;
    default:
      fillInteger<uint8_t>(tensor, value);
    }
  }
  return inputs;
}

BoundSession::BoundSession(llmopt_model *model, const Options &options, std::vector<Tensor> given)
    : inputs(std::move(given)) {
  llmopt_session_options so = {};
  so.struct_size = sizeof(so);
  so.num_threads = options.threads;
  so.profile = options.profile;
  so.no_device_graphs = options.noGraphs;
  so.poison = options.poison;
  so.no_device_overlap = options.noOverlap;
  llmopt_session *created = nullptr;
  llmopt_error error;
  check(llmopt_session_create(model, &so, &created, &error), error);
  session.reset(created);

  for (const Tensor &tensor : inputs) {
    types.push_back(tensor.type);
    inputPointers.push_back({tensor.data(), tensor.size()});
  }
  check(llmopt_session_bind(created, types.data(), types.size(), &error), error);
  for (uint32_t o = 0; o < infoOf(model).num_outputs; ++o) {
    const char *name = nullptr;
    llmopt_tensor_type type;
    check(llmopt_model_get_output(model, o, &name, nullptr, &error), error);
    check(llmopt_session_get_output_type(created, o, &type, &error), error);
    outputs.emplace_back(name, type);
    outputPointers.push_back({outputs.back().data(), outputs.back().size()});
  }
}

void BoundSession::run() {
  llmopt_error error;
  // Every run is the first: with a cache, a second one would come behind the first one's
  // tokens, and find other shapes.
  if (info().cache_tokens) {
    check(llmopt_session_truncate(session.get(), 0, &error), error);
    check(llmopt_session_bind(session.get(), types.data(), types.size(), &error), error);
  }
  check(llmopt_session_run(session.get(), inputPointers.data(), inputPointers.size(), outputPointers.data(),
                           outputPointers.size(), &error),
        error);
  // Outputs of branches and loops may be smaller than the memory that they need.
  for (uint32_t o = 0; o < outputs.size(); ++o) {
    llmopt_tensor_type type;
    check(llmopt_session_get_output_type(session.get(), o, &type, &error), error);
    outputs[o].reshape(type);
  }
}

llmopt_session_info BoundSession::info() const {
  llmopt_session_info info = {};
  info.struct_size = sizeof(info);
  llmopt_error error;
  check(llmopt_session_get_info(session.get(), &info, &error), error);
  return info;
}
