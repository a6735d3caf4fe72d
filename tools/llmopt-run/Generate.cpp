#include "Generate.h"

#include "Npz.h"
#include "Sampler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <type_traits>

using namespace llmopt::run;

namespace {
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// What an input of a decoder means, by the names that exporters give.
enum class Role { Ids, Mask, Positions, Types, UseCache, Start, Count, Given };

const char *const knownInputs = "input_ids, attention_mask, position_ids, cache_position, token_type_ids, "
                                "use_cache_branch, write_indices, nonpad_kv_seqlen, total_sequence_length";

/// Numbers of `"generation":{"name":value,..}` in the metadata. Quotes inside of
/// strings are escaped there, so the text is found nowhere else.
std::map<std::string, double> readDefaults(const char *metadata) {
  std::map<std::string, double> defaults;
  const char *at = std::strstr(metadata, "\"generation\":{");
  if (!at)
    return defaults;
  at += std::strlen("\"generation\":{");
  while (*at == '"') {
    const char *end = std::strchr(at + 1, '"');
    if (!end || end[1] != ':')
      break;
    char *behind = nullptr;
    defaults[std::string(at + 1, end)] = std::strtod(end + 2, &behind);
    at = *behind == ',' ? behind + 1 : behind;
  }
  return defaults;
}

class Decoder {
public:
  Decoder(llmopt_model *model, const Options &options);
  /// Runs `count` more tokens, `past` of which the session has seen; the logits
  /// of the last one.
  const float *run(const int64_t *ids, int64_t count, int64_t past);
  bool hasCache() const { return cached; }
  /// Allocated for past keys and values.
  uint64_t cacheBytes() const {
    llmopt_session_info info = {};
    info.struct_size = sizeof(info);
    llmopt_error error;
    check(llmopt_session_get_info(session.get(), &info, &error), error);
    return info.cache_size;
  }
  int64_t vocabulary() const { return vocabularySize; }

private:
  struct Input {
    Role role;
    uint32_t dtype, rank;
    size_t given;      // in `files`
    int64_t room = -1; // elements, where the model fixes them
  };
  llmopt_tensor_type typeOf(const Input &input, int64_t count, int64_t past) const;
  void fill(const Input &input, Tensor &tensor, const int64_t *ids, int64_t count, int64_t past) const;

  llmopt_model *model;
  std::unique_ptr<llmopt_session, DestroySession> session;
  std::vector<Input> inputs;
  std::vector<Tensor> files; // what the encoder gave, for example
  uint32_t logits = LLMOPT_NONE;
  bool cached = false;
  int64_t vocabularySize = 0;
  std::vector<Tensor> outputs;
  std::vector<float> widened; // logits of float16
};

/// The value of a float16.
float widen(uint16_t half) {
  int exponent = half >> 10 & 31, fraction = half & 1023;
  float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                    : exponent     ? std::ldexp(float(1024 + fraction), exponent - 25)
                                   : std::ldexp(float(fraction), -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

Decoder::Decoder(llmopt_model *model, const Options &options) : model(model), files(readFiles(model, options)) {
  llmopt_session_options so = {};
  so.struct_size = sizeof(so);
  so.num_threads = options.threads;
  so.cache_capacity = options.prompt.size() + options.generate;
  llmopt_session *created = nullptr;
  llmopt_error error;
  check(llmopt_session_create(model, &so, &created, &error), error);
  session.reset(created);
  llmopt_session_info info = {};
  info.struct_size = sizeof(info);
  check(llmopt_session_get_info(created, &info, &error), error);
  cached = info.cache_capacity != 0;

  bool hasIds = false;
  for (uint32_t i = 0; i < infoOf(model).num_inputs; ++i) {
    const char *given = nullptr;
    llmopt_tensor_type type;
    check(llmopt_model_get_input(model, i, &given, &type, &error), error);
    std::string name = given;
    auto file = std::find_if(files.begin(), files.end(), [&](const Tensor &tensor) { return tensor.name == name; });
    if (file != files.end()) {
      inputs.push_back({Role::Given, type.dtype, type.rank, size_t(file - files.begin())});
      continue;
    }
    auto role = name == "input_ids" || name == "decoder_input_ids"              ? Role::Ids
                : name == "attention_mask"                                      ? Role::Mask
                : name == "position_ids" || name == "cache_position"            ? Role::Positions
                : name == "token_type_ids"                                      ? Role::Types
                : name == "write_indices"                                       ? Role::Start
                : name == "nonpad_kv_seqlen" || name == "total_sequence_length" ? Role::Count
                                                                                : Role::UseCache;
    if (role == Role::UseCache && (name != "use_cache_branch" || type.dtype != LLMOPT_BOOL)) {
      bool isPast = name.find("past") != std::string::npos;
      throw Failure{BadData,
                    "input '" + name + "': expected it in a file of --input; --generate itself gives " + knownInputs +
                        (isPast ? "; compile the model with -kv-cache, so that the session keeps the past" : "")};
    }
    if (role != Role::UseCache && type.dtype != LLMOPT_I64 && type.dtype != LLMOPT_I32)
      throw Failure{BadData,
                    "input '" + name + "': --generate expected integers, but the model has " + inputText(model, i)};
    hasIds |= role == Role::Ids;
    // A mask of fixed length covers a buffer of that size.
    int64_t room = role == Role::Mask && type.rank ? type.dims[type.rank - 1] : -1;
    inputs.push_back({role, type.dtype, type.rank, 0, room});
  }
  if (!hasIds)
    throw Failure{BadData, "--generate expected a model with the input 'input_ids'"};
  for (uint32_t o = 0; o < infoOf(model).num_outputs; ++o) {
    const char *name = nullptr;
    llmopt_tensor_type type;
    check(llmopt_model_get_output(model, o, &name, &type, &error), error);
    if ((type.dtype == LLMOPT_F32 || type.dtype == LLMOPT_F16) && type.rank == 3 &&
        (logits == LLMOPT_NONE || std::string(name) == "logits"))
      logits = o;
  }
  if (logits == LLMOPT_NONE)
    throw Failure{BadData, "--generate expected an output of logits, f32 or f16[batch, tokens, vocabulary]"};
}

llmopt_tensor_type Decoder::typeOf(const Input &input, int64_t count, int64_t past) const {
  llmopt_tensor_type type = {};
  type.dtype = input.dtype;
  type.rank = input.rank;
  bool isOne = input.role == Role::UseCache || input.role == Role::Start || input.role == Role::Count;
  int64_t length = input.role == Role::Mask ? (input.room > 0 ? input.room : past + count) : isOne ? 1 : count;
  // [length], or [batch, length].
  for (uint32_t d = 0; d < input.rank; ++d)
    type.dims[d] = d + 1 == input.rank ? length : 1;
  return type;
}

void Decoder::fill(const Input &input, Tensor &tensor, const int64_t *ids, int64_t count, int64_t past) const {
  for (uint64_t i = 0; i < tensor.elements(); ++i) {
    int64_t value = input.role == Role::Ids         ? ids[i]
                    : input.role == Role::Positions ? past + int64_t(i)
                    : input.role == Role::Types     ? 0
                    : input.role == Role::Start     ? past
                    : input.role == Role::Count     ? past + count
                    : input.role == Role::Mask      ? int64_t(i) < past + count
                                                    : 1;
    if (input.dtype == LLMOPT_I64)
      std::memcpy(tensor.data() + 8 * i, &value, 8);
    else if (input.dtype == LLMOPT_I32) {
      int32_t narrow = int32_t(value);
      std::memcpy(tensor.data() + 4 * i, &narrow, 4);
    } else {
      tensor.data()[i] = char(value);
    }
  }
}

const float *Decoder::run(const int64_t *ids, int64_t count, int64_t past) {
  std::vector<Tensor> given;
  std::vector<llmopt_tensor_type> types;
  std::vector<llmopt_input> inputPointers;
  given.reserve(inputs.size());
  for (const Input &input : inputs) {
    if (input.role == Role::Given) {
      types.push_back(files[input.given].type);
      inputPointers.push_back({files[input.given].data(), files[input.given].size()});
      continue;
    }
    types.push_back(typeOf(input, count, past));
    given.emplace_back("input", types.back());
    fill(input, given.back(), ids, count, past);
    inputPointers.push_back({given.back().data(), given.back().size()});
  }
  llmopt_error error;
  check(llmopt_session_bind(session.get(), types.data(), types.size(), &error), error);
  outputs.clear();
  std::vector<llmopt_output> outputPointers;
  for (uint32_t o = 0; o < infoOf(model).num_outputs; ++o) {
    llmopt_tensor_type type;
    check(llmopt_session_get_output_type(session.get(), o, &type, &error), error);
    outputs.emplace_back("output", type);
    outputPointers.push_back({outputs.back().data(), outputs.back().size()});
  }
  check(llmopt_session_run(session.get(), inputPointers.data(), inputPointers.size(), outputPointers.data(),
                           outputPointers.size(), &error),
        error);
  const Tensor &result = outputs[logits];
  vocabularySize = result.type.dims[2];
  if (result.type.dims[0] != 1 || result.type.dims[1] < 1 || vocabularySize < 1)
    throw Failure{BadData, "--generate expected logits of one sequence, but got " + format(result.type)};
  int64_t first = (result.type.dims[1] - 1) * vocabularySize;
  if (result.type.dtype == LLMOPT_F32)
    return reinterpret_cast<const float *>(result.data()) + first;
  widened.resize(size_t(vocabularySize));
  for (int64_t i = 0; i < vocabularySize; ++i) {
    uint16_t half;
    std::memcpy(&half, result.data() + 2 * (first + i), 2);
    widened[size_t(i)] = widen(half);
  }
  return widened.data();
}

void writeResult(const Options &options, const std::vector<int64_t> &ids, const std::vector<float> &logits,
                 int64_t vocabulary) {
  std::vector<Tensor> arrays;
  llmopt_tensor_type type = {LLMOPT_I64, 1, {int64_t(ids.size())}};
  arrays.emplace_back("ids", type);
  std::memcpy(arrays[0].data(), ids.data(), arrays[0].size());
  type = {LLMOPT_F32, 2, {int64_t(logits.size()) / std::max<int64_t>(vocabulary, 1), vocabulary}};
  arrays.emplace_back("logits", type);
  std::memcpy(arrays[1].data(), logits.data(), arrays[1].size());
  writeNpz(options.output, arrays);
}
} // namespace

void llmopt::run::generate(llmopt_model *model, const Options &options) {
  Decoder decoder(model, options);
  std::map<std::string, double> defaults = readDefaults(infoOf(model).metadata);
  auto take = [&](const char *option, const char *setting, auto &value) {
    auto found = defaults.find(setting);
    if (found != defaults.end() && !options.given.count(option))
      value = std::decay_t<decltype(value)>(found->second);
  };
  SamplingOptions sampling = options.sampling;
  take("temperature", "temperature", sampling.temperature);
  take("top-k", "top_k", sampling.topK);
  take("top-p", "top_p", sampling.topP);
  take("repetition-penalty", "repetition_penalty", sampling.repetitionPenalty);
  std::vector<int64_t> stop = options.stop;
  if (auto eos = defaults.find("eos_token_id"); eos != defaults.end() && !options.given.count("stop"))
    stop.push_back(int64_t(eos->second));
  // Rows of logits may be wider than the vocabulary.
  auto known = defaults.find("vocab_size");
  auto possible = [&](int64_t width) {
    return known != defaults.end() && known->second >= 1 ? std::min(width, int64_t(known->second)) : width;
  };
  Sampler sampler(sampling);
  std::vector<int64_t> ids = options.prompt;
  std::vector<float> allLogits;
  double promptSeconds = 0, tokenSeconds = 0;
  uint64_t made = 0;
  bool stopped = false;
  while (made < options.generate && !stopped) {
    Clock::time_point start = Clock::now();
    // What the cache does not hold: the prompt, then one token at a time.
    int64_t past = decoder.hasCache() && made ? int64_t(ids.size()) - 1 : 0;
    const float *logits = decoder.run(ids.data() + past, int64_t(ids.size()) - past, past);
    (made ? tokenSeconds : promptSeconds) += secondsSince(start);
    if (!options.output.empty())
      allLogits.insert(allLogits.end(), logits, logits + decoder.vocabulary());
    int64_t next = sampler.pick(logits, size_t(possible(decoder.vocabulary())), ids);
    if (next < 0)
      throw Failure{BadData, "the logits of token " + std::to_string(made) + " are all NaN or -inf"};
    ids.push_back(next);
    ++made;
    std::printf("%s%lld", made > 1 ? " " : "", static_cast<long long>(next));
    std::fflush(stdout);
    stopped = std::find(stop.begin(), stop.end(), next) != stop.end();
  }
  std::printf("\n");
  if (!options.output.empty())
    writeResult(options, ids, allLogits, decoder.vocabulary());
  std::fprintf(stderr, "prompt: %zu tokens, %.1f ms; generated: %llu tokens%s", options.prompt.size(),
               promptSeconds * 1e3, static_cast<unsigned long long>(made), stopped ? " up to a stop token" : "");
  if (made > 1)
    std::fprintf(stderr, ", %.2f ms each (%.1f tokens/s)", tokenSeconds * 1e3 / double(made - 1),
                 double(made - 1) / tokenSeconds);
  if (uint64_t bytes = decoder.cacheBytes())
    std::fprintf(stderr, "; cache of %.3f MB", double(bytes) * 1e-6);
  std::fprintf(stderr, "\n");
}
