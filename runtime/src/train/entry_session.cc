#include "trainer.h"

using namespace llmopt::rt;

namespace {
constexpr int64_t ignoredLabel = -100;
}

EntrySession::~EntrySession() {
  llmopt_session_destroy(session);
  llmopt_model_destroy(model);
}

llmopt_status EntrySession::open(llmopt_model *whole, const char *name, llmopt_error *error) {
  if (llmopt_status status = llmopt_model_get_entry(whole, name, &model, error))
    return status;
  training = whole->desc.training;
  isGradients = model->desc.num_outputs == training->num_parameters + 2 && !std::strcmp(name, "gradients");
  const uint32_t count = model->desc.num_inputs;
  Array<uint8_t> taken;
  if (!inputs.allocate(count) || !types.allocate(count) || !outputs.allocate(model->desc.num_outputs) ||
      !batchInputs.allocate(count) || !classes.allocate(training->num_labels) || !taken.allocate(count))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a trainer");
  for (uint32_t i = 0; i < training->num_parameters; ++i)
    taken[isGradients ? training->parameters[i].gradients_input : training->parameters[i].evaluate_input] = 1;
  for (uint32_t i = 0; i < training->num_hypers; ++i) {
    uint32_t input = isGradients ? training->hypers[i].gradients_input : training->hypers[i].evaluate_input;
    if (input != LLMOPT_NONE)
      taken[input] = 1;
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!taken[i])
      batchInputs[numBatch++] = i;
    if (llmopt_status status = llmopt_model_get_input(model, i, nullptr, &types[i], error))
      return status;
  }
  return LLMOPT_OK;
}

llmopt_status EntrySession::bind(const llmopt_tensor_type *batch, size_t given, uint32_t threads, llmopt_error *error) {
  if (given != numBatch || (given && !batch))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected %u inputs, but got %zu", numBatch, given);
  if (!session) {
    llmopt_session_options options;
    std::memset(&options, 0, sizeof(options));
    options.struct_size = sizeof(options);
    options.num_threads = threads;
    if (llmopt_status status = llmopt_session_create(model, &options, &session, error))
      return status;
  }
  for (uint32_t i = 0; i < numBatch; ++i)
    types[batchInputs[i]] = batch[i];
  if (llmopt_status status = llmopt_session_bind(session, types.data(), types.size(), error))
    return status;
  // Symbols as the session has them: each is a dimension of some input.
  Array<int64_t> symbols;
  if (!symbols.allocate(model->desc.num_symbols))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a binding");
  for (uint32_t i = 0; i < model->desc.num_inputs; ++i)
    for (uint32_t d = 0; d < model->desc.inputs[i].rank; ++d)
      if (uint32_t symbol = model->asSymbol(model->desc.inputs[i].dims[d]); symbol != LLMOPT_NONE)
        symbols[symbol] = types[i].dims[d];
  for (uint32_t i = 0; i < training->num_labels; ++i) {
    const llmopt_label &label = training->labels[i];
    uint32_t expr = isGradients ? label.gradients_classes : label.evaluate_classes;
    classes[i] = -1;
    if (expr != LLMOPT_NONE && !model->evaluate(expr, symbols.data(), &classes[i]))
      return fail(error, LLMOPT_SHAPE_MISMATCH, "the number of classes of '%s' overflows", label.name);
  }
  bound = true;
  return LLMOPT_OK;
}

llmopt_status EntrySession::checkLabels(const llmopt_input *batch, llmopt_error *error) const {
  for (uint32_t i = 0; i < training->num_labels; ++i) {
    if (classes[i] < 0)
      continue;
    const llmopt_label &label = training->labels[i];
    uint32_t input = isGradients ? label.gradients_input : label.evaluate_input, at = 0;
    while (at < numBatch && batchInputs[at] != input)
      ++at;
    if (at == numBatch || types[input].dtype != LLMOPT_I64)
      continue;
    uint64_t count = 1;
    for (uint32_t d = 0; d < types[input].rank; ++d)
      count *= static_cast<uint64_t>(types[input].dims[d]);
    if (batch[at].size < count * sizeof(int64_t) || !batch[at].data)
      continue; // the session says so
    const char *data = static_cast<const char *>(batch[at].data);
    for (uint64_t k = 0; k < count; ++k) {
      int64_t value;
      std::memcpy(&value, data + k * sizeof(value), sizeof(value));
      if (value != ignoredLabel && (value < 0 || value >= classes[i]))
        return fail(error, LLMOPT_BAD_VALUE, "'%s': expected labels from 0 to %lld, or %lld for none, but got %lld",
                    label.name, static_cast<long long>(classes[i] - 1), static_cast<long long>(ignoredLabel),
                    static_cast<long long>(value));
    }
  }
  return LLMOPT_OK;
}

llmopt_status EntrySession::run(const llmopt_input *batch, size_t given, llmopt_error *error) {
  if (!bound)
    return fail(error, LLMOPT_NOT_BOUND, "shapes are not bound");
  if (given != numBatch || (given && !batch))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected %u inputs, but got %zu", numBatch, given);
  if (llmopt_status status = checkLabels(batch, error))
    return status;
  for (uint32_t i = 0; i < numBatch; ++i)
    inputs[batchInputs[i]] = batch[i];
  return llmopt_session_run(session, inputs.data(), inputs.size(), outputs.data(), outputs.size(), error);
}

void EntrySession::addMemory(llmopt_trainer_memory *memory) const {
  llmopt_session_info info;
  info.struct_size = sizeof(info);
  if (!session || llmopt_session_get_info(session, &info, nullptr))
    return;
  memory->activations += info.arena_capacity;
  memory->scratch += info.scratch_size;
}
