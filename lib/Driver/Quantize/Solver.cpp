#include "Solver.h"

#include "llmopt/CodeGen/Plan/WeightsFile.h"
#include "llmopt/Transforms/Quantization/Awq.h"
#include "llmopt/Transforms/Quantization/Gptq.h"
#include "llmopt/Transforms/Quantization/MigrateScales.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace llmopt;

/// Gram matrices that are in memory at one time, in bytes.
static constexpr int64_t kGramMemory = int64_t(128) << 20;
/// Rows kept of each input for AWQ.
static constexpr int64_t kSampleRows = 192;

llvm::Expected<WeightMatrix> Solver::readMatrix(size_t i) const {
  lm::LinearOp linear = sites[i].linear;
  llvm::Expected<std::vector<char>> bytes = readWeight(linear.getWeight());
  if (!bytes)
    return llvm::createStringError(sites[i].name + ": " + llvm::toString(bytes.takeError()));
  WeightMatrix w{sites[i].k, sites[i].n, std::vector<float>(sites[i].k * sites[i].n)};
  if (!linear.getTransposeWeight()) {
    std::memcpy(w.values.data(), bytes->data(), bytes->size());
    return w;
  }
  auto *values = reinterpret_cast<const float *>(bytes->data());
  for (int64_t o = 0; o < w.n; ++o)
    for (int64_t k = 0; k < w.k; ++k)
      w.at(k, o) = values[o * w.k + k];
  return w;
}

GridOptions Solver::getGrid(const QuantScheme &scheme) const {
  GridOptions grid;
  bool int4 = scheme.weight == QuantScheme::Weight::Int4;
  grid.bits = int4 ? 4 : 8;
  grid.group = int4 ? scheme.group : 0;
  grid.symmetric = !(int4 && options.asymmetric);
  grid.search = int4 && options.getMethod() != WeightMethod::Nearest;
  return grid;
}

//===----------------------------------------------------------------------===//
// Calibration
//===----------------------------------------------------------------------===//

llvm::Error Solver::collect(bool gram, ArrayRef<Value> inputs, const Progress &progress) {
  StatisticsOptions option;
  option.gram = gram;
  option.sampleRows = options.getMethod() == WeightMethod::AWQ && !gram ? kSampleRows : 0;
  SmallVector<StatisticsOptions> all(inputs.size(), option);
  std::optional<std::vector<ActivationStatistics>> found;
  CacheFolder::Key key{};
  if (cache.isOn()) {
    key = cache.getKey(module, inputs, option, *data, options.mask);
    found = cache.find(key, inputs.size());
  }
  bool isNew = !found;
  if (isNew) {
    auto result = collectStatistics(module, target, inputs, all, *data, options.mask, progress);
    if (!result)
      return result.takeError();
    found = std::move(*result);
  }
  for (const ActivationStatistics &statistic : *found) {
    if (statistic.notFinite)
      return llvm::createStringError(options.calib + ": the model computes " + llvm::Twine(statistic.notFinite) +
                                     " values that are NaN or infinite");
    if (!statistic.rows)
      return llvm::createStringError(options.calib + ": '" + options.mask + "' leaves no token to calibrate with");
  }
  if (isNew && cache.isOn())
    cache.keep(key, *found);
  for (auto [input, statistic] : llvm::zip_equal(inputs, *found))
    statistics[input] = std::move(statistic);
  return llvm::Error::success();
}

/// Whether what a layer reads can be an output: it is no value of a branch or loop.
static bool canObserve(lm::LinearOp linear) { return isa<func::FuncOp>(linear->getParentOp()); }

/// Layers by the value that they read.
static llvm::MapVector<Value, SmallVector<size_t>> groupByInput(ArrayRef<Site> sites) {
  llvm::MapVector<Value, SmallVector<size_t>> groups;
  for (auto [i, site] : llvm::enumerate(sites))
    if (site.reason.empty() && canObserve(site.linear))
      groups[lm::LinearOp(site.linear).getInput()].push_back(i);
  return groups;
}

llvm::Error Solver::migrate() {
  bool awq = options.int4 && options.getMethod() == WeightMethod::AWQ;
  if (!awq && options.smooth == 0)
    return llvm::Error::success();
  QuantScheme scheme{QuantScheme::Weight::Int4, QuantScheme::Input::PerGroup, options.group};
  int moved = 0, kept = 0;
  for (auto &[input, members] : groupByInput(sites)) {
    SmallVector<lm::LinearOp> consumers;
    for (size_t i : members)
      consumers.push_back(sites[i].linear);
    if (!canMigrateScales(input, consumers) || (awq && whyNot(consumers.front(), scheme))) {
      ++kept;
      continue;
    }
    std::vector<WeightMatrix> matrices;
    for (size_t i : members) {
      llvm::Expected<WeightMatrix> w = readMatrix(i);
      if (!w)
        return w.takeError();
      matrices.push_back(std::move(*w));
    }
    SmallVector<const WeightMatrix *> pointers;
    for (const WeightMatrix &w : matrices)
      pointers.push_back(&w);
    ActivationStatistics &statistic = statistics[input];
    InputScales scales = awq ? searchAwqScales(pointers, statistic, getGrid(scheme))
                             : getSmoothQuantScales(pointers, statistic, options.smooth);
    migrateScales(input, consumers, scales);
    for (int64_t j = 0; j < statistic.width; ++j) { // what the layers see now
      statistic.absMax[j] /= scales[j];
      statistic.sum[j] /= scales[j];
      statistic.sumAbs[j] /= scales[j];
      statistic.sumSquares[j] /= double(scales[j]) * scales[j];
    }
    ++moved;
  }
  note(llvm::Twine(awq ? "awq" : "smooth") + ": scales moved into what produces the input at " + llvm::Twine(moved) +
       " of " + llvm::Twine(moved + kept) + " places" + (kept ? "; elsewhere something else reads the input too" : ""));
  return llvm::Error::success();
}

llvm::Error Solver::calibrate(const Progress &progress) {
  if (options.calib.empty())
    return llvm::Error::success();
  if (llvm::Error error = runCalibration(progress))
    return error;
  cache.commit();
  if (!cache.hits)
    return llvm::Error::success();
  std::string part;
  if (cache.misses)
    part = llvm::formatv(" ({0} of {1} parts)", cache.hits, cache.hits + cache.misses).str();
  note("calibrate: statistics from the cache in " + cache.getPath() + part);
  return llvm::Error::success();
}

llvm::Error Solver::runCalibration(const Progress &progress) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  llvm::Expected<Dataset> read = Dataset::read(options.calib, main);
  if (!read)
    return read.takeError();
  data = std::move(*read);
  data->truncate(options.calibSamples);

  auto groups = groupByInput(sites);
  SmallVector<Value> inputs;
  for (auto &[input, members] : groups)
    inputs.push_back(input);
  if (inputs.empty())
    return llvm::Error::success();
  bool gptq = options.int4 && options.getMethod() == WeightMethod::GPTQ;
  bool needsRanges = options.staticInputs || options.smooth > 0 || options.biasCorrection ||
                     (options.int4 && options.getMethod() == WeightMethod::AWQ);
  if (needsRanges)
    if (llvm::Error error = collect(false, inputs, progress))
      return error;
  if (llvm::Error error = migrate())
    return error;
  if (options.smooth > 0 && options.staticInputs) // ranges of what the layers see now
    if (llvm::Error error = collect(false, inputs, progress))
      return error;
  if (!gptq)
    return llvm::Error::success();

  // As many layers at a time as their Gram matrices fit; each is solved and forgotten.
  QuantScheme scheme{QuantScheme::Weight::Int4,
                     options.weightsOnly ? QuantScheme::Input::Float : QuantScheme::Input::PerGroup, options.group};
  for (size_t first = 0; first < inputs.size();) {
    size_t end = first;
    for (int64_t bytes = 0; end < inputs.size(); ++end) {
      int64_t width = cast<RankedTensorType>(inputs[end].getType()).getShape().back();
      bytes += 4 * width * width;
      if (end > first && bytes > kGramMemory)
        break;
    }
    ArrayRef<Value> round = ArrayRef(inputs).slice(first, end - first);
    if (llvm::Error error = collect(true, round, progress))
      return error;
    for (Value input : round)
      for (size_t i : groups[input])
        if (llvm::Expected<Choice> choice = solve(i, scheme); !choice)
          return choice.takeError();
    for (Value input : round)
      std::vector<float>().swap(statistics[input].gram); // assigning {} would keep the memory
    first = end;
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// One layer
//===----------------------------------------------------------------------===//

static double getStaticRange(const ActivationStatistics &statistics, RangeMethod method) {
  switch (method) {
  case RangeMethod::MinMax:
    return statistics.getAbsMax();
  case RangeMethod::MovingAverage:
    return statistics.average;
  case RangeMethod::Percentile:
    return getPercentileRange(statistics.histogram);
  case RangeMethod::Entropy:
    return getEntropyRange(statistics.histogram);
  case RangeMethod::MSE:
    return getMSERange(statistics.histogram);
  }
  return 0;
}

llvm::Expected<Choice> Solver::solve(size_t i, const QuantScheme &scheme) {
  Choice choice;
  if (scheme.isFloat() || !sites[i].reason.empty()) {
    choice.reason = sites[i].reason;
    return choice;
  }
  if (scheme.input == QuantScheme::Input::Static && !canObserve(sites[i].linear)) {
    choice.reason = "in a branch or loop, where inputs cannot be observed";
    return choice;
  }
  if (std::optional<std::string> reason = whyNot(sites[i].linear, scheme)) {
    choice.reason = *reason;
    return choice;
  }
  auto key = std::make_pair(i, scheme.str());
  if (auto it = solved.find(key); it != solved.end())
    return it->second;
  choice.scheme = scheme;
  bool isPlain = options.getMethod() == WeightMethod::Nearest && !options.asymmetric && options.calib.empty();
  if (isPlain && !measure) // a recipe, nothing to compute now
    return solved[key] = choice;
  llvm::Expected<WeightMatrix> w = readMatrix(i);
  if (!w)
    return w.takeError();
  auto it = statistics.find(sites[i].linear.getInput());
  const ActivationStatistics *statistic = it == statistics.end() ? nullptr : &it->second;
  GridOptions grid = getGrid(scheme);
  bool int4 = scheme.weight == QuantScheme::Weight::Int4;
  std::optional<QuantizedMatrix> matrix;
  bool isRecipe = false;
  if (int4 && options.getMethod() == WeightMethod::GPTQ && statistic && !statistic->gram.empty()) {
    GptqOptions gptq;
    gptq.grid = grid;
    matrix = solveGptq(*w, statistic->gram, gptq);
    if (!matrix)
      choice.reason = "rounded to nearest: the Gram matrix of its inputs is not positive definite";
  }
  if (!matrix) {
    std::vector<float> importance;
    if (int4 && statistic && options.getMethod() == WeightMethod::AWQ)
      importance.assign(statistic->sumSquares.begin(), statistic->sumSquares.end());
    matrix = roundToNearest(*w, grid, importance);
    isRecipe = grid.symmetric && !grid.search;
  }
  choice.sqnr = getSQNR(*w, *matrix);
  if (!isRecipe) {
    llvm::Expected<StoredWeight> stored = store.store(module.getContext(), sites[i].name, *matrix);
    if (!stored)
      return stored.takeError();
    choice.weight = std::move(*stored);
  }
  if (scheme.input == QuantScheme::Input::Static) {
    double range = getStaticRange(*statistic, options.range);
    choice.staticScale = range > 0 ? range / 127 : 1;
  }
  if (options.biasCorrection && statistic) {
    // The mean error of the output is the error of the weight times the mean input.
    std::vector<float> mean = statistic->getMean();
    choice.biasShift.assign(w->n, 0.0f);
    for (int64_t k = 0; k < w->k; ++k)
      for (int64_t o = 0; o < w->n; ++o)
        choice.biasShift[o] += mean[k] * (w->at(k, o) - matrix->value(k, o));
  }
  return solved[key] = choice;
}
