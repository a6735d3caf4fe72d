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
  --seed S                of the draws, and of the order of examples (default 0)
                          (a model that came as a search brings defaults for
                          --stop, --temperature, --top-p, --repetition-penalty)

training (models compiled with -train)
  --train FILE.npz        fine-tune: the model's inputs and its labels, an example per
                          row; -100 is no label. With --weights FILE.safetensors from there
  --eval FILE.npz         measure, behind every epoch or by itself
  --epochs N, --steps N   how long (default 3 epochs)
  --batch N               examples of a batch (default 16)
  --accumulate N          batches of a step (default 1)
  --lr X                  highest learning rate (default 2e-5)
  --schedule NAME         linear (default), cosine or constant, behind --warmup N steps
                          (below 1: a share of all); --min-lr X is where it ends
  --optimizer NAME        adamw (default), adam or sgd with --momentum M [--nesterov]
  --betas B1,B2, --epsilon E
  --weight-decay D        of matrices (default 0.01); --decay=decoupled|l2 says how
  --clip N                largest norm of the gradient (default 1; 0: none)
  --loss NAME:X           hyper-parameter of the loss, e.g. label_smoothing:0.1
  --order NAME            bucketed (default: like lengths together), shuffled or file
  --class-names A,B,...   of labels; B- and I- make entities
  --save FILE             the tuned weights: .safetensors, or .weights for --weights
  --save-adapter FOLDER   adapters of -lora as PEFT has them; --weights reads its
                          adapter_model.safetensors
  --merge FILE            write the model's weights, or those of --weights, with the
                          adapters in them; --adapter names another file of adapters.
                          --unmerge FILE takes them out
  --keep best|last        which ones (default: the best by --metric, with --eval)
  --metric NAME           what is best (default: that of the task)
  --patience N            stop behind N evaluations without a better one by --min-delta X
  --eval-every N          steps
  --checkpoint FOLDER     keep checkpoints there, every --checkpoint-every N steps
                          (default: an epoch); --resume goes on from the last
  --log FILE.jsonl, --tensorboard FOLDER
  --replay OLD.npz[:0.25] old examples beside every batch, this many for each new one
  --ewc OLD.npz[:1]       hold weights that mattered for old data, this strongly
                          (elastic weight consolidation)
  --eval-old OLD.npz      measure old data before and behind the training
  --mem-budget N[K|M|G]   refuse to take more memory
  --gradcheck             compare gradients of the first batch with differences of the loss
  --entry gradients|evaluate   run this instead, with --input and --output

settings
  --threads N             threads to use (default: the CPUs of this process)
  --no-graphs             on a GPU: launch kernels one by one, without CUDA graphs
  --no-overlap            on a GPU: start no kernel before the one in front of it is done
  --weights FILE          weights file (default: embedded, else beside the model);
                          random:SEED makes weights up, for measurements; of a
                          .safetensors the artefact's recipes make them
  --load=map|copy         map the weights (default), or read them into memory
  --runs N                at least N measured runs (default 10)
  --seconds S             measure for at least S seconds (default 1)
  --warmup S              run for at least S seconds before (default 0.2)
  --poison                fill memory of values that nobody needs any more with NaN, to
                          check a plan
  --json                  print the result of --bench, --train or --eval as JSON
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

/// "1.5G"
uint64_t parseBytes(const std::string &option, const std::string &text) {
  char *end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  double scale = unit.empty() ? 1 : unit == "K" ? 1e3 : unit == "M" ? 1e6 : unit == "G" ? 1e9 : 0;
  if (end == text.c_str() || !(value > 0) || scale == 0 || value * scale > 1e18)
    usage("--" + option + ": expected bytes such as 500M, but got '" + text + "'");
  return uint64_t(value * scale);
}

std::vector<std::string> split(const std::string &text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

/// One of some names, by its place among them.
size_t parseName(const std::string &option, const std::string &text, const std::vector<std::string> &names) {
  auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end())
    return size_t(found - names.begin());
  std::string list;
  for (const std::string &name : names)
    list += (list.empty() ? "" : ", ") + name;
  usage("--" + option + ": expected one of " + list + ", but got '" + text + "'");
}

/// "old.npz" or "old.npz:0.25"
void parseWithNumber(const std::string &option, const std::string &text, std::string &path, double &number) {
  size_t colon = text.rfind(':');
  path = text.substr(0, colon);
  if (path.empty())
    usage("--" + option + ": expected FILE.npz[:NUMBER], but got '" + text + "'");
  if (colon != std::string::npos)
    number = parseNumber(option, text.substr(colon + 1), 0, 1e12);
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
  TrainOptions &t = options.training;
  llmopt_update_defaults(&t.update);
  auto count = [](const char *name, uint64_t &value, uint64_t least) {
    return Option{name, true, [&value, name, least](const std::string &v) {
                    value = parseCount(name, v, INT32_MAX);
                    if (value < least)
                      usage("--" + std::string(name) + ": expected at least " + std::to_string(least));
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
      text("train", t.train),
      text("eval", t.eval),
      text("save", t.save),
      text("save-adapter", t.saveAdapter),
      text("checkpoint", t.checkpoint),
      text("log", t.log),
      text("tensorboard", t.tensorboard),
      {"epochs", true, [&](const std::string &v) { t.epochs = parseNumber("epochs", v, 0.001, 1e6); }},
      count("steps", t.steps, 1),
      count("batch", t.batch, 1),
      count("accumulate", t.accumulate, 1),
      {"lr", true, [&](const std::string &v) { t.update.learning_rate = parseNumber("lr", v, 0, 1e6); }},
      {"min-lr", true, [&](const std::string &v) { t.leastRate = parseNumber("min-lr", v, 0, 1e6); }},
      {"warmup", true,
       [&](const std::string &v) { options.warmupSeconds = t.warmup = parseNumber("warmup", v, 0, 1e9); }},
      {"schedule", true,
       [&](const std::string &v) {
         t.schedule = Schedule(parseName("schedule", v, {"constant", "linear", "cosine"}));
       }},
      {"optimizer", true,
       [&](const std::string &v) {
         t.optimizer = uint32_t(LLMOPT_ADAMW + parseName("optimizer", v, {"adamw", "adam", "sgd"}));
       }},
      {"momentum", true, [&](const std::string &v) { t.update.momentum = parseNumber("momentum", v, 0, 1); }},
      {"nesterov", false, [&](const std::string &) { t.update.nesterov = 1; }},
      {"betas", true,
       [&](const std::string &v) {
         std::vector<std::string> parts = split(v);
         if (parts.size() != 2)
           usage("--betas: expected B1,B2, but got '" + v + "'");
         t.update.beta1 = parseNumber("betas", parts[0], 0, 0.999999);
         t.update.beta2 = parseNumber("betas", parts[1], 0, 0.999999);
       }},
      {"epsilon", true, [&](const std::string &v) { t.update.epsilon = parseNumber("epsilon", v, 0, 1); }},
      {"weight-decay", true,
       [&](const std::string &v) { t.update.weight_decay = parseNumber("weight-decay", v, 0, 1e6); }},
      {"decay", true,
       [&](const std::string &v) { t.update.decay_mode = uint32_t(parseName("decay", v, {"decoupled", "l2"})); }},
      {"clip", true, [&](const std::string &v) { t.update.clip_norm = parseNumber("clip", v, 0, 1e12); }},
      {"loss", true,
       [&](const std::string &v) {
         size_t colon = v.find(':');
         if (colon == 0 || colon == std::string::npos)
           usage("--loss: expected NAME:X, but got '" + v + "'");
         t.hypers.emplace_back(v.substr(0, colon), parseNumber("loss", v.substr(colon + 1), -1e12, 1e12));
       }},
      {"order", true,
       [&](const std::string &v) { t.order = Order(parseName("order", v, {"bucketed", "shuffled", "file"})); }},
      {"class-names", true, [&](const std::string &v) { t.classNames = split(v); }},
      {"keep", true, [&](const std::string &v) { t.keepLast = parseName("keep", v, {"best", "last"}) == 1; }},
      text("metric", t.metric),
      count("patience", t.patience, 1),
      {"min-delta", true, [&](const std::string &v) { t.minDelta = parseNumber("min-delta", v, 0, 1e12); }},
      count("eval-every", t.evalEvery, 1),
      count("checkpoint-every", t.checkpointEvery, 1),
      flag("resume", t.resume),
      {"replay", true, [&](const std::string &v) { parseWithNumber("replay", v, t.replay, t.replayRatio); }},
      {"ewc", true, [&](const std::string &v) { parseWithNumber("ewc", v, t.ewc, t.ewcLambda); }},
      text("eval-old", t.evalOld),
      {"mem-budget", true, [&](const std::string &v) { t.memoryBudget = parseBytes("mem-budget", v); }},
      flag("gradcheck", options.gradcheck),
      flag("poison", options.poison),
      text("merge", options.merge),
      text("unmerge", options.unmerge),
      text("adapter", options.adapter),
      {"entry", true,
       [&](const std::string &v) {
         parseName("entry", v, {"gradients", "evaluate"});
         options.entry = v;
       }},
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
  t.seed = options.sampling.seed;
  const bool trains = !t.train.empty() || !t.eval.empty();
  if (options.json && !options.bench && !trains)
    usage("--json: goes with --bench, --train or --eval");
  if (trains && (options.bench || options.profile || options.generate || !options.inputs.empty()))
    usage("--train and --eval: go with none of --input, --bench, --profile and --generate");
  if (options.gradcheck && t.train.empty())
    usage("--gradcheck: expected --train FILE.npz with a batch of examples");
  // Its names would be the modules', and the artefact could not be trained from it again.
  const std::string own = options.model.substr(0, options.model.find_last_of('.')) + ".safetensors";
  for (const std::string &output : {t.save, options.merge, options.unmerge})
    if (output == own)
      usage("expected another file than " + own + ", which holds the weights that the model was compiled from");
  if (!options.merge.empty() && !options.unmerge.empty())
    usage("expected one of --merge and --unmerge");
  if (!options.adapter.empty() && options.merge.empty() && options.unmerge.empty())
    usage("--adapter: goes with --merge or --unmerge; --weights reads adapters, too");
  if (t.resume && t.checkpoint.empty())
    usage("--resume: expected --checkpoint FOLDER");
  if (t.train.empty() && (!t.replay.empty() || !t.ewc.empty() || !t.evalOld.empty()))
    usage("--replay, --ewc and --eval-old: go with --train");
  if (t.patience && t.eval.empty())
    usage("--patience: expected --eval FILE.npz");
  if (!trains)
    for (const char *option : {"save", "checkpoint", "log", "tensorboard", "lr", "epochs", "steps", "batch"})
      if (options.given.count(option))
        usage("--" + std::string(option) + ": goes with --train");
  if (!options.generate != options.prompt.empty())
    usage("expected --generate N and --prompt ID,... together");
  if (options.generate && (options.bench || options.profile))
    usage("--generate: measures itself, and goes with neither --bench nor --profile");
  if (!options.inputs.empty() && !options.shape.empty())
    usage("--shape: is for synthetic inputs, but --input is given");
  return options;
}
