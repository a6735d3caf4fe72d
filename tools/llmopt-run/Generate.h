// --generate: tokens, one after the other.
#ifndef LLMOPT_RUN_GENERATE_H
#define LLMOPT_RUN_GENERATE_H

#include "Session.h"

namespace llmopt::run {

/// Prints the new token ids as they come. With --output writes `ids` [tokens],
/// prompt included, and `logits` [new tokens, vocabulary].
void generate(llmopt_model *model, const Options &options);

} // namespace llmopt::run

#endif
