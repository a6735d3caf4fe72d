#include "Options.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>

using namespace llmopt::run;

const char *const llmopt::run::helpText =
    R"(usage: llmopt-run model.so [options]

Runs a model that llmopt compiled. An artefact is code: run only what you trust.

inputs and outputs
  --input FILE.npz        arrays named like the model's inputs
  --input NAME=FILE.npy   one input; may be repeated
  --output FILE.npz       all outputs; FILE.npy where the model has one output
                          (without --output a summary is printed)
  --shape NAME=N,...      values of shape symbols, for synthetic inputs

what to do besides running once
  --bench                 run repeatedly, report median, minimum and maximum
  --profile               run repeatedly, report the time of every step
  --info                  describe the model; with --shape also its memory
  --check                 compare the weights with their hash

tokens of a decoder (compiled with -kv-cache: the session keeps the past)
  --generate N            up to N new tokens, printed as they come; with --output
                          also `ids` and `logits`
  --prompt ID,ID,...      the tokens to start from; --input gives what else the
                          model reads, such as an encoder's states
  --stop ID,...           stop behind any of these
  --temperature T         draw instead of taking the best (default 0: the best)
  --top-k K, --top-p P    draw among the K best, or the fewest that sum up to P
  --repetition-penalty R  divide the logits of tokens that occurred (default 1)
  --seed S                of the draws (default 0)
                          (a model that came as a search brings defaults for
                          --stop, --temperature, --top-p, --repetition-penalty)

settings
  --threads N             threads to use (default: the CPUs of this process)
  --no-graphs             on a GPU: launch kernels one by one, without CUDA graphs
  --no-overlap            on a GPU: start no kernel before the one in front of it is done
  --weights FILE          weights file (default: embedded, else beside the model);
                          random:SEED makes weights up, for measurements
  --load=map|copy         map the weights (default), or read them into memory
  --runs N                at least N measured runs (default 10)
  --seconds S             measure for at least S seconds (default 1)
  --warmup S              run for at least S seconds before (default 0.2)
  --json                  print the result of --bench as JSON
  --help, --version

Options take one or two dashes, and their value after '=' or as next word.
exit codes: 0 ok, 1 bad model or data, 2 usage, 4 environment, 70 our bug
)";

namespace {
[[noreturn]] void usage(const std::string &message) { throw Failure{Usage, message}; }

uint64_t parseCount(const std::string &option, const std::string &text, uint64_t most) {
  char *end = nullptr;
  errno = 0;
  unsigned long long value = std::strtoull(text.c_str(), &end, 10);
  bool digits = !text.empty() && text[0] >= '0' && text[0] <= '9';
  if (!digits || *end || errno || value > most)
    usage("--" + option + ": expected a number from 0 to " + std::to_string(most) + ", but got '" + text + "'");
  return value;
}

double parseSeconds(const std::string &option, const std::string &text) {
  char *end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end || !std::isfinite(value) || value < 0 || value > 86400)
    usage("--" + option + ": expected seconds, but got '" + text + "'");
  return value;
}

double parseNumber(const std::string &option, const std::string &text, double least, double most) {
  char *end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end || !(value >= least && value <= most)) {
    char range[64];
    std::snprintf(range, sizeof(range), "%g to %g", least, most);
    usage("--" + option + ": expected a number from " + range + ", but got '" + text + "'");
  }
  return value;
}

std::vector<int64_t> parseIds(const std::string &option, const std::string &text) {
  std::vector<int64_t> ids;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    ids.push_back(int64_t(parseCount(option, text.substr(at, comma - at), INT32_MAX)));
    at = comma + 1;
  }
  return ids;
}

std::vector<std::pair<std::string, int64_t>> parseShape(const std::string &text) {
  std::vector<std::pair<std::string, int64_t>> result;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    std::string item = text.substr(at, comma - at);
    size_t equals = item.find('=');
    if (equals == 0 || equals == std::string::npos)
      usage("--shape: expected NAME=N,..., but got '" + text + "'");
    result.emplace_back(item.substr(0, equals), int64_t(parseCount("shape", item.substr(equals + 1), INT64_MAX)));
    at = comma + 1;
  }
  return result;
}

/// Levenshtein's distance, for "did you mean".
size_t distance(const std::string &a, const std::string &b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      size_t substitute = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substitute, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}
} // namespace

Options llmopt::run::parseOptions(int argc, char **argv) {
  Options options;
  struct Option {
    const char *name;
    bool takesValue;
    std::function<void(const std::string &)> set;
  };
  auto flag = [](const char *name, bool &value) {
    return Option{name, false, [&value](const std::string &) { value = true; }};
  };
  auto text = [](const char *name, std::string &value) {
    return Option{name, true, [&value, name](const std::string &given) {
                    if (!value.empty())
                      usage("--" + std::string(name) + ": is given twice");
                    if (given.empty())
                      usage("--" + std::string(name) + ": expected a file");
                    value = given;
                  }};
  };
  const Option known[] = {
      {"input", true,
       [&](const std::string &v) {
         if (v.empty())
           usage("--input: expected a file");
         options.inputs.push_back(v);
       }},
      text("output", options.output),
      text("weights", options.weights),
      {"shape", true, [&](const std::string &v) { options.shape = parseShape(v); }},
      {"threads", true, [&](const std::string &v) { options.threads = uint32_t(parseCount("threads", v, 1024)); }},
      {"load", true,
       [&](const std::string &v) {
         if (v != "map" && v != "copy")
           usage("--load: expected map or copy, but got '" + v + "'");
         options.copyWeights = v == "copy";
       }},
      {"runs", true, [&](const std::string &v) { options.minRuns = uint32_t(parseCount("runs", v, 1000000)); }},
      {"seconds", true, [&](const std::string &v) { options.minSeconds = parseSeconds("seconds", v); }},
      {"warmup", true, [&](const std::string &v) { options.warmupSeconds = parseSeconds("warmup", v); }},
      {"generate", true, [&](const std::string &v) { options.generate = parseCount("generate", v, 1000000); }},
      {"prompt", true, [&](const std::string &v) { options.prompt = parseIds("prompt", v); }},
      {"stop", true, [&](const std::string &v) { options.stop = parseIds("stop", v); }},
      {"temperature", true,
       [&](const std::string &v) { options.sampling.temperature = parseNumber("temperature", v, 0, 1000); }},
      {"top-k", true, [&](const std::string &v) { options.sampling.topK = parseCount("top-k", v, INT32_MAX); }},
      {"top-p", true, [&](const std::string &v) { options.sampling.topP = parseNumber("top-p", v, 0, 1); }},
      {"repetition-penalty", true,
       [&](const std::string &v) {
         options.sampling.repetitionPenalty = parseNumber("repetition-penalty", v, 0.01, 100);
       }},
      {"seed", true, [&](const std::string &v) { options.sampling.seed = parseCount("seed", v, UINT64_MAX); }},
      flag("bench", options.bench),
      flag("json", options.json),
      flag("info", options.info),
      flag("profile", options.profile),
      flag("no-graphs", options.noGraphs),
      flag("no-overlap", options.noOverlap),
      flag("check", options.check),
      flag("help", options.help),
      flag("version", options.version),
  };

  bool onlyFiles = false;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (onlyFiles || word.size() < 2 || word[0] != '-') {
      if (!options.model.empty())
        usage("expected one model, but got '" + options.model + "' and '" + word + "'");
      options.model = word;
      continue;
    }
    if (word == "--") {
      onlyFiles = true;
      continue;
    }
    std::string name = word.substr(word[1] == '-' ? 2 : 1);
    if (name == "h")
      name = "help";
    std::string value;
    size_t equals = name.find('=');
    bool hasValue = equals != std::string::npos;
    if (hasValue) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const Option *option = nullptr, *nearest = nullptr;
    for (const Option &candidate : known) {
      if (name == candidate.name)
        option = &candidate;
      if (!nearest || distance(name, candidate.name) < distance(name, nearest->name))
        nearest = &candidate;
    }
    if (!option)
      usage("unknown option '" + word + "'" +
            (distance(name, nearest->name) <= 2 ? "; did you mean '--" + std::string(nearest->name) + "'?"
                                                : "; see llmopt-run --help"));
    if (!option->takesValue && hasValue)
      usage("--" + name + ": takes no value");
    if (option->takesValue && !hasValue) {
      if (i + 1 == argc)
        usage("--" + name + ": expected a value");
      value = argv[++i];
    }
    option->set(value);
    options.given.insert(option->name);
  }
  if (options.help || options.version)
    return options;
  if (options.model.empty())
    usage("expected a model; see llmopt-run --help");
  if (options.json && !options.bench)
    usage("--json: goes with --bench");
  if (!options.generate != options.prompt.empty())
    usage("expected --generate N and --prompt ID,... together");
  if (options.generate && (options.bench || options.profile))
    usage("--generate: measures itself, and goes with neither --bench nor --profile");
  if (!options.inputs.empty() && !options.shape.empty())
    usage("--shape: is for synthetic inputs, but --input is given");
  return options;
}
