// -report=quant: what each layer became, and what it cost.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_LEDGER_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_LEDGER_H

#include "llvm/Support/raw_ostream.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace llmopt {

struct LedgerEntry {
  std::string layer;
  std::string scheme;
  int64_t k = 0, n = 0;
  int64_t bytes = 0, floatBytes = 0;
  double microseconds = 0, floatMicroseconds = 0; ///< of one core, for `rows` of the input
  bool measured = false;                          ///< else estimated
  std::vector<int64_t> rows;                      ///< several: times are their mean
  std::optional<double> sqnr;                     ///< dB
  std::optional<double> damage;                   ///< KL in nats of the outputs with this layer alone quantized
  std::string reason;
};

/// One evaluated set of choices.
struct ParetoPoint {
  std::string description; ///< "12 int4-g32, 36 int8, 1 float"
  int64_t bytes = 0;
  std::optional<double> metric, seconds;
  bool meetsBudget = true, chosen = false;
};

struct Ledger {
  std::vector<LedgerEntry> layers;
  std::string metric; ///< name; empty without evaluation
  std::optional<double> before, after;
  std::optional<double> interval; ///< half of the paired 95 % interval of the change
  int64_t samples = 0, flips = 0;
  std::optional<double> kl;         ///< mean divergence of the outputs from the original's, in nats
  std::optional<double> worstClassLoss;
  int64_t worstClass = -1;
  std::vector<ParetoPoint> points;
  int64_t otherBytes = 0; ///< of weights that are no linear layers

  void print(llvm::raw_ostream &os) const;
  /// {"layers": [{"layer", "scheme", "shape", "bytes", "float_bytes", "microseconds", ...}], ...}
  void printJSON(llvm::raw_ostream &os) const;
};

} // namespace llmopt

#endif
