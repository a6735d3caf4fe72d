// How anything in this tool says that it cannot go on: one line for the person,
// one exit code for the script.
#ifndef LLMOPT_RUN_FAILURE_H
#define LLMOPT_RUN_FAILURE_H

#include "llmopt/runtime.h"

#include <string>

namespace llmopt::run {

enum ExitCode {
  Ok = 0,
  BadData = 1,     ///< model, weights or inputs
  Usage = 2,       ///< the command line
  Environment = 4, ///< disk, memory, CPU
  OurBug = 70
};

struct Failure {
  ExitCode code;
  std::string message;
};

/// Throws unless `status` is LLMOPT_OK.
inline void check(llmopt_status status, const llmopt_error &error) {
  switch (status) {
  case LLMOPT_OK:
    return;
  case LLMOPT_NOT_FOUND:
  case LLMOPT_BAD_MODEL:
  case LLMOPT_BAD_WEIGHTS:
  case LLMOPT_SHAPE_MISMATCH:
  case LLMOPT_BAD_VALUE:
    throw Failure{BadData, error.message};
  case LLMOPT_UNSUPPORTED_CPU:
  case LLMOPT_OUT_OF_MEMORY:
  case LLMOPT_IO_ERROR:
  case LLMOPT_NO_DEVICE:
  case LLMOPT_DEVICE_ERROR:
    throw Failure{Environment, error.message};
  case LLMOPT_INVALID_ARGUMENT:
    throw Failure{Usage, error.message};
  case LLMOPT_NOT_BOUND:
  case LLMOPT_BUSY:
  case LLMOPT_INTERNAL:
    break;
  }
  throw Failure{OurBug, error.message};
}

} // namespace llmopt::run

#endif
