// Which layer gets which format, within budgets.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_SEARCH_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_SEARCH_H

#include "Ledger.h"
#include "Solver.h"

namespace llmopt {

/// What one candidate of one layer is worth.
struct Candidate {
  Choice choice;
  int64_t bytes = 0;
  double seconds = 0; ///< of one core
  double floatSeconds = 0;
  bool measured = false; ///< both; else estimated
  double damage = 0;  ///< KL of the outputs when this layer alone has this format
};

/// A choice per layer by index of its candidates.
using Assignment = std::vector<size_t>;

/// Assignments from most damage (cheapest) to none, each on the convex hull of
/// damage against lambda bytes / 10^6 + mu seconds; neighbours differ in one layer.
std::vector<Assignment> listHull(llvm::ArrayRef<std::vector<Candidate>> layers, double lambda, double mu);

} // namespace llmopt

#endif
