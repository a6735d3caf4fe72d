// What the runtime itself does between kernels: jumps, loops, copies.
#ifndef LLMOPT_RT_CONTROL_H
#define LLMOPT_RT_CONTROL_H

#include "binding.h"

namespace llmopt::rt {

/// Carries out a step without a kernel. `next` is the step behind it, and changes
/// where the step goes elsewhere. Fails where a constraint does not hold.
llmopt_status runControl(const llmopt_model &model, Binding &binding, const PreparedStep &step, size_t *next,
                         llmopt_error *error);

} // namespace llmopt::rt

#endif
