// Adapters as PEFT keeps them: adapter_model.safetensors and adapter_config.json.
#ifndef LLMOPT_RUN_ADAPTER_H
#define LLMOPT_RUN_ADAPTER_H

#include "llmopt/train.h"

#include <string>

namespace llmopt::run {

/// Writes the trained parameters of a model compiled with -lora to the folder `path`;
/// parameters that are no adapters, such as a head's, as modules to save. `own` is the
/// model's safetensors file. Throws a Failure, for a model without adapters, too.
void saveAdapter(const llmopt_trainer *trainer, const std::string &own, const std::string &path);

} // namespace llmopt::run

#endif
