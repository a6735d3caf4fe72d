// What the tool prints.
#ifndef LLMOPT_RUN_REPORTS_H
#define LLMOPT_RUN_REPORTS_H

#include "Session.h"

namespace llmopt::run {

/// --info; with --shape also the memory of a session.
void printInfo(llmopt_model *model, const Options &options);

/// One line per output: type, range, first values.
void printOutputs(const std::vector<Tensor> &outputs);

/// --bench and --profile: measures and prints.
void measure(llmopt_model *model, const Options &options, BoundSession &session);

} // namespace llmopt::run

#endif
