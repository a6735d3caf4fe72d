// The quantize phase: data, solving, choosing, rewriting, and the ledger.
#include "Ledger.h"
#include "Search.h"
#include "Sites.h"
#include "Solver.h"

#include "../Session.h"

#include "llmopt/CodeGen/CPU/CostTable.h"
#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace llmopt;

/// Rows of a typical run: what estimates and choices are made for.
static constexpr int64_t kRows = 128;

namespace {

class Quantize {
public:
  Quantize(Session &session, const cpu::TargetInfo &target)
      : session(session), options(session.line.quantize), target(target) {}
  int run();

private:
  llvm::Error prepare();
  std::vector<QuantScheme> listSchemes() const;
  llvm::Expected<Candidate> makeCandidate(size_t i, const QuantScheme &scheme);
  llvm::Error listCandidates();

  llvm::Expected<Answers> answer(ArrayRef<Choice> choices, double *seconds);
  std::vector<Choice> getChoices(const Assignment &assignment) const;
  llvm::Error measureDamage();
  llvm::Expected<ParetoPoint> evaluate(const Assignment &assignment);
  bool meets(const ParetoPoint &point) const;
  llvm::Error search(Assignment &chosen);
  void fillLedger(const Assignment &chosen);
  void report();
  void quantizeTablesAndRecord();
  Progress progress(StringRef what);

  Session &session;
  const QuantizeOptions &options;
  const cpu::TargetInfo &target;
  std::vector<Site> sites;
  std::unique_ptr<Solver> solver;
  std::vector<std::vector<Candidate>> layers; ///< the first is what was asked for, the last float
  Ledger ledger;

  std::optional<Dataset> data; ///< -eval
  Metric metric = Metric::KL;
  Answers original;
  std::vector<int64_t> labels;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

} // namespace

static cpu::Product getProduct(const QuantScheme &scheme) {
  if (scheme.isFloat())
    return cpu::Product::Float;
  if (scheme.weight == QuantScheme::Weight::Int8)
    return scheme.input == QuantScheme::Input::Static ? cpu::Product::Int8Static : cpu::Product::Int8;
  return scheme.input == QuantScheme::Input::Float ? cpu::Product::Int4Weights : cpu::Product::Int4;
}

Progress Quantize::progress(StringRef what) {
  return [this, what = what.str()](int64_t done, int64_t total) { session.showProgress(what, done, total); };
}

std::vector<QuantScheme> Quantize::listSchemes() const {
  std::vector<QuantScheme> schemes;
  if (options.int4)
    schemes.push_back({QuantScheme::Weight::Int4,
                       options.weightsOnly ? QuantScheme::Input::Float : QuantScheme::Input::PerGroup, options.group});
  if (options.int8)
    schemes.push_back({QuantScheme::Weight::Int8,
                       options.staticInputs ? QuantScheme::Input::Static : QuantScheme::Input::PerToken, 0});
  return schemes;
}

llvm::Expected<Candidate> Quantize::makeCandidate(size_t i, const QuantScheme &scheme) {
  const Site &site = sites[i];
  Candidate candidate;
  llvm::Expected<Choice> choice = solver->solve(i, scheme);
  if (!choice)
    return choice.takeError();
  candidate.choice = std::move(*choice);
  double seconds = cpu::estimateProduct(target, getProduct(candidate.choice.scheme), kRows, site.k, site.n);
  double floatSeconds = cpu::estimateProduct(target, cpu::Product::Float, kRows, site.k, site.n);
  // int4 is asked for to save memory, int8 to save time.
  // Rates are of CPUs.
  bool known = !llvm::is_contained({EmitKind::Cuda, EmitKind::Cubin, EmitKind::Ptx, EmitKind::Onnx}, session.line.emit);
  if (known && candidate.choice.scheme.weight == QuantScheme::Weight::Int8 && seconds >= floatSeconds &&
      !options.allowSlower) {
    candidate.choice = Choice();
    candidate.choice.reason = llvm::formatv("not faster on {0}: {1:f0} us, float {2:f0} us (estimated); -allow-slower",
                                            target.cpu, seconds * 1e6, floatSeconds * 1e6)
                                  .str();
    seconds = floatSeconds;
  }
  candidate.seconds = seconds;
  candidate.bytes = candidate.choice.scheme.getBytes(site.k, site.n);
  return candidate;
}

llvm::Error Quantize::listCandidates() {
  std::vector<QuantScheme> schemes = listSchemes();
  for (size_t i = 0; i < sites.size(); ++i) {
    std::vector<Candidate> candidates;
    std::string reason;
    for (const QuantScheme &scheme : schemes) {
      llvm::Expected<Candidate> candidate = makeCandidate(i, scheme);
      if (!candidate)
        return candidate.takeError();
      if (!candidate->choice.scheme.isFloat())
        candidates.push_back(std::move(*candidate));
      else if (reason.empty())
        reason = candidate->choice.reason;
    }
    Candidate asFloat;
    asFloat.choice.reason = reason;
    asFloat.bytes = QuantScheme().getBytes(sites[i].k, sites[i].n);
    asFloat.seconds = cpu::estimateProduct(target, cpu::Product::Float, kRows, sites[i].k, sites[i].n);
    candidates.push_back(std::move(asFloat));
    layers.push_back(std::move(candidates));
  }
  return llvm::Error::success();
}

llvm::Error Quantize::prepare() {
  ModuleOp module = *session.module;
  llvm::Expected<std::vector<Site>> found = collectSites(module, options);
  if (!found)
    return found.takeError();
  sites = std::move(*found);
  bool measure = session.line.reportQuant || !session.line.reportFile.empty() || options.hasBudget();
  solver = std::make_unique<Solver>(module, sites, options, target, measure,
                                    [this](const llvm::Twine &text) { session.note(text); });
  return solver->calibrate(progress("calibrate"));
}

//===----------------------------------------------------------------------===//
// Evaluation
//===----------------------------------------------------------------------===//

std::vector<Choice> Quantize::getChoices(const Assignment &assignment) const {
  std::vector<Choice> choices;
  for (auto [candidates, index] : llvm::zip_equal(layers, assignment))
    choices.push_back(candidates[index].choice);
  return choices;
}

/// The answers of a copy of the model with `choices`; `seconds` of a run of its first
/// sample, the median of five.
llvm::Expected<Answers> Quantize::answer(ArrayRef<Choice> choices, double *seconds) {
  OwningOpRef<ModuleOp> copy = session.module->clone();
  if (!choices.empty())
    applyChoices(*copy, choices);
  auto model = compileCopy(*copy, target);
  if (!model)
    return model.takeError();
  if (seconds) {
    std::vector<double> times;
    std::vector<NamedArray> first = data->getBatch(0, data->getBatchSize(1));
    for (int i = 0; i < 6; ++i) {
      auto start = std::chrono::steady_clock::now();
      if (auto outputs = (*model)->run(first, /*numThreads=*/0); !outputs)
        return outputs.takeError();
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    times.erase(times.begin());
    llvm::sort(times);
    *seconds = times[times.size() / 2];
  }
  llvm::Expected<std::vector<NamedArray>> outputs = runDataset(**model, *data);
  if (!outputs)
    return outputs.takeError();
  return getAnswers(*outputs, *data, options.mask);
}

llvm::Error Quantize::measureDamage() {
  // On a part of the data: it only orders layers.
  Dataset all = *data;
  data->truncate(std::min<int64_t>(data->size(), 64));
  llvm::Expected<Answers> reference = answer({}, nullptr);
  if (!reference)
    return reference.takeError();
  int64_t done = 0, total = 0;
  for (const std::vector<Candidate> &candidates : layers)
    total += static_cast<int64_t>(candidates.size()) - 1;
  for (size_t i = 0; i < layers.size(); ++i)
    for (Candidate &candidate : layers[i]) {
      if (candidate.choice.scheme.isFloat())
        continue;
      std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
      if (elapsed.count() > options.searchTime / 2) {
        session.note("search: no time to measure every layer; the rest is ranked by the error of its weight");
        // As if all damage came from noise of the same kind.
        candidate.damage = std::pow(10.0, -candidate.choice.sqnr / 10);
        continue;
      }
      std::vector<Choice> choices(sites.size());
      choices[i] = candidate.choice;
      llvm::Expected<Answers> answers = answer(choices, nullptr);
      if (!answers)
        return answers.takeError();
      candidate.damage = std::max(0.0, compare(Metric::KL, *answers, *reference, {}).kl);
      progress("measure layers")(++done, total);
    }
  data = std::move(all);
  return llvm::Error::success();
}

bool Quantize::meets(const ParetoPoint &point) const {
  if (options.maxSize && point.bytes > *options.maxSize)
    return false;
  if (options.maxLatency && point.seconds && *point.seconds > *options.maxLatency)
    return false;
  if (options.accuracyBudget) {
    double lost = getDirection(metric) * (*ledger.before - *point.metric);
    if (lost > *options.accuracyBudget * (options.relativeBudget ? std::fabs(*ledger.before) : 1) + 1e-12)
      return false;
  }
  return !options.classBudget || !ledger.worstClassLoss || *ledger.worstClassLoss <= *options.classBudget + 1e-12;
}

llvm::Expected<ParetoPoint> Quantize::evaluate(const Assignment &assignment) {
  ParetoPoint point;
  std::map<std::string, int> named;
  point.bytes = ledger.otherBytes;
  for (auto [candidates, index] : llvm::zip_equal(layers, assignment)) {
    ++named[candidates[index].choice.scheme.str()];
    point.bytes += candidates[index].bytes;
  }
  for (auto &[name, count] : named)
    point.description += (point.description.empty() ? "" : ", ") + std::to_string(count) + " " + name;
  if (!data) {
    point.meetsBudget = meets(point);
    return point;
  }
  double seconds = 0;
  llvm::Expected<Answers> answers = answer(getChoices(assignment), options.maxLatency ? &seconds : nullptr);
  if (!answers)
    return answers.takeError();
  if (options.maxLatency)
    point.seconds = seconds;
  Comparison result = compare(metric, *answers, original, labels);
  point.metric = result.value;
  ledger.after = result.value;
  ledger.samples = result.rows;
  ledger.flips = result.flips;
  ledger.kl = result.kl;
  if (metric == Metric::Accuracy)
    ledger.interval = result.interval;
  if (result.worstClass >= 0) {
    ledger.worstClassLoss = result.worstClassLoss;
    ledger.worstClass = result.worstClass;
  }
  point.meetsBudget = meets(point);
  return point;
}

/// Bisects for the cheapest point of the hull that meets the budgets on accuracy; if
/// size or time are then too large there is none, and the most accurate that
/// fits them is the best there is.
llvm::Error Quantize::search(Assignment &chosen) {
  if (data)
    if (llvm::Error error = measureDamage())
      return error;
  double mu = options.maxLatency ? 1e3 : 1; // seconds against megabytes
  std::vector<Assignment> path = listHull(layers, 1, mu);
  std::map<size_t, ParetoPoint> seen;
  auto look = [&](size_t i) -> llvm::Expected<ParetoPoint> {
    if (auto it = seen.find(i); it != seen.end())
      return it->second;
    llvm::Expected<ParetoPoint> point = evaluate(path[i]);
    if (point)
      seen[i] = *point;
    return point;
  };
  auto fits = [&](const ParetoPoint &point) { // size and time alone
    return (!options.maxSize || point.bytes <= *options.maxSize) &&
           (!options.maxLatency || !point.seconds || *point.seconds <= *options.maxLatency);
  };
  bool accuracy = options.accuracyBudget || options.classBudget;
  // The dearest point that fits size and time: nothing beyond it may be chosen.
  size_t last = path.size() - 1;
  if (options.maxSize || options.maxLatency) {
    size_t low = 0, high = path.size(); // fits below low (if any), not from high
    while (low < high) {
      size_t middle = (low + high) / 2;
      llvm::Expected<ParetoPoint> point = look(middle);
      if (!point)
        return point.takeError();
      if (fits(*point))
        low = middle + 1;
      else
        high = middle;
    }
    last = low ? low - 1 : 0;
  }
  size_t best = last;
  if (accuracy) {
    size_t low = 0, high = last; // the answer is in [low, high], if there is one
    while (low < high) {
      size_t middle = (low + high) / 2;
      llvm::Expected<ParetoPoint> point = look(middle);
      if (!point)
        return point.takeError();
      if (point->meetsBudget)
        high = middle;
      else
        low = middle + 1;
    }
    best = low;
  }
  llvm::Expected<ParetoPoint> point = evaluate(path[best]); // the ledger is about this one
  if (!point)
    return point.takeError();
  seen[best] = *point;
  seen[best].chosen = true;
  for (auto &[index, entry] : seen)
    ledger.points.push_back(entry);
  chosen = path[best];
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Report
//===----------------------------------------------------------------------===//

void Quantize::fillLedger(const Assignment &chosen) {
  for (auto [site, candidates, index] : llvm::zip_equal(sites, layers, chosen)) {
    const Candidate &candidate = candidates[index], &asFloat = candidates.back();
    LedgerEntry entry;
    entry.layer = site.name;
    entry.scheme = candidate.choice.scheme.str();
    entry.k = site.k;
    entry.n = site.n;
    entry.bytes = candidate.bytes;
    entry.floatBytes = asFloat.bytes;
    entry.microseconds = candidate.seconds * 1e6;
    entry.floatMicroseconds = asFloat.seconds * 1e6;
    if (!candidate.choice.scheme.isFloat())
      entry.sqnr = candidate.choice.sqnr;
    if (candidate.damage > 0)
      entry.damage = candidate.damage;
    entry.reason = candidate.choice.reason;
    if (entry.reason.empty() && candidate.choice.scheme.isFloat() && candidates.size() > 1)
      entry.reason = "accuracy";
    ledger.layers.push_back(std::move(entry));
  }
}

void Quantize::report() {
  if (session.line.reportQuant)
    ledger.print(session.errors());
  std::string text;
  llvm::raw_string_ostream os(text);
  ledger.printJSON(os);
  session.addReport("quantization", text);
}

/// Bytes of weights that no linear layer reads.
static int64_t countOtherBytes(ModuleOp module, ArrayRef<Site> sites) {
  int64_t bytes = 0, inLayers = 0;
  module.walk([&](lm::WeightOp weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    bytes += static_cast<int64_t>(lm::getStorageBytes(type.getElementType(), type.getNumElements()).value_or(0));
  });
  for (const Site &site : sites)
    if (isQuantizable(site.linear))
      inLayers += 4 * site.k * site.n;
  return std::max<int64_t>(0, bytes - inLayers);
}

void Quantize::quantizeTablesAndRecord() {
  for (const TableSite &table : quantizeTables(*session.module, options)) {
    LedgerEntry entry;
    entry.layer = table.name;
    entry.scheme = "int8-rows";
    entry.k = table.rows;
    entry.n = table.width;
    entry.floatBytes = 4 * table.rows * table.width;
    entry.bytes = table.rows * table.width + 4 * table.rows;
    ledger.otherBytes -= entry.floatBytes - entry.bytes;
    ledger.layers.push_back(std::move(entry));
  }
}

int Quantize::run() {
  session.beginPhase("quantize");
  if (llvm::Error error = prepare())
    return session.fail(std::move(error));
  if (llvm::Error error = listCandidates())
    return session.fail(std::move(error));
  ledger.otherBytes = countOtherBytes(*session.module, sites);
  if (!options.eval.empty()) {
    auto main = session.module->lookupSymbol<func::FuncOp>("main");
    llvm::Expected<Dataset> read = Dataset::read(options.eval, main);
    if (!read)
      return session.fail(read.takeError());
    data = std::move(*read);
    metric = !options.metrics.empty()                      ? options.metrics.front()
             : data->find("labels") || data->find("label") ? Metric::Accuracy
                                                           : Metric::Top1;
    ledger.metric = getMetricName(metric).str();
    llvm::Expected<Answers> answers = answer({}, nullptr);
    if (!answers)
      return session.fail(answers.takeError());
    original = std::move(*answers);
    llvm::Expected<std::vector<int64_t>> read2 = getLabels(*data, metric, original);
    if (!read2)
      return session.fail(kBadModel, options.eval + ": " + llvm::toString(read2.takeError()));
    labels = std::move(*read2);
    ledger.before = compare(metric, original, original, labels).value;
  }
  if (options.embeddings)
    quantizeTablesAndRecord();
  Assignment chosen(sites.size(), 0);
  if (options.hasBudget()) {
    if (llvm::Error error = search(chosen))
      return session.fail(std::move(error));
  } else if (data) {
    if (llvm::Expected<ParetoPoint> point = evaluate(chosen); !point)
      return session.fail(point.takeError());
  }
  applyChoices(*session.module, getChoices(chosen));
  fillLedger(chosen);
  report();
  for (const ParetoPoint &point : ledger.points)
    if (point.chosen && !point.meetsBudget)
      session.failLater(kGateFailed, "no choice meets the budget; the best found is " + point.description);
  session.keep(std::move(solver)); // its files are read when weights are written
  return session.checkModule("quantize");
}

int llmopt::quantizeModel(Session &session) {
  const CommandLine &line = session.line;
  if (!line.quantize.any())
    return kOk;
  std::string error;
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget(line.target, line.cpu, error);
  if (!target)
    return session.fail(kUsage, error);
  bool runs = !line.quantize.calib.empty() || !line.quantize.eval.empty();
  if (runs && !cpu::runsOnHost(*target)) // data is run on this machine, whatever the target
    target = cpu::resolveTarget("", "native", error);
  return Quantize(session, *target).run();
}
