// What a trainer tells, and what can be set between steps.
#include "file_writer.h"
#include "trainer.h"

using namespace llmopt::rt;

extern "C" uint32_t llmopt_trainer_num_labels(const llmopt_trainer *trainer) {
  return trainer ? trainer->training->num_labels : 0;
}

extern "C" const char *llmopt_trainer_get_loss(const llmopt_trainer *trainer) {
  return trainer ? trainer->training->loss : "";
}

extern "C" uint32_t llmopt_trainer_num_hypers(const llmopt_trainer *trainer) {
  return trainer ? trainer->training->num_hypers : 0;
}

extern "C" const char *llmopt_trainer_get_hyper(const llmopt_trainer *trainer, uint32_t index, double *value) {
  if (!trainer || index >= trainer->training->num_hypers)
    return nullptr;
  if (value)
    *value = trainer->hypers[index];
  return trainer->training->hypers[index].name;
}

extern "C" llmopt_status llmopt_trainer_set_hyper(llmopt_trainer *trainer, const char *name, double value,
                                                  llmopt_error *error) {
  if (!trainer || !name)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or name is NULL");
  for (uint32_t i = 0; i < trainer->training->num_hypers; ++i)
    if (!std::strcmp(trainer->training->hypers[i].name, name)) {
      trainer->hypers[i] = static_cast<float>(value);
      return LLMOPT_OK;
    }
  return fail(error, LLMOPT_INVALID_ARGUMENT, "the loss %s has no hyper-parameter '%s'", trainer->training->loss, name);
}

extern "C" uint32_t llmopt_trainer_num_parameters(const llmopt_trainer *trainer) {
  return trainer ? trainer->training->num_parameters : 0;
}

extern "C" llmopt_status llmopt_trainer_get_parameter(const llmopt_trainer *trainer, uint32_t index,
                                                      llmopt_parameter_info *info, llmopt_error *error) {
  if (!trainer || index >= trainer->training->num_parameters)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL, or parameter %u does not exist", index);
  const Parameter &p = trainer->parameters[index];
  const llmopt_parameter &described = trainer->training->parameters[index];
  llmopt_parameter_info filled;
  std::memset(&filled, 0, sizeof(filled));
  filled.name = described.name;
  filled.value = p.value;
  filled.gradient = p.gradient;
  filled.count = p.count;
  filled.decays = p.decays;
  const llmopt_tensor_type &type = trainer->forGradients.types[described.gradients_input];
  filled.rank = type.rank;
  std::memcpy(filled.dims, type.dims, sizeof(filled.dims));
  return writeInfo(info, &filled, "parameter info", error);
}

extern "C" llmopt_status llmopt_trainer_set_rate_scale(llmopt_trainer *trainer, uint32_t index, double scale,
                                                       llmopt_error *error) {
  if (!trainer || index >= trainer->training->num_parameters)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL, or parameter %u does not exist", index);
  trainer->parameters[index].rateScale = scale;
  trainer->optimizer.setRateScale(index, scale);
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_trainer_get_memory(const llmopt_trainer *trainer, llmopt_trainer_memory *memory,
                                                   llmopt_error *error) {
  if (!trainer)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer is NULL");
  llmopt_trainer_memory filled;
  std::memset(&filled, 0, sizeof(filled));
  filled.parameters = trainer->values.size();
  filled.gradients = trainer->gradients.size() + trainer->fresh.size();
  filled.moments = trainer->moments.size();
  trainer->forGradients.addMemory(&filled);
  trainer->forEvaluation.addMemory(&filled);
  filled.frozen = trainer->model->desc.weights_size;
  return writeInfo(memory, &filled, "memory", error);
}

/// The file that the parameters came from, with the present ones in their places.
extern "C" llmopt_status llmopt_trainer_save_weights(const llmopt_trainer *trainer, const char *path,
                                                     llmopt_error *error) {
  if (!trainer || !path)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "trainer or path is NULL");
  const TensorFile &file = trainer->file;
  // Parameters in the order of their places.
  const uint32_t count = trainer->training->num_parameters;
  struct Place {
    uint64_t offset;
    uint32_t parameter;
  };
  Array<Place> places;
  if (!places.allocate(count))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", path);
  for (uint32_t i = 0; i < count; ++i)
    places[i] = {file.find(trainer->training->parameters[i].name)->offset, i};
  std::qsort(places.data(), count, sizeof(Place), [](const void *a, const void *b) {
    uint64_t x = static_cast<const Place *>(a)->offset, y = static_cast<const Place *>(b)->offset;
    return x < y ? -1 : int(x > y);
  });
  FileWriter writer;
  if (llmopt_status status = writer.open(path, error))
    return status;
  uint64_t at = 0;
  for (const Place &place : places) {
    const Parameter &p = trainer->parameters[place.parameter];
    if (llmopt_status status = writer.write(file.data() + at, place.offset - at, error))
      return status;
    if (llmopt_status status = writer.write(p.value, p.count * sizeof(float), error))
      return status;
    at = place.offset + p.count * sizeof(float);
  }
  if (llmopt_status status = writer.write(file.data() + at, file.bytes() - at, error))
    return status;
  file.drop();
  return writer.commit(error);
}
