// What the user asked for of quantization.
#ifndef LLMOPT_DRIVER_QUANTIZEOPTIONS_H
#define LLMOPT_DRIVER_QUANTIZEOPTIONS_H

#include "llmopt/Execution/Metrics.h"
#include "llmopt/Support/CacheFolder.h"
#include "llmopt/Transforms/Quantization/Ranges.h"

#include "llvm/ADT/ArrayRef.h"

#include <optional>
#include <string>
#include <vector>

namespace llmopt {

enum class WeightMethod { Nearest, GPTQ, AWQ };

struct QuantizeOptions {
  bool int8 = false, int4 = false;
  bool staticInputs = false;          ///< int8 with ranges from calibration
  bool weightsOnly = false;           ///< int4 with inputs in float
  bool int8WeightsOnly = false;       ///< int8 with inputs in float
  bool asymmetric = false;            ///< int4 with zero points
  int64_t group = 32;                 ///< int4: inputs that share a scale
  std::optional<WeightMethod> method; ///< absent: GPTQ with data, else to nearest
  double smooth = 0;                  ///< SmoothQuant's alpha; 0: off
  bool biasCorrection = false;
  bool fake = false;                         ///< lm.fake_quantize instead of integers
  bool embeddings = true;                    ///< tables in int8, a scale per row
  std::vector<std::string> include, exclude; ///< globs over layer names

  std::string calib; ///< data of calibration; empty: none
  RangeMethod range = RangeMethod::Percentile;
  std::string mask = "attention_mask";
  int64_t calibSamples = 512;
  std::optional<std::string> calibCache; ///< a folder; empty: off; absent: the default one

  bool tune = false;    ///< measure times of layers instead of estimating them
  std::string tuneFile; ///< where measured times are kept; empty: in the cache alone
  std::vector<std::pair<std::string, std::vector<int64_t>>> tuneSizes; ///< symbols of the inputs' shapes

  std::string eval; ///< data of evaluation; empty: none
  std::vector<Metric> metrics;
  std::optional<double> accuracyBudget; ///< part of 1 that the first metric may lose
  bool relativeBudget = false;          ///< of its value, not in points
  std::optional<double> classBudget;    ///< part of 1 that the recall of a class may lose
  std::optional<int64_t> maxSize;       ///< bytes of weights
  std::optional<double> maxLatency;     ///< seconds of one run of the first sample
  double searchTime = 600;              ///< seconds
  bool allowSlower = false;

  /// The folder of what is kept between runs; empty: none.
  std::string getCalibCache() const { return calibCache ? *calibCache : CacheFolder::getDefaultPath(); }
  bool any() const { return int8 || int4; }
  bool hasBudget() const { return accuracyBudget || classBudget || maxSize || maxLatency; }
  WeightMethod getMethod() const {
    return method.value_or(calib.empty() || fake ? WeightMethod::Nearest : WeightMethod::GPTQ);
  }
};

/// Each takes what stands behind the `=` of its option; the error says what was
/// expected.
bool parseQuantizeInt8(llvm::StringRef text, QuantizeOptions &options, std::string &error);
bool parseQuantizeInt4(llvm::StringRef text, QuantizeOptions &options, std::string &error);
bool parseCalib(llvm::StringRef text, QuantizeOptions &options, std::string &error);
/// "batch:1,sequence:16+128".
bool parseTune(llvm::StringRef text, QuantizeOptions &options, std::string &error);
bool parseMetrics(llvm::StringRef text, QuantizeOptions &options, std::string &error);
bool parseAccuracyBudget(llvm::StringRef text, QuantizeOptions &options, std::string &error);
/// "20MB", "1.5GB", "800KB" (powers of 1000), "1234".
bool parseMaxSize(llvm::StringRef text, QuantizeOptions &options, std::string &error);
/// "10ms", "1.5s", "250us".
bool parseDuration(llvm::StringRef option, llvm::StringRef text, double &seconds, std::string &error);
/// What the options must agree on.
bool checkQuantizeOptions(const QuantizeOptions &options, std::string &error);

} // namespace llmopt

#endif
