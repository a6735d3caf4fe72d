// The steps of a run, in the order in which branches and loops take them.
#include "control.h"

using namespace llmopt::rt;

namespace {
int64_t &counterOf(void *argument) { return *static_cast<int64_t *>(argument); }

int64_t limitOf(const void *argument) {
  int64_t limit; // may be the caller's memory
  std::memcpy(&limit, argument, sizeof(limit));
  return limit;
}

bool holds(const void *condition) { return *static_cast<const unsigned char *>(condition) != 0; }

void copy(const PreparedStep &step) {
  auto bytes = static_cast<size_t>(step.dims[0]);
  char *to = static_cast<char *>(step.args[0]);
  if (step.numArgs > 2)
    to += step.dims[0] * (step.dims[1] + step.dims[2] * counterOf(step.args[2]));
  if (bytes)
    std::memmove(to, step.args[1], bytes);
}
} // namespace

llmopt_status llmopt::rt::runControl(const llmopt_model &model, Binding &binding, const PreparedStep &step,
                                     size_t *next, llmopt_error *error) {
  switch (step.control) {
  case LLMOPT_CONTROL_COPY:
    copy(step);
    break;
  case LLMOPT_CONTROL_RESET:
    counterOf(step.args[0]) = 0;
    break;
  case LLMOPT_CONTROL_JUMP:
    *next = step.tiles;
    break;
  case LLMOPT_CONTROL_BRANCH:
    if (!holds(step.args[0]))
      *next = step.tiles;
    break;
  case LLMOPT_CONTROL_LOOP: {
    bool goOn =
        (!step.args[1] || counterOf(step.args[0]) < limitOf(step.args[1])) && (!step.args[2] || holds(step.args[2]));
    if (!goOn)
      *next = step.tiles;
    break;
  }
  case LLMOPT_CONTROL_NEXT:
    ++counterOf(step.args[0]);
    *next = step.tiles;
    break;
  case LLMOPT_CONTROL_CHECK:
    return binding.checkConstraint(model, step.tiles, error);
  case LLMOPT_CONTROL_SHAPE: {
    llmopt_tensor_type &type = binding.actual[step.tiles];
    for (uint32_t d = 0; d < step.numDims; ++d)
      type.dims[d] = d == 0 && step.numArgs ? counterOf(step.args[0]) : step.dims[d];
    break;
  }
  }
  return LLMOPT_OK;
}
