// What a model says about itself: all the queries that change nothing.
#include "model.h"

#include <cstdio>

using namespace llmopt::rt;

namespace {
llmopt_status noSuch(const char *what, uint32_t index, uint32_t count, llmopt_error *error) {
  return fail(error, LLMOPT_INVALID_ARGUMENT, "%s %u: expected an index below %u", what, index, count);
}

/// The declared type; dimensions that depend on symbols are -1.
llmopt_tensor_type declaredType(const llmopt_model &model, const llmopt_tensor_desc &tensor) {
  llmopt_tensor_type type;
  std::memset(&type, 0, sizeof(type));
  type.dtype = tensor.dtype;
  type.rank = tensor.rank;
  for (uint32_t d = 0; d < tensor.rank; ++d) {
    const llmopt_expr &e = model.desc.exprs[tensor.dims[d]];
    const llmopt_expr_insn &insn = model.desc.expr_code[e.first];
    type.dims[d] = e.count == 1 && insn.op == LLMOPT_EXPR_CONST ? insn.value : -1;
  }
  return type;
}

llmopt_status getTensor(const llmopt_model *model, const llmopt_tensor_desc *tensors, uint32_t count, const char *what,
                        uint32_t index, const char **name, llmopt_tensor_type *type, llmopt_error *error) {
  if (index >= count)
    return noSuch(what, index, count, error);
  if (name)
    *name = tensors[index].name;
  if (type)
    *type = declaredType(*model, tensors[index]);
  return LLMOPT_OK;
}

uint32_t findTensor(const llmopt_tensor_desc *tensors, uint32_t count, const char *name) {
  for (uint32_t i = 0; name && i < count; ++i)
    if (std::strcmp(tensors[i].name, name) == 0)
      return i;
  return LLMOPT_NONE;
}

size_t formatTensor(const llmopt_model &model, const llmopt_tensor_desc &tensor, char *text, size_t capacity) {
  size_t length = 0;
  auto rest = [&] { return length < capacity ? capacity - length : 0; };
  auto here = [&] { return length < capacity ? text + length : nullptr; };
  auto put = [&](const char *s) { length += size_t(snprintf(here(), rest(), "%s", s)); };
  put(llmopt_dtype_name(tensor.dtype));
  put("[");
  for (uint32_t d = 0; d < tensor.rank; ++d) {
    if (d)
      put(", ");
    length += model.format(tensor.dims[d], here(), rest());
  }
  put("]");
  return length;
}
} // namespace

extern "C" llmopt_status llmopt_model_get_info(const llmopt_model *model, llmopt_model_info *info,
                                               llmopt_error *error) {
  if (!model)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model is NULL");
  const llmopt_model_desc &desc = model->desc;
  llmopt_model_info filled;
  std::memset(&filled, 0, sizeof(filled));
  filled.name = desc.name;
  filled.compiler = desc.compiler;
  filled.target = desc.target;
  filled.cpu_features = desc.cpu_features;
  filled.architectures = desc.device ? desc.device->architectures : "";
  if (desc.device && desc.device->struct_size >= sizeof(llmopt_device))
    filled.num_library_steps = desc.device->num_products;
  filled.metadata = desc.metadata ? desc.metadata : "";
  filled.path = model->path.c_str();
  filled.weights_path = model->weightsPath.c_str();
  std::memcpy(filled.build_id, desc.build_id, sizeof(filled.build_id));
  filled.num_inputs = desc.num_inputs;
  filled.num_outputs = desc.num_outputs;
  filled.num_symbols = desc.num_symbols - desc.num_data_symbols;
  filled.num_steps = desc.num_steps;
  filled.num_weights = desc.num_weights;
  filled.weights_size = desc.weights_size;
  return writeInfo(info, &filled, "model info", error);
}

extern "C" llmopt_status llmopt_model_get_input(const llmopt_model *model, uint32_t index, const char **name,
                                                llmopt_tensor_type *type, llmopt_error *error) {
  if (!model)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model is NULL");
  return getTensor(model, model->desc.inputs, model->desc.num_inputs, "input", index, name, type, error);
}

extern "C" llmopt_status llmopt_model_get_output(const llmopt_model *model, uint32_t index, const char **name,
                                                 llmopt_tensor_type *type, llmopt_error *error) {
  if (!model)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model is NULL");
  return getTensor(model, model->desc.outputs, model->desc.num_outputs, "output", index, name, type, error);
}

extern "C" uint32_t llmopt_model_find_input(const llmopt_model *model, const char *name) {
  return model ? findTensor(model->desc.inputs, model->desc.num_inputs, name) : LLMOPT_NONE;
}

extern "C" uint32_t llmopt_model_find_output(const llmopt_model *model, const char *name) {
  return model ? findTensor(model->desc.outputs, model->desc.num_outputs, name) : LLMOPT_NONE;
}

extern "C" size_t llmopt_model_format_input(const llmopt_model *model, uint32_t index, char *text, size_t capacity) {
  if (!model || index >= model->desc.num_inputs)
    return 0;
  return formatTensor(*model, model->desc.inputs[index], text, capacity);
}

extern "C" size_t llmopt_model_format_output(const llmopt_model *model, uint32_t index, char *text, size_t capacity) {
  if (!model || index >= model->desc.num_outputs)
    return 0;
  return formatTensor(*model, model->desc.outputs[index], text, capacity);
}

extern "C" const char *llmopt_model_get_symbol(const llmopt_model *model, uint32_t index) {
  return model && index < model->desc.num_symbols ? model->desc.symbols[index] : nullptr;
}

extern "C" llmopt_status llmopt_model_evaluate_input(const llmopt_model *model, const int64_t *symbolValues,
                                                     size_t numSymbols, uint32_t index, llmopt_tensor_type *result,
                                                     llmopt_error *error) {
  if (!model || !result || (numSymbols && !symbolValues))
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model, symbol values or type is NULL");
  const llmopt_model_desc &desc = model->desc;
  uint32_t wanted = desc.num_symbols - desc.num_data_symbols;
  if (numSymbols != wanted)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "expected values for %u symbols, but got %zu", wanted, numSymbols);
  if (index >= desc.num_inputs)
    return noSuch("input", index, desc.num_inputs, error);
  const llmopt_tensor_desc &tensor = desc.inputs[index];
  llmopt_tensor_type type = declaredType(*model, tensor);
  for (uint32_t d = 0; d < tensor.rank; ++d)
    if (!model->evaluate(tensor.dims[d], symbolValues, &type.dims[d]) || type.dims[d] < 0)
      return fail(error, LLMOPT_SHAPE_MISMATCH, "input '%s', dimension %u: no size for these symbol values",
                  tensor.name, d);
  *result = type;
  return LLMOPT_OK;
}

extern "C" llmopt_status llmopt_model_get_weight(const llmopt_model *model, uint32_t index, llmopt_weight_info *info,
                                                 llmopt_error *error) {
  if (!model)
    return fail(error, LLMOPT_INVALID_ARGUMENT, "model is NULL");
  if (index >= model->desc.num_weights)
    return noSuch("weight", index, model->desc.num_weights, error);
  const llmopt_weight &weight = model->desc.weights[index];
  llmopt_weight_info filled;
  std::memset(&filled, 0, sizeof(filled));
  filled.name = weight.name;
  filled.recipe = weight.recipe;
  filled.data = model->weights.data() + weight.offset;
  filled.size = weight.size;
  filled.type.dtype = weight.dtype;
  filled.type.rank = weight.rank;
  std::memcpy(filled.type.dims, weight.dims, sizeof(filled.type.dims));
  return writeInfo(info, &filled, "weight info", error);
}
