// Runs tests in processes of their own: compiled code may crash or not end.
#ifndef LLMOPT_TEST_CONFORMANCE_WORKERS_H
#define LLMOPT_TEST_CONFORMANCE_WORKERS_H

#include "Case.h"

#include <functional>

namespace llmopt::conformance {

/// Calls `run(i)` for every i < count, each in a child process, `width` at a
/// time; outcomes in order of i. A child that dies, or takes longer than
/// `seconds`, is Wrong.
std::vector<Outcome> runInChildren(size_t count, unsigned width, unsigned seconds,
                                   const std::function<Outcome(size_t)> &run);

} // namespace llmopt::conformance

#endif
