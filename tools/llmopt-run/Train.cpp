#include "Train.h"

#include "Adapter.h"
#include "TrainLog.h"
#include "TrainMetrics.h"
#include "TunedWeights.h"

#include "llmopt/safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llmopt::run;

namespace {

/// What a checkpoint keeps of this tool; everything else follows from the options.
struct Place {
  uint64_t version = 1, options = 0; ///< a hash of the options that decide about steps
  uint64_t epoch = 0, batch = 0;     ///< the next one
  uint64_t hasBest = 0, bestStep = 0, withoutBetter = 0;
  double best = 0;
  double lossSum = 0, lossCount = 0; ///< of updates of this epoch
};

/// Two checkpoints: the last may be damaged by what stopped the training.
constexpr size_t kKept = 2;
const char *const kPrefix = "step-", *const kSuffix = ".ckpt";

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f MB", double(bytes) / 1e6);
  return text;
}

volatile std::sig_atomic_t stopRequested = 0;

class Training {
public:
  Training(llmopt_model *model, const Options &options)
      : options(options), t(options.training), trainer(openTrainer(model, options)),
        log(t.log, t.tensorboard, t.resume) {
    if (!t.train.empty())
      data = std::make_unique<TrainData>(t.train, trainer.get());
    if (!t.eval.empty())
      dev = std::make_unique<TrainData>(t.eval, trainer.get());
  }

  void run() {
    reportMemory();
    if (!data) {
      print("eval", evaluate());
      return;
    }
    updatesPerEpoch = (batchesPerEpoch() + t.accumulate - 1) / t.accumulate;
    totalSteps = t.steps ? t.steps : uint64_t(std::ceil(double(updatesPerEpoch) * t.epochs));
    place.options = hashOptions();
    if (!t.checkpoint.empty())
      openCheckpoints();
    started = now();
    loop();
    finish();
  }

private:
  uint64_t batchesPerEpoch() const { return (data->size() + t.batch - 1) / t.batch; }
  uint64_t step() const { return made; }

  /// Binds the largest shapes, so that what is printed is what it takes.
  void reportMemory() {
    llmopt_error error;
    if (data) {
      std::vector<llmopt_tensor_type> types = data->largest(t.batch);
      check(llmopt_trainer_bind(trainer.get(), types.data(), types.size(), &error), error);
    }
    if (dev) {
      std::vector<llmopt_tensor_type> types = dev->largest(t.batch);
      check(llmopt_trainer_bind_evaluation(trainer.get(), types.data(), types.size(), &error), error);
    }
    llmopt_trainer_memory m = {};
    m.struct_size = sizeof(m);
    check(llmopt_trainer_get_memory(trainer.get(), &m, &error), error);
    uint64_t all = m.parameters + m.gradients + m.moments + m.activations + m.scratch;
    if (!options.json)
      std::printf("memory  %s: parameters %s, gradients %s, moments %s, activations %s, scratch %s; frozen weights %s "
                  "are mapped\n",
                  megabytes(all).c_str(), megabytes(m.parameters).c_str(), megabytes(m.gradients).c_str(),
                  megabytes(m.moments).c_str(), megabytes(m.activations).c_str(), megabytes(m.scratch).c_str(),
                  megabytes(m.frozen).c_str());
    std::fflush(stdout);
    if (t.memoryBudget && all > t.memoryBudget)
      throw Failure{BadData, "--mem-budget: batches of " + std::to_string(t.batch) + " need " + megabytes(all) +
                                 ", of which " + megabytes(all - m.activations) +
                                 " do not depend on the batch; a smaller --batch with " +
                                 "--accumulate takes the same steps"};
  }

  void loop() {
    for (; place.epoch * updatesPerEpoch < totalSteps + updatesPerEpoch && step() < totalSteps && !stopped;
         ++place.epoch, place.batch = 0) {
      std::vector<std::vector<uint32_t>> order = data->makeOrder(t.order, t.batch, t.seed, place.epoch);
      while (place.batch < order.size() && step() < totalSteps && !stopped) {
        update(order);
        bool epochEnds = place.batch == order.size();
        bool evaluates = dev && (t.evalEvery ? attempts % t.evalEvery == 0 : epochEnds);
        if (epochEnds)
          endEpoch();
        if (evaluates || (dev && step() == totalSteps))
          evaluateAndCompare();
        if (!t.checkpoint.empty() && (t.checkpointEvery ? attempts % t.checkpointEvery == 0 : epochEnds))
          saveCheckpoint(epochEnds);
        if (stopRequested)
          interrupted();
      }
    }
  }

  /// One step of `accumulate` batches, fewer at the end of an epoch.
  void update(const std::vector<std::vector<uint32_t>> &order) {
    llmopt_error error;
    uint64_t tokens = 0, examples = 0;
    const double begun = now();
    for (uint64_t i = 0; i < t.accumulate && place.batch < order.size(); ++i, ++place.batch) {
      const Batch &batch = data->take(order[place.batch]);
      check(llmopt_trainer_bind(trainer.get(), batch.types.data(), batch.types.size(), &error), error);
      check(llmopt_trainer_accumulate(trainer.get(), batch.inputs.data(), batch.inputs.size(), nullptr, &error), error);
      tokens += batch.tokens;
      examples += batch.examples;
    }
    const double summed = now();
    llmopt_update settings = t.update;
    settings.learning_rate = rateAt(attempts + 1);
    llmopt_update_result result = {};
    result.struct_size = sizeof(result);
    check(llmopt_trainer_apply(trainer.get(), &settings, &result, &error), error);
    gradientSeconds += summed - begun;
    updateSeconds += now() - summed;
    ++attempts;
    made = attempts;
    seenTokens += tokens;
    seenExamples += examples;
    if (result.outcome == LLMOPT_SKIPPED_NONFINITE)
      note("step " + std::to_string(attempts) + ": the loss or a gradient is not finite; no update");
    if (result.outcome == LLMOPT_SKIPPED_EMPTY)
      note("step " + std::to_string(attempts) + ": every label is ignored; no update");
    if (result.outcome == LLMOPT_UPDATED) {
      place.lossSum += result.loss;
      place.lossCount += 1;
    }
    skipped = result.skipped;
    Values values = {{"loss", result.outcome == LLMOPT_SKIPPED_EMPTY ? NAN : result.loss},
                     {"learning_rate", settings.learning_rate},
                     {"gradient_norm", result.gradient_norm}};
    log.write("train", attempts, values);
    showProgress(result.loss, settings.learning_rate);
  }

  double rateAt(uint64_t at) const {
    double rate = t.update.learning_rate, warm = t.warmup < 1 ? t.warmup * double(totalSteps) : t.warmup;
    warm = std::floor(warm);
    if (double(at) <= warm)
      return rate * double(at) / warm;
    double rest = double(totalSteps) - warm, done = rest > 0 ? (double(at) - warm - 1) / rest : 1;
    if (t.schedule == Schedule::Constant)
      return rate;
    if (t.schedule == Schedule::Linear)
      return t.leastRate + (rate - t.leastRate) * (1 - done);
    return t.leastRate + (rate - t.leastRate) * 0.5 * (1 + std::cos(M_PI * done));
  }

  void showProgress(double loss, double rate) {
    double time = now();
    if (time - lastShown < 0.1 && step() != totalSteps)
      return;
    lastShown = time;
    constexpr int kWidth = 24;
    int filled = int(double(kWidth) * double(step()) / double(totalSteps));
    double spent = time - started, per = spent / double(attempts - firstAttempt);
    char text[200];
    std::snprintf(text, sizeof(text),
                  "[%s%s] step %llu/%llu  loss %.4f  lr %.2e  %.1f examples/s  %.0f tokens/s  %.0f s left",
                  std::string(size_t(filled), '#').c_str(), std::string(size_t(kWidth - filled), '.').c_str(),
                  static_cast<unsigned long long>(step()), static_cast<unsigned long long>(totalSteps), loss, rate,
                  double(seenExamples) / spent, double(seenTokens) / spent, per * double(totalSteps - step()));
    log.progress(text);
  }

  Values evaluate() {
    Metrics metrics(llmopt_trainer_get_loss(trainer.get()), t.classNames);
    llmopt_error error;
    std::vector<char> output;
    const uint32_t labels = llmopt_trainer_num_labels(trainer.get());
    for (const std::vector<uint32_t> &rows : dev->makeOrder(Order::Bucketed, t.batch, 0, 0)) {
      const Batch &batch = dev->take(rows);
      check(llmopt_trainer_bind_evaluation(trainer.get(), batch.types.data(), batch.types.size(), &error), error);
      llmopt_tensor_type type;
      check(llmopt_trainer_get_output_type(trainer.get(), &type, &error), error);
      uint64_t bytes = llmopt_dtype_size(type.dtype);
      for (uint32_t d = 0; d < type.rank; ++d)
        bytes *= uint64_t(type.dims[d]);
      output.resize(std::max(output.size(), size_t(bytes)));
      llmopt_output out = {output.data(), bytes};
      llmopt_loss loss;
      check(llmopt_trainer_evaluate(trainer.get(), batch.inputs.data(), batch.inputs.size(), &out, &loss, &error),
            error);
      std::vector<const char *> wanted;
      for (size_t i = batch.inputs.size() - labels; i < batch.inputs.size(); ++i)
        wanted.push_back(static_cast<const char *>(batch.inputs[i].data));
      metrics.add(type, reinterpret_cast<const float *>(output.data()), wanted, loss.sum, loss.weight);
    }
    mainMetric = t.metric.empty() ? metrics.mainMetric() : t.metric;
    return metrics.finish();
  }

  void evaluateAndCompare() {
    Values values = evaluate();
    log.write("eval", attempts, values);
    print("eval", values);
    auto found = std::find_if(values.begin(), values.end(), [&](const auto &v) { return v.first == mainMetric; });
    if (found == values.end()) {
      std::string names;
      for (const auto &[name, value] : values)
        names += (names.empty() ? "" : ", ") + name;
      throw Failure{Usage, "--metric: expected one of " + names + ", but got '" + mainMetric + "'"};
    }
    lastEval = values;
    double sign = Metrics::isHigherBetter(mainMetric) ? 1 : -1;
    bool better = !place.hasBest || sign * (found->second - place.best) > t.minDelta;
    if (!better) {
      ++place.withoutBetter;
      if (t.patience && place.withoutBetter >= t.patience) {
        stopped = true;
        note("stopped early: " + mainMetric + " was best at step " + std::to_string(place.bestStep));
      }
      return;
    }
    place.hasBest = 1;
    place.best = found->second;
    place.bestStep = attempts;
    place.withoutBetter = 0;
    if (!t.keepLast)
      saveBest();
  }

  void endEpoch() {
    if (!options.json) {
      log.clearProgress();
      std::printf("epoch %-3llu step %-6llu loss %.5f  %.1f s\n", static_cast<unsigned long long>(place.epoch + 1),
                  static_cast<unsigned long long>(attempts),
                  place.lossCount > 0 ? place.lossSum / place.lossCount : 0.0, now() - started);
      std::fflush(stdout);
    }
    trainLoss = place.lossCount > 0 ? place.lossSum / place.lossCount : NAN;
    place.lossSum = place.lossCount = 0;
  }

  void print(const char *what, const Values &values) {
    if (options.json && data)
      return;
    log.clearProgress();
    if (options.json) {
      std::printf("%s\n", toJSON(values).c_str());
    } else {
      std::printf("%-9s step %-6llu", what, static_cast<unsigned long long>(attempts));
      for (const auto &[name, value] : values)
        std::printf(" %s %.5g ", name.c_str(), value);
      std::printf("\n");
    }
    std::fflush(stdout);
  }

  void note(const std::string &text) {
    log.clearProgress();
    std::fprintf(stderr, "llmopt-run: %s\n", text.c_str());
  }

  // ---- the best weights -----------------------------------------------------

  /// Beside the checkpoints, for a resume to find; else in memory.
  void saveBest() {
    forEachParameter([&](uint32_t i, const llmopt_parameter_info &p) {
      if (best.size() <= i)
        best.emplace_back();
      best[i].assign(p.value, p.value + p.count);
    });
    if (t.checkpoint.empty())
      return;
    llmopt_error error;
    check(llmopt_trainer_save_weights(trainer.get(), bestPath().c_str(), &error), error);
  }

  template <typename Take> void forEachParameter(Take take) {
    llmopt_error error;
    for (uint32_t i = 0; i < llmopt_trainer_num_parameters(trainer.get()); ++i) {
      llmopt_parameter_info info = {};
      info.struct_size = sizeof(info);
      check(llmopt_trainer_get_parameter(trainer.get(), i, &info, &error), error);
      take(i, info);
    }
  }

  std::string bestPath() const { return t.checkpoint + "/best.safetensors"; }

  void restoreBest() {
    forEachParameter(
        [&](uint32_t i, const llmopt_parameter_info &p) { std::copy(best[i].begin(), best[i].end(), p.value); });
  }

  // ---- checkpoints ----------------------------------------------------------

  uint64_t hashOptions() const {
    char text[400];
    std::snprintf(text, sizeof(text),
                  "%llu %llu %llu %u %.17g %.17g %.17g %.17g %.17g %.17g %.17g %u %u %d %.17g %.17g %d %llu %llu",
                  static_cast<unsigned long long>(data->size()), static_cast<unsigned long long>(t.batch),
                  static_cast<unsigned long long>(t.accumulate), t.optimizer, t.update.learning_rate, t.update.beta1,
                  t.update.beta2, t.update.epsilon, t.update.weight_decay, t.update.momentum, t.update.clip_norm,
                  t.update.decay_mode, t.update.nesterov, int(t.schedule), t.leastRate, t.warmup, int(t.order),
                  static_cast<unsigned long long>(t.seed), static_cast<unsigned long long>(totalSteps));
    uint64_t hash = 1469598103934665603u; // FNV-1a
    for (const char *c = text; *c; ++c)
      hash = (hash ^ static_cast<unsigned char>(*c)) * 1099511628211u;
    return hash;
  }

  /// Steps of the checkpoints that are there, the latest first.
  std::vector<uint64_t> listCheckpoints() const {
    std::vector<uint64_t> steps;
    if (DIR *folder = opendir(t.checkpoint.c_str())) {
      while (dirent *entry = readdir(folder)) {
        std::string name = entry->d_name, prefix = kPrefix, suffix = kSuffix;
        if (name.size() > prefix.size() + suffix.size() && name.compare(0, prefix.size(), prefix) == 0 &&
            name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0)
          steps.push_back(std::strtoull(name.c_str() + prefix.size(), nullptr, 10));
      }
      closedir(folder);
    }
    std::sort(steps.rbegin(), steps.rend());
    return steps;
  }

  std::string checkpointPath(uint64_t at) const {
    char name[48];
    std::snprintf(name, sizeof(name), "/%s%08llu%s", kPrefix, static_cast<unsigned long long>(at), kSuffix);
    return t.checkpoint + name;
  }

  void openCheckpoints() {
    if (mkdir(t.checkpoint.c_str(), 0777) != 0 && errno != EEXIST)
      throw Failure{Environment, t.checkpoint + ": cannot be made: " + std::strerror(errno)};
    std::vector<uint64_t> steps = listCheckpoints();
    if (!t.resume && !steps.empty())
      throw Failure{Usage, t.checkpoint + ": has checkpoints already; --resume goes on from them"};
    llmopt_error error;
    for (uint64_t at : steps) {
      Place read;
      uint64_t size = sizeof(read);
      llmopt_status status =
          llmopt_trainer_load_checkpoint(trainer.get(), checkpointPath(at).c_str(), &read, &size, &error);
      if (status == LLMOPT_BAD_WEIGHTS && at != steps.back()) {
        note(std::string(error.message) + "; the one before is tried");
        continue;
      }
      check(status, error);
      if (size != sizeof(read) || read.version != place.version)
        throw Failure{BadData, checkpointPath(at) + ": is a checkpoint of another version of this tool"};
      if (read.options != place.options)
        throw Failure{Usage,
                      checkpointPath(at) + ": was made with other data or options, and would not go on as it began"};
      place = read;
      attempts = made = firstAttempt = at;
      if (place.hasBest && !t.keepLast)
        loadBest();
      if (!options.json)
        std::printf("resumed  step %llu\n", static_cast<unsigned long long>(at));
      return;
    }
  }

  void loadBest();

  /// `place` names the next batch, of this epoch or the one behind it.
  void saveCheckpoint(bool epochEnds) {
    Place saved = place;
    if (epochEnds) {
      ++saved.epoch;
      saved.batch = 0;
    }
    llmopt_error error;
    check(
        llmopt_trainer_save_checkpoint(trainer.get(), checkpointPath(attempts).c_str(), &saved, sizeof(saved), &error),
        error);
    std::vector<uint64_t> steps = listCheckpoints();
    for (size_t i = kKept; i < steps.size(); ++i)
      unlink(checkpointPath(steps[i]).c_str());
  }

  [[noreturn]] void interrupted() {
    log.clearProgress();
    if (t.checkpoint.empty())
      throw Failure{BadData,
                    "interrupted at step " + std::to_string(attempts) + "; nothing is kept without --checkpoint"};
    saveCheckpoint(false);
    throw Failure{BadData, "interrupted at step " + std::to_string(attempts) + "; --resume goes on from there"};
  }

  void finish() {
    log.clearProgress();
    if (place.hasBest && !t.keepLast)
      restoreBest();
    llmopt_error error;
    if (!t.saveAdapter.empty())
      saveAdapter(trainer.get(), options.model.substr(0, options.model.find_last_of('.')) + ".safetensors",
                  t.saveAdapter);
    if (isSafetensors(t.save)) {
      check(llmopt_trainer_export_weights(trainer.get(), t.save.c_str(), &error), error);
    } else if (!t.save.empty()) {
      std::string tensors = t.save + ".safetensors.tmp";
      check(llmopt_trainer_save_weights(trainer.get(), tensors.c_str(), &error), error);
      try {
        writeTunedWeights(options.model, tensors, t.save);
      } catch (...) {
        unlink(tensors.c_str());
        throw;
      }
      unlink(tensors.c_str());
    }
    Values summary = {{"steps", double(attempts)},
                      {"skipped", double(skipped)},
                      {"seconds", now() - started},
                      {"gradient_seconds", gradientSeconds},
                      {"update_seconds", updateSeconds},
                      {"examples_per_second", double(seenExamples) / (now() - started)},
                      {"tokens_per_second", double(seenTokens) / (now() - started)},
                      {"train_loss", place.lossCount > 0 ? place.lossSum / place.lossCount : trainLoss}};
    if (place.hasBest) {
      summary.emplace_back("best_" + mainMetric, place.best);
      summary.emplace_back("best_step", double(place.bestStep));
    }
    for (const auto &[name, value] : lastEval)
      summary.emplace_back("eval_" + name, value);
    log.write("end", attempts, summary);
    if (options.json) {
      std::printf("%s\n", toJSON(summary).c_str());
      return;
    }
    std::printf("trained  %llu steps in %.1f s, %.1f examples/s", static_cast<unsigned long long>(attempts),
                now() - started, double(seenExamples) / (now() - started));
    if (place.hasBest)
      std::printf("; best %s %.5g at step %llu", mainMetric.c_str(), place.best,
                  static_cast<unsigned long long>(place.bestStep));
    if (skipped)
      std::printf("; %llu updates skipped", static_cast<unsigned long long>(skipped));
    std::printf("\n");
  }

  const Options &options;
  const TrainOptions &t;
  Trainer trainer;
  TrainLog log;
  std::unique_ptr<TrainData> data, dev;
  Place place;
  uint64_t updatesPerEpoch = 0, totalSteps = 0;
  uint64_t attempts = 0, made = 0, firstAttempt = 0; ///< steps, skipped ones too
  uint64_t skipped = 0, seenTokens = 0, seenExamples = 0;
  double gradientSeconds = 0, updateSeconds = 0;
  double started = 0, lastShown = 0, trainLoss = NAN;
  bool stopped = false;
  std::string mainMetric;
  Values lastEval;
  std::vector<std::vector<float>> best;
};

/// The parameters of a file that save_weights wrote.
void Training::loadBest() {
  struct Close {
    void operator()(llmopt_tensor_file *file) const { llmopt_tensor_file_close(file); }
  };
  llmopt_tensor_file *opened = nullptr;
  llmopt_error error;
  check(llmopt_tensor_file_open(bestPath().c_str(), &opened, &error), error);
  std::unique_ptr<llmopt_tensor_file, Close> file(opened);
  forEachParameter([&](uint32_t, const llmopt_parameter_info &p) {
    for (uint32_t i = 0; i < llmopt_tensor_file_size(opened); ++i) {
      llmopt_stored_tensor tensor;
      check(llmopt_tensor_file_get(opened, i, &tensor, &error), error);
      if (tensor.name != std::string(p.name))
        continue;
      if (tensor.type.dtype != LLMOPT_F32 || tensor.size != p.count * sizeof(float))
        throw Failure{BadData, bestPath() + ": '" + p.name + "' has another type or shape"};
      std::vector<float> values(p.count);
      std::memcpy(values.data(), tensor.data, tensor.size);
      best.push_back(std::move(values));
      return;
    }
    throw Failure{BadData, bestPath() + " has no tensor '" + p.name + "'"};
  });
}

} // namespace

Trainer llmopt::run::openTrainer(llmopt_model *model, const Options &options) {
  const TrainOptions &t = options.training;
  llmopt_trainer_options settings = {};
  settings.struct_size = sizeof(settings);
  settings.num_threads = options.threads;
  settings.optimizer = t.optimizer;
  settings.momentum = t.update.momentum != 0;
  settings.accumulates = t.accumulate > 1;
  settings.weights_path = isSafetensors(options.weights) ? options.weights.c_str() : nullptr;
  llmopt_trainer *trainer = nullptr;
  llmopt_error error;
  check(llmopt_trainer_create(model, &settings, &trainer, &error), error);
  Trainer owned(trainer);
  for (const auto &[name, value] : t.hypers)
    check(llmopt_trainer_set_hyper(trainer, name.c_str(), value, &error), error);
  return owned;
}

void llmopt::run::train(llmopt_model *model, const Options &options) {
  std::signal(SIGINT, [](int) { stopRequested = 1; });
  std::signal(SIGTERM, [](int) { stopRequested = 1; });
  Training(model, options).run();
}
