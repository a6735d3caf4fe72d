// One run of a loaded model, behind llvm::Expected.
#ifndef LLMOPT_LIB_EXECUTION_RUNMODEL_H
#define LLMOPT_LIB_EXECUTION_RUNMODEL_H

#include "llmopt/Execution/Artifact.h"
#include "llmopt/runtime.h"

namespace llmopt {

/// Binds and runs in a new session; `numThreads` as in llmopt_session_options.
llvm::Expected<std::vector<NamedArray>> runModel(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs,
                                                 uint32_t numThreads);

/// The same in a session that stays, as the bytes of `inputs` must.
llvm::Expected<std::unique_ptr<RepeatedRun>> prepareRun(llmopt_model *model, llvm::ArrayRef<NamedArray> inputs,
                                                        uint32_t numThreads);

} // namespace llmopt

#endif
