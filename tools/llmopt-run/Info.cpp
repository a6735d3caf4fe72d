// Describing: models for --info, results for a person without --output.
#include "Reports.h"

#include <cmath>
#include <cstdio>
#include <cstring>

using namespace llmopt::run;

void llmopt::run::printInfo(llmopt_model *model, const Options &options) {
  llmopt_model_info info = infoOf(model);
  std::printf("model     %s\n", info.path);
  std::printf("name      %s\n", info.name);
  std::printf("compiler  %s\n", info.compiler);
  std::printf("target    %s\n", info.target);
  if (*info.architectures)
    std::printf("gpu       %s\n", info.architectures);
  if (info.num_library_steps)
    std::printf("library   %u steps: cuBLASLt, where it is installed and was measured to be faster\n",
                info.num_library_steps);
  std::printf("needs     %s\n", *info.cpu_features ? info.cpu_features : "no particular CPU feature");
  std::printf("build id  ");
  for (uint8_t byte : info.build_id)
    std::printf("%02x", byte);
  std::printf("\nsteps     %u\n", info.num_steps);
  if (info.weights_size)
    std::printf("weights   %s: %u tensors, %llu bytes\n", info.weights_path, info.num_weights,
                static_cast<unsigned long long>(info.weights_size));
  else
    std::printf("weights   none\n");
  std::string symbols;
  for (uint32_t s = 0; s < info.num_symbols; ++s)
    symbols += std::string(s ? ", " : "") + llmopt_model_get_symbol(model, s);
  std::printf("symbols   %s\n", symbols.empty() ? "none" : symbols.c_str());
  const char *name = nullptr;
  llmopt_error error;
  for (uint32_t i = 0; i < info.num_inputs; ++i) {
    check(llmopt_model_get_input(model, i, &name, nullptr, &error), error);
    std::printf("input     %s: %s\n", name, inputText(model, i).c_str());
  }
  for (uint32_t o = 0; o < info.num_outputs; ++o) {
    check(llmopt_model_get_output(model, o, &name, nullptr, &error), error);
    std::printf("output    %s: %s\n", name, outputText(model, o).c_str());
  }
  if (!options.shape.empty()) {
    BoundSession session(model, options, syntheticInputs(model, options));
    llmopt_session_info memory = session.info();
    std::printf("arena     %llu bytes (no layout needs less than %llu)\n"
                "scratch   %llu bytes, %u threads\n",
                static_cast<unsigned long long>(memory.arena_size),
                static_cast<unsigned long long>(memory.arena_lower_bound),
                static_cast<unsigned long long>(memory.scratch_size), memory.num_threads);
  }
  if (*info.metadata)
    std::printf("metadata  %s\n", info.metadata);
}

static double halfToDouble(uint16_t half) {
  int exponent = half >> 10 & 0x1F;
  double mantissa = half & 0x3FF;
  double value = exponent == 31  ? (mantissa != 0 ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(mantissa, -24)
                                 : std::ldexp(mantissa + 1024, exponent - 25);
  return half & 0x8000 ? -value : value;
}

template <typename T> static T elementAt(const Tensor &tensor, uint64_t i) {
  T value;
  std::memcpy(&value, tensor.data() + i * sizeof(T), sizeof(T));
  return value;
}

static double valueAt(const Tensor &tensor, uint64_t i) {
  switch (tensor.type.dtype) {
  case LLMOPT_F32:
    return elementAt<float>(tensor, i);
  case LLMOPT_F64:
    return elementAt<double>(tensor, i);
  case LLMOPT_F16:
    return halfToDouble(elementAt<uint16_t>(tensor, i));
  case LLMOPT_BF16: {
    uint32_t bits = uint32_t(elementAt<uint16_t>(tensor, i)) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  case LLMOPT_I8:
    return elementAt<int8_t>(tensor, i);
  case LLMOPT_I16:
    return elementAt<int16_t>(tensor, i);
  case LLMOPT_U16:
    return elementAt<uint16_t>(tensor, i);
  case LLMOPT_I32:
    return elementAt<int32_t>(tensor, i);
  case LLMOPT_U32:
    return elementAt<uint32_t>(tensor, i);
  case LLMOPT_I64:
    return double(elementAt<int64_t>(tensor, i));
  case LLMOPT_U64:
    return double(elementAt<uint64_t>(tensor, i));
  default:
    return elementAt<uint8_t>(tensor, i);
  }
}

void llmopt::run::printOutputs(const std::vector<Tensor> &outputs) {
  for (const Tensor &tensor : outputs) {
    double least = INFINITY, most = -INFINITY;
    uint64_t notNumbers = 0;
    for (uint64_t i = 0; i < tensor.elements(); ++i) {
      double value = valueAt(tensor, i);
      least = std::fmin(least, value);
      most = std::fmax(most, value);
      notNumbers += std::isnan(value);
    }
    std::printf("%s: %s", tensor.name.c_str(), format(tensor.type).c_str());
    if (tensor.elements())
      std::printf(" min %g max %g", least, most);
    if (notNumbers)
      std::printf(" NaN %llu", static_cast<unsigned long long>(notNumbers));
    std::printf(" [");
    constexpr uint64_t shown = 8;
    for (uint64_t i = 0; i < tensor.elements() && i < shown; ++i)
      std::printf("%s%.7g", i ? ", " : "", valueAt(tensor, i));
    std::printf(tensor.elements() > shown ? ", ...]\n" : "]\n");
  }
}
