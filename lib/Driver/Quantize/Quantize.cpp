// The quantize phase: data, solving, choosing, rewriting, and the ledger.
#include "Evaluation.h"
#include "LayerTimes.h"
#include "Ledger.h"
#include "Search.h"
#include "Sites.h"
#include "Solver.h"

#include "../Session.h"

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace llmopt;

namespace {

class Quantize {
public:
  /// Data runs on `target`, this machine; the model is meant for `destination`.
  Quantize(Session &session, const cpu::TargetInfo &target, const cpu::TargetInfo &destination)
      : session(session), options(session.line.quantize), target(target), destination(destination) {}
  int run();

private:
  llvm::Error prepare();
  void setTimes(size_t i, const QuantScheme &scheme, Candidate &candidate) const;
  std::vector<QuantScheme> listSchemes() const;
  llvm::Expected<Candidate> makeCandidate(size_t i, const QuantScheme &scheme);
  llvm::Error listCandidates();

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
  const cpu::TargetInfo &target, &destination;
  std::vector<Site> sites;
  std::optional<LayerTimes> times;
  std::unique_ptr<Solver> solver;
  std::vector<std::vector<Candidate>> layers; ///< the first is what was asked for, the last float
  Ledger ledger;

  std::unique_ptr<Evaluation> evaluation; ///< with -eval
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

} // namespace

Progress Quantize::progress(StringRef what) {
  return [this, what = what.str()](int64_t done, int64_t total) { session.showProgress(what, done, total); };
}

std::vector<QuantScheme> Quantize::listSchemes() const {
  bool isBase = session.line.training.lora && !options.fake; // gradients pass by its inputs
  std::vector<QuantScheme> schemes;
  if (options.int4)
    schemes.push_back({QuantScheme::Weight::Int4,
                       options.weightsOnly || isBase ? QuantScheme::Input::Float : QuantScheme::Input::PerGroup,
                       options.group, options.fake});
  if (options.int8)
    schemes.push_back({QuantScheme::Weight::Int8,
                       isBase                 ? QuantScheme::Input::Float
                       : options.staticInputs ? QuantScheme::Input::Static
                                              : QuantScheme::Input::PerToken,
                       0, options.fake});
  return schemes;
}

llvm::Expected<Candidate> Quantize::makeCandidate(size_t i, const QuantScheme &scheme) {
  const Site &site = sites[i];
  Candidate candidate;
  llvm::Expected<Choice> choice = solver->solve(i, scheme);
  if (!choice)
    return choice.takeError();
  candidate.choice = std::move(*choice);
  setTimes(i, candidate.choice.scheme, candidate);
  // int4 is asked for to save memory, int8 to save time.
  // Rates are of CPUs.
  bool known = !options.fake && !session.line.training.lora &&
               !llvm::is_contained({EmitKind::Cuda, EmitKind::Cubin, EmitKind::Ptx, EmitKind::Onnx}, session.line.emit);
  if (known && candidate.choice.scheme.weight == QuantScheme::Weight::Int8 &&
      candidate.seconds >= candidate.floatSeconds && !options.allowSlower) {
    candidate.choice = Choice();
    candidate.choice.reason = llvm::formatv("not faster on {0}: {1:f0} us, float {2:f0} us ({3}); -allow-slower",
                                            destination.cpu, candidate.seconds * 1e6, candidate.floatSeconds * 1e6,
                                            candidate.measured ? "measured" : "estimated")
                                  .str();
    candidate.seconds = candidate.floatSeconds;
  }
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
    setTimes(i, QuantScheme(), asFloat);
    candidates.push_back(std::move(asFloat));
    layers.push_back(std::move(candidates));
  }
  return llvm::Error::success();
}

void Quantize::setTimes(size_t i, const QuantScheme &scheme, Candidate &candidate) const {
  LayerTimes::Times found = times->get(i, scheme);
  candidate.seconds = found.seconds;
  candidate.floatSeconds = found.floatSeconds;
  candidate.measured = found.measured;
}

llvm::Error Quantize::prepare() {
  ModuleOp module = *session.module;
  llvm::Expected<std::vector<Site>> found = collectSites(module, options);
  if (!found)
    return found.takeError();
  sites = std::move(*found);
  times.emplace(sites, destination);
  if (options.tune || !options.tuneFile.empty())
    if (llvm::Error error = times->tune(module, options, listSchemes(), progress("tune"),
                                        [this](const llvm::Twine &text) { session.note(text); }))
      return error;
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

llvm::Error Quantize::measureDamage() {
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
      llvm::Expected<double> damage = evaluation->getDamage(choices);
      if (!damage)
        return damage.takeError();
      candidate.damage = *damage;
      progress("measure layers")(++done, total);
    }
  return llvm::Error::success();
}

bool Quantize::meets(const ParetoPoint &point) const {
  if (options.maxSize && point.bytes > *options.maxSize)
    return false;
  if (options.maxLatency && point.seconds && *point.seconds > *options.maxLatency)
    return false;
  if (options.accuracyBudget) {
    double lost = getDirection(evaluation->metric) * (*ledger.before - *point.metric);
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
  if (!evaluation) {
    point.meetsBudget = meets(point);
    return point;
  }
  double seconds = 0;
  llvm::Expected<Comparison> compared =
      evaluation->compare(getChoices(assignment), options.maxLatency ? &seconds : nullptr);
  if (!compared)
    return compared.takeError();
  const Comparison &result = *compared;
  if (options.maxLatency)
    point.seconds = seconds;
  point.metric = result.value;
  ledger.after = result.value;
  ledger.samples = result.rows;
  ledger.flips = result.flips;
  ledger.kl = result.kl;
  if (evaluation->metric == Metric::Accuracy)
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
  if (evaluation)
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
  for (auto [site, candidates, index, siteRows] : llvm::zip_equal(sites, layers, chosen, times->rows)) {
    const Candidate &candidate = candidates[index], &asFloat = candidates.back();
    LedgerEntry entry;
    entry.layer = site.name;
    entry.scheme = candidate.choice.scheme.str();
    entry.k = site.k;
    entry.n = site.n;
    entry.bytes = candidate.bytes;
    entry.floatBytes = asFloat.bytes;
    entry.microseconds = candidate.seconds * 1e6;
    entry.floatMicroseconds = candidate.floatSeconds * 1e6;
    entry.measured = candidate.measured;
    entry.rows = siteRows;
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
  // Pairs of a file train as one operation; rounding for training ends as integers.
  if (options.fake)
    formFakeQuantize(*session.module);
  else
    expandFakeQuantize(*session.module);
  if (llvm::Error error = prepare())
    return session.fail(std::move(error));
  if (llvm::Error error = listCandidates())
    return session.fail(std::move(error));
  ledger.otherBytes = countOtherBytes(*session.module, sites);
  if (!options.eval.empty()) {
    evaluation = std::make_unique<Evaluation>(*session.module, options, target);
    if (llvm::Error error = evaluation->prepare())
      return session.fail(std::move(error));
    ledger.metric = getMetricName(evaluation->metric).str();
    ledger.before = evaluation->before;
  }
  if (options.embeddings && !options.fake)
    quantizeTablesAndRecord();
  Assignment chosen(sites.size(), 0);
  if (options.hasBudget()) {
    if (llvm::Error error = search(chosen))
      return session.fail(std::move(error));
  } else if (evaluation) {
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
  std::optional<cpu::TargetInfo> host; // data is run on this machine, whatever the target
  if (!cpu::runsOnHost(*target)) {
    if (line.quantize.tune && !llvm::sys::fs::exists(line.quantize.tuneFile))
      return session.fail(kUsage, "expected -tune-file=<times of " + target->cpu +
                                      "> with -tune: this machine cannot measure for another CPU");
    host = cpu::resolveTarget("", "native", error);
    if (!host)
      return session.fail(kUsage, error);
  }
  return Quantize(session, host ? *host : *target, *target).run();
}
