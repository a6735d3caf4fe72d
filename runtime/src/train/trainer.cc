// Creating a trainer, and one step of it.
#include "trainer.h"

#include <cmath>
#include <new>

using namespace llmopt::rt;

namespace {

constexpr uint64_t alignment = 64;

llmopt_status outOfMemory(uint64_t bytes, const char *what, llmopt_error *error) {
  return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory: %llu bytes for %s", static_cast<unsigned long long>(bytes),
              what);
}

/// "<stem>.safetensors" beside the model.
llmopt_status findWeights(const llmopt_model &model, String *path, llmopt_error *error) {
  static const char extension[] = ".safetensors";
  const char *from = model.path.c_str(), *slash = std::strrchr(from, '/');
  if (!*from)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer options: expected weights_path for a model without a file");
  const char *dot = std::strrchr(slash ? slash : from, '.');
  size_t stem = dot ? static_cast<size_t>(dot - from) : std::strlen(from);
  char *name = static_cast<char *>(std::malloc(stem + sizeof(extension)));
  if (!path->adopt(name))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a trainer");
  std::memcpy(name, from, stem);
  std::memcpy(name + stem, extension, sizeof(extension));
  return LLMOPT_OK;
}

/// Lays out values, gradients and moments, and reads the values.
llmopt_status layOut(llmopt_trainer *t, const llmopt_trainer_options &options, const char *path, llmopt_error *error) {
  const llmopt_training &training = *t->training;
  const uint32_t count = training.num_parameters;
  Array<uint64_t> offsets;
  if (!t->parameters.allocate(count) || !t->freshGradients.allocate(count) ||
      !t->hypers.allocate(training.num_hypers) || !offsets.allocate(count))
    return outOfMemory(count * sizeof(Parameter), "a trainer", error);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const llmopt_tensor_type &declared = t->forGradients.types[training.parameters[i].gradients_input];
    const TensorFile::Tensor *tensor = t->file.find(training.parameters[i].name);
    if (!tensor)
      return fail(error, LLMOPT_BAD_WEIGHTS, "%s: has no tensor '%s'", path, training.parameters[i].name);
    bool equal = tensor->dtype == LLMOPT_F32 && tensor->rank == declared.rank;
    uint64_t elements = 1;
    for (uint32_t d = 0; equal && d < declared.rank; ++d) {
      equal = declared.dims[d] == tensor->dims[d];
      elements *= static_cast<uint64_t>(tensor->dims[d]);
    }
    if (!equal)
      return fail(error, LLMOPT_BAD_WEIGHTS, "%s: '%s' is of another type or shape than the model's", path,
                  training.parameters[i].name);
    t->parameters[i].count = elements;
    t->parameters[i].rateScale = 1;
    t->parameters[i].decays = training.parameters[i].flags & LLMOPT_PARAMETER_DECAYS;
    offsets[i] = bytes;
    if (!alignUp(bytes + elements * sizeof(float), alignment, &bytes))
      return fail(error, LLMOPT_BAD_MODEL, "the parameters are too large");
  }
  if (!t->values.allocate(bytes))
    return outOfMemory(bytes, "parameters", error);
  if (!t->gradients.allocate(bytes) || (options.accumulates && !t->fresh.allocate(bytes)))
    return outOfMemory(bytes, "gradients", error);
  const uint64_t moments = t->kind == OptimizerKind::SGD ? (options.momentum ? 1 : 0) : 2;
  if (moments && !t->moments.allocate(bytes * moments))
    return outOfMemory(bytes * moments, "moments", error);
  auto at = [&](const Pages &pages, uint64_t offset) { return reinterpret_cast<float *>(pages.data() + offset); };
  for (uint32_t i = 0; i < count; ++i) {
    Parameter &p = t->parameters[i];
    p.value = at(t->values, offsets[i]);
    p.gradient = at(t->gradients, offsets[i]);
    p.first = moments >= 1 ? at(t->moments, offsets[i]) : nullptr;
    p.second = moments == 2 ? at(t->moments, bytes + offsets[i]) : nullptr;
    t->freshGradients[i] = options.accumulates ? at(t->fresh, offsets[i]) : p.gradient;
    std::memcpy(p.value, t->file.data() + t->file.find(training.parameters[i].name)->offset, p.count * sizeof(float));
  }
  t->file.drop();
  return LLMOPT_OK;
}

/// A tensor by the name of its module; adapters of PEFT put a prefix before it.
const TensorFile::Tensor *findModule(const TensorFile &file, const char *module) {
  static const char prefix[] = "base_model.model.";
  if (const TensorFile::Tensor *tensor = file.find(module))
    return tensor;
  for (uint32_t i = 0; i < file.size(); ++i)
    if (!std::strncmp(file[i].name, prefix, sizeof(prefix) - 1) &&
        !std::strcmp(file[i].name + sizeof(prefix) - 1, module))
      return &file[i];
  return nullptr;
}

/// Values of parameters from another file, under their names in ONNX or those of modules.
llmopt_status readValues(llmopt_trainer *t, const char *path, llmopt_error *error) {
  TensorFile other;
  if (llmopt_status status = other.open(path, error))
    return status;
  uint32_t found = 0;
  for (uint32_t i = 0; i < t->training->num_parameters; ++i) {
    const TensorFile::Tensor &own = *t->file.find(t->training->parameters[i].name);
    const TensorFile::Tensor *tensor = other.find(own.name);
    const bool turned = !tensor && own.transposed;
    if (!tensor)
      tensor = findModule(other, own.module);
    if (!tensor)
      continue; // an adapter has some only
    ++found;
    bool equal = tensor->dtype == LLMOPT_F32 && tensor->rank == own.rank;
    for (uint32_t d = 0; equal && d < own.rank; ++d)
      equal = tensor->dims[d] == own.dims[turned ? own.rank - 1 - d : d];
    if (!equal)
      return fail(error, LLMOPT_BAD_WEIGHTS, "%s: '%s' is of another type or shape than the model's", path,
                  tensor->name);
    float *value = t->parameters[i].value;
    const char *data = other.data() + tensor->offset;
    if (!turned) {
      std::memcpy(value, data, tensor->size);
      continue;
    }
    const int64_t rows = tensor->dims[0], columns = tensor->dims[1];
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        std::memcpy(value + c * rows + r, data + static_cast<uint64_t>(r * columns + c) * sizeof(float), sizeof(float));
  }
  if (!found)
    return fail(error, LLMOPT_BAD_WEIGHTS, "%s: has none of the model's parameters, such as '%s'", path,
                t->file.find(t->training->parameters[0].name)->module);
  return LLMOPT_OK;
}

/// Points the inputs and outputs of an entry at what the trainer holds.
void connect(llmopt_trainer *t, EntrySession &entry, float *loss) {
  const llmopt_training &training = *t->training;
  for (uint32_t i = 0; i < training.num_parameters; ++i) {
    const Parameter &p = t->parameters[i];
    const llmopt_parameter &described = training.parameters[i];
    entry.inputs[entry.isGradients ? described.gradients_input : described.evaluate_input] = {p.value,
                                                                                              p.count * sizeof(float)};
    if (entry.isGradients)
      entry.outputs[described.gradients_output] = {p.gradient, p.count * sizeof(float)};
  }
  for (uint32_t i = 0; i < training.num_hypers; ++i) {
    uint32_t input = entry.isGradients ? training.hypers[i].gradients_input : training.hypers[i].evaluate_input;
    if (input != LLMOPT_NONE)
      entry.inputs[input] = {&t->hypers[i], sizeof(float)};
  }
  entry.outputs[0] = {&loss[0], sizeof(float)};
  entry.outputs[1] = {&loss[1], sizeof(float)};
}

llmopt_status build(llmopt_trainer *t, llmopt_model *model, const llmopt_trainer_options &options,
                    llmopt_error *error) {
  t->kind = options.optimizer ? static_cast<OptimizerKind>(options.optimizer) : OptimizerKind::AdamW;
  t->threads = options.num_threads ? options.num_threads : availableCpus();
  t->accumulates = options.accumulates;
  if (llmopt_status status = t->forGradients.open(model, "gradients", error))
    return status;
  if (llmopt_status status = t->forEvaluation.open(model, "evaluate", error))
    return status;
  model->retain();
  t->model = model;
  t->training = model->desc.training;
  String path;
  const bool hasPath = *model->path.c_str();
  if (!hasPath && options.weights_path) {
    if (!path.assign(options.weights_path))
      return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a trainer");
  } else if (llmopt_status status = findWeights(*model, &path, error)) {
    return status;
  }
  if (llmopt_status status = t->file.open(path.c_str(), error))
    return status;
  if (llmopt_status status = layOut(t, options, path.c_str(), error))
    return status;
  if (hasPath && options.weights_path)
    if (llmopt_status status = readValues(t, options.weights_path, error))
      return status;
  for (uint32_t i = 0; i < t->training->num_hypers; ++i)
    t->hypers[i] = static_cast<float>(t->training->hypers[i].by_default);
  connect(t, t->forGradients, t->lossOut);
  connect(t, t->forEvaluation, t->evaluateOut);
  if (!t->optimizer.prepare(t->parameters.data(), t->training->num_parameters))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a trainer");
  return t->pool.start(t->threads, error);
}

} // namespace

llmopt_trainer::~llmopt_trainer() {
  if (model)
    model->release();
}

uint32_t llmopt_trainer::numMoments() const {
  return parameters.size() == 0 ? 0 : (parameters[0].first ? 1u : 0u) + (parameters[0].second ? 1u : 0u);
}

extern "C" llmopt_status llmopt_trainer_create(llmopt_model *model, const llmopt_trainer_options *given,
                                               llmopt_trainer **result, llmopt_error *error) {
  if (!model || !result)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model or trainer is NULL");
  llmopt_trainer_options options;
  if (llmopt_status status = readOptions(given, &options, "trainer options", error))
    return status;
  if (options.optimizer > LLMOPT_SGD)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer options: unknown optimizer %u", options.optimizer);
  void *memory = nullptr;
  if (posix_memalign(&memory, alignof(llmopt_trainer), sizeof(llmopt_trainer)) != 0)
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a trainer");
  auto *trainer = new (memory) llmopt_trainer();
  if (llmopt_status status = build(trainer, model, options, error)) {
    llmopt_trainer_destroy(trainer);
    return status;
  }
  *result = trainer;
  return LLMOPT_OK;
}

extern "C" void llmopt_trainer_destroy(llmopt_trainer *trainer) {
  if (!trainer)
    return;
  trainer->~llmopt_trainer();
  std::free(trainer);
}

extern "C" uint32_t llmopt_trainer_num_inputs(const llmopt_trainer *trainer) {
  return trainer ? trainer->forGradients.numBatch : 0;
}

extern "C" llmopt_status llmopt_trainer_get_input(const llmopt_trainer *trainer, uint32_t index, const char **name,
                                                  llmopt_tensor_type *type, llmopt_error *error) {
  if (!trainer || index >= trainer->forGradients.numBatch)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL, or input %u does not exist", index);
  return llmopt_model_get_input(trainer->forGradients.model, trainer->forGradients.batchInputs[index], name, type,
                                error);
}

extern "C" llmopt_status llmopt_trainer_bind(llmopt_trainer *trainer, const llmopt_tensor_type *inputs, size_t count,
                                             llmopt_error *error) {
  if (!trainer)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL");
  return trainer->forGradients.bind(inputs, count, trainer->threads, error);
}

extern "C" llmopt_status llmopt_trainer_bind_evaluation(llmopt_trainer *trainer, const llmopt_tensor_type *inputs,
                                                        size_t count, llmopt_error *error) {
  if (!trainer)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL");
  return trainer->forEvaluation.bind(inputs, count, trainer->threads, error);
}

extern "C" llmopt_status llmopt_trainer_accumulate(llmopt_trainer *t, const llmopt_input *inputs, size_t count,
                                                   llmopt_loss *loss, llmopt_error *error) {
  if (!t)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL");
  if (t->batches && !t->accumulates)
    return fail(error, LLMOPT_INVALID_ARGUMENT,
                "expected an update behind every batch: the trainer was created without accumulates");
  const bool isFirst = t->batches == 0;
  for (uint32_t i = 0; i < t->training->num_parameters; ++i)
    t->forGradients.outputs[t->training->parameters[i].gradients_output].data =
        isFirst ? t->parameters[i].gradient : t->freshGradients[i];
  if (llmopt_status status = t->forGradients.run(inputs, count, error))
    return status;
  if (!isFirst)
    t->optimizer.addGradients(t->pool, t->freshGradients.data());
  ++t->batches;
  t->lossSum += t->lossOut[0];
  t->lossWeight += t->lossOut[1];
  if (loss)
    *loss = {t->lossOut[0], t->lossOut[1]};
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_trainer_evaluate(llmopt_trainer *t, const llmopt_input *inputs, size_t count,
                                                 const llmopt_output *output, llmopt_loss *loss, llmopt_error *error) {
  if (!t || !output || !output->data)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or output is NULL");
  t->forEvaluation.outputs[2] = *output;
  if (llmopt_status status = t->forEvaluation.run(inputs, count, error))
    return status;
  if (loss)
    *loss = {t->evaluateOut[0], t->evaluateOut[1]};
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_trainer_get_output_type(const llmopt_trainer *trainer, llmopt_tensor_type *type,
                                                        llmopt_error *error) {
  if (!trainer || !type)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or type is NULL");
  if (!trainer->forEvaluation.isBound())
    return fail(error, LLMOPT_NOT_BOUND, "evaluation is not bound");
  return llmopt_session_get_output_type(trainer->forEvaluation.session, 2, type, error);
}

extern "C" void llmopt_update_defaults(llmopt_update *update) {
  if (!update)
    return;
  std::memset(update, 0, sizeof(*update));
  update->struct_size = sizeof(*update);
  update->learning_rate = 2e-5;
  update->beta1 = 0.9;
  update->beta2 = 0.999;
  update->epsilon = 1e-8;
  update->weight_decay = 0.01;
  update->clip_norm = 1;
}

extern "C" llmopt_status llmopt_trainer_apply(llmopt_trainer *t, const llmopt_update *given,
                                              llmopt_update_result *result, llmopt_error *error) {
  if (!t || !given)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or update is NULL");
  llmopt_update update;
  if (llmopt_status status = readOptions(given, &update, "update", error))
    return status;
  if (!t->batches)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected a batch before an update");
  if (update.momentum != 0 && t->kind == OptimizerKind::SGD && t->numMoments() == 0)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "update: the trainer was created without momentum");
  llmopt_update_result made;
  std::memset(&made, 0, sizeof(made));
  if (t->lossWeight == 0) {
    made.outcome = LLMOPT_SKIPPED_EMPTY;
  } else {
    made.loss = t->lossSum / t->lossWeight;
    made.gradient_norm = t->optimizer.gradientNorm(t->pool, 1 / t->lossWeight);
    if (!std::isfinite(made.gradient_norm) || !std::isfinite(made.loss)) {
      made.outcome = LLMOPT_SKIPPED_NONFINITE;
      ++t->skipped;
    }
  }
  t->batches = 0;
  if (made.outcome == LLMOPT_UPDATED) {
    OptimizerSettings settings;
    settings.kind = t->kind;
    settings.decayMode = static_cast<DecayMode>(update.decay_mode);
    settings.learningRate = update.learning_rate;
    settings.beta1 = update.beta1;
    settings.beta2 = update.beta2;
    settings.epsilon = update.epsilon;
    settings.weightDecay = update.weight_decay;
    settings.momentum = update.momentum;
    settings.nesterov = update.nesterov != 0;
    t->optimizer.update(t->pool, settings, clipScale(made.gradient_norm, update.clip_norm) / t->lossWeight, ++t->step);
  }
  t->lossSum = t->lossWeight = 0;
  made.step = t->step;
  made.skipped = t->skipped;
  return result ? writeInfo(result, &made, "result", error) : LLMOPT_OK;
}
