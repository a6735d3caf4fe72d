// Checks the tables of a model descriptor once, so that everything after may
// index them without looking: counts, indices, expressions, view chains,
// strings. A descriptor that passes cannot make the runtime read out of bounds;
// what its kernels do is their business.
#ifndef LLMOPT_RT_TABLES_H
#define LLMOPT_RT_TABLES_H

#include "llmopt/runtime.h"

namespace llmopt::rt {

/// Version and size only: what must hold before any other field is read.
llmopt_status checkVersion(const llmopt_model_desc &desc, const char *path, llmopt_error *error);

/// Everything else. `desc` passed checkVersion and has all fields of today
/// (those its compiler did not know are zero).
llmopt_status checkTables(const llmopt_model_desc &desc, const char *path, llmopt_error *error);

} // namespace llmopt::rt

#endif
