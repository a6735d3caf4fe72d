#include "binding.h"

#include <cstdio>

using namespace llmopt::rt;
using ull = unsigned long long;

static constexpr uint64_t unknownSize = UINT64_MAX;

bool Binding::allocate(const llmopt_model &model) {
  const llmopt_model_desc &d = model.desc;
  size_t numItems = 0;
  for (uint32_t i = 0; i < d.num_buffers; ++i)
    numItems += d.buffers[i].kind == LLMOPT_BUFFER_ARENA;
  if (!stages.allocate(d.num_exprs))
    return false;
  uint32_t firstCount = d.num_symbols - d.num_data_symbols;
  for (uint32_t e = 0; e < d.num_exprs; ++e) {
    stages[e] = 0;
    for (uint32_t i = 0; i < d.exprs[e].count; ++i) {
      const llmopt_expr_insn &insn = d.expr_code[d.exprs[e].first + i];
      if (insn.op == LLMOPT_EXPR_SYMBOL && insn.value >= int64_t(firstCount) && insn.value - firstCount >= stages[e])
        stages[e] = uint32_t(insn.value) - firstCount + 1;
    }
  }
  return counts.allocate(d.num_data_symbols) && writtenBytes.allocate(d.num_outputs) && inputs.allocate(d.num_inputs) &&
         outputs.allocate(d.num_outputs) && actual.allocate(d.num_outputs) && inputBytes.allocate(d.num_inputs) &&
         outputBytes.allocate(d.num_outputs) && args.allocate(d.num_step_args) && steps.allocate(d.num_steps) &&
         inputPatches.allocate(d.num_step_args) && outputPatches.allocate(d.num_step_args) &&
         copies.allocate(d.num_outputs) && symbols.allocate(d.num_symbols) && definedBy.allocate(d.num_symbols) &&
         values.allocate(d.num_exprs) && evaluated.allocate(d.num_exprs) && sizes.allocate(d.num_buffers) &&
         locations.allocate(d.num_buffers) && items.allocate(numItems) && itemOf.allocate(d.num_buffers) &&
         workspace.allocate(numItems, d.num_steps) && dims.allocate(d.num_step_dims) &&
         cacheOffsets.allocate(d.num_caches) && laterSymbols.allocate(d.num_symbols);
}

bool Binding::matches(const llmopt_tensor_type *given, const CacheState &now) const {
  if (!valid || now.past != cache.past || now.capacity != cache.capacity)
    return false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (given[i].dtype && given[i].dtype != inputs[i].dtype)
      return false;
    if (given[i].rank != inputs[i].rank)
      return false;
    for (uint32_t d = 0; d < given[i].rank; ++d)
      if (given[i].dims[d] != inputs[i].dims[d])
        return false;
  }
  return true;
}

/// "i64[4, 128]"
static void formatType(const llmopt_tensor_type &type, uint32_t dtype, char *text, size_t capacity) {
  int length = snprintf(text, capacity, "%s[", llmopt_dtype_name(dtype));
  uint32_t rank = type.rank < LLMOPT_MAX_RANK ? type.rank : LLMOPT_MAX_RANK;
  for (uint32_t d = 0; d < rank; ++d)
    length += snprintf(text + length, capacity - size_t(length), "%s%lld", d ? ", " : "",
                       static_cast<long long>(type.dims[d]));
  snprintf(text + length, capacity - size_t(length), "]");
}

llmopt_status Binding::checkTypes(const llmopt_model &model, const llmopt_tensor_type *given, llmopt_error *error) {
  for (uint32_t i = 0; i < model.desc.num_inputs; ++i) {
    const llmopt_tensor_desc &declared = model.desc.inputs[i];
    uint32_t dtype = given[i].dtype ? given[i].dtype : declared.dtype;
    if (dtype != declared.dtype || given[i].rank != declared.rank) {
      char expected[160], got[256];
      llmopt_model_format_input(&model, i, expected, sizeof(expected));
      formatType(given[i], dtype, got, sizeof(got));
      return fail(error, LLMOPT_SHAPE_MISMATCH, "input '%s': expected %s, but got %s", declared.name, expected, got);
    }
    for (uint32_t d = 0; d < declared.rank; ++d)
      if (given[i].dims[d] < 0)
        return fail(error, LLMOPT_SHAPE_MISMATCH, "input '%s', dimension %u: expected a size, but got %lld",
                    declared.name, d, static_cast<long long>(given[i].dims[d]));
    inputs[i] = given[i];
    inputs[i].dtype = dtype;
  }
  return LLMOPT_OK;
}

/// Where a symbol comes from that no input defines.
static constexpr uint32_t bySession = LLMOPT_NONE - 1;

llmopt_status Binding::solveSymbols(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  for (uint32_t &input : definedBy)
    input = LLMOPT_NONE;
  if (desc.num_caches) {
    symbols[desc.past_symbol] = cache.past;
    symbols[desc.capacity_symbol] = cache.capacity;
    definedBy[desc.past_symbol] = definedBy[desc.capacity_symbol] = bySession;
  }
  // First the dimensions that define symbols, then those that depend on them.
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    for (uint32_t d = 0; d < desc.inputs[i].rank; ++d) {
      uint32_t symbol = model.asSymbol(desc.inputs[i].dims[d]);
      if (symbol == LLMOPT_NONE)
        continue;
      int64_t size = inputs[i].dims[d];
      if (definedBy[symbol] == LLMOPT_NONE) {
        definedBy[symbol] = i;
        symbols[symbol] = size;
      } else if (symbols[symbol] != size && definedBy[symbol] == bySession) {
        return fail(error, LLMOPT_SHAPE_MISMATCH,
                    "input '%s', dimension %u: expected %lld (%s of the session), but got %lld", desc.inputs[i].name, d,
                    static_cast<long long>(symbols[symbol]), desc.symbols[symbol], static_cast<long long>(size));
      } else if (symbols[symbol] != size) {
        return fail(error, LLMOPT_SHAPE_MISMATCH,
                    "input '%s', dimension %u: expected %lld (%s, as in input "
                    "'%s'), but got %lld",
                    desc.inputs[i].name, d, static_cast<long long>(symbols[symbol]), desc.symbols[symbol],
                    desc.inputs[definedBy[symbol]].name, static_cast<long long>(size));
      }
    }
  // What depends on data is worked out for the most that can come.
  for (uint32_t k = 0; k < desc.num_data_symbols; ++k) {
    const llmopt_data_symbol &count = desc.data_symbols[k];
    if (!model.evaluate(count.bound, symbols.data(), &symbols[count.symbol]) || symbols[count.symbol] < 0)
      return fail(error, LLMOPT_SHAPE_MISMATCH, "the size '%s' has no bound for these shapes",
                  desc.symbols[count.symbol]);
  }
  for (uint32_t e = 0; e < desc.num_exprs; ++e)
    evaluated[e] = model.evaluate(e, symbols.data(), &values[e]);
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    for (uint32_t d = 0; d < desc.inputs[i].rank; ++d) {
      uint32_t e = desc.inputs[i].dims[d];
      if (model.asSymbol(e) != LLMOPT_NONE)
        continue;
      if (evaluated[e] && values[e] == inputs[i].dims[d])
        continue;
      char text[128];
      model.format(e, text, sizeof(text));
      if (!evaluated[e])
        return fail(error, LLMOPT_SHAPE_MISMATCH,
                    "input '%s', dimension %u: its size (%s) has no value for "
                    "these shapes",
                    desc.inputs[i].name, d, text);
      bool constant = desc.exprs[e].count == 1;
      return fail(error, LLMOPT_SHAPE_MISMATCH, "input '%s', dimension %u: expected %lld%s%s%s, but got %lld",
                  desc.inputs[i].name, d, static_cast<long long>(values[e]), constant ? "" : " (", constant ? "" : text,
                  constant ? "" : ")", static_cast<long long>(inputs[i].dims[d]));
    }
  return LLMOPT_OK;
}

/// Those that can be checked when `stage` data symbols are known, not before.
llmopt_status Binding::checkConstraints(const llmopt_model &model, uint32_t stage, llmopt_error *error) {
  for (uint32_t i = 0; i < model.desc.num_constraints; ++i) {
    const llmopt_constraint &c = model.desc.constraints[i];
    if (c.flags & LLMOPT_CHECKED_BY_STEP || (stages[c.lhs] > stages[c.rhs] ? stages[c.lhs] : stages[c.rhs]) != stage)
      continue;
    if (llmopt_status status = checkConstraint(model, i, error))
      return status;
  }
  return LLMOPT_OK;
}

llmopt_status Binding::checkConstraint(const llmopt_model &model, uint32_t index, llmopt_error *error) const {
  const llmopt_constraint &c = model.desc.constraints[index];
  bool defined = evaluated[c.lhs] && evaluated[c.rhs];
  if (defined && (c.relation == LLMOPT_EQUAL ? values[c.lhs] == values[c.rhs] : values[c.lhs] <= values[c.rhs]))
    return LLMOPT_OK;
  char lhs[128], rhs[128];
  model.format(c.lhs, lhs, sizeof(lhs));
  model.format(c.rhs, rhs, sizeof(rhs));
  const char *relation = c.relation == LLMOPT_EQUAL ? "==" : "<=";
  const char *reason = c.reason ? c.reason : "the model";
  if (!defined)
    return fail(error, LLMOPT_SHAPE_MISMATCH, "%s: %s %s %s has no value for these shapes", reason, lhs, relation, rhs);
  return fail(error, LLMOPT_SHAPE_MISMATCH, "%s: expected %s %s %s, but got %lld and %lld", reason, lhs, relation, rhs,
              static_cast<long long>(values[c.lhs]), static_cast<long long>(values[c.rhs]));
}

llmopt_status Binding::sizeOf(uint32_t expr, const char *what, const char *name, uint64_t *result,
                              llmopt_error *error) const {
  if (!evaluated[expr])
    return fail(error, LLMOPT_SHAPE_MISMATCH, "%s of '%s': overflows, or is undefined, for these shapes", what, name);
  if (values[expr] < 0)
    return fail(error, LLMOPT_SHAPE_MISMATCH, "%s of '%s': is negative (%lld) for these shapes", what, name,
                static_cast<long long>(values[expr]));
  *result = static_cast<uint64_t>(values[expr]);
  return LLMOPT_OK;
}

/// Bytes of a dense tensor; false on overflow.
static bool tensorBytes(const llmopt_tensor_type &type, uint64_t *bytes) {
  // A zero anywhere makes the tensor empty, whatever the others multiply to.
  for (uint32_t d = 0; d < type.rank; ++d)
    if (type.dims[d] == 0) {
      *bytes = 0;
      return true;
    }
  int64_t product = static_cast<int64_t>(llmopt_dtype_size(type.dtype));
  for (uint32_t d = 0; d < type.rank; ++d)
    if (__builtin_mul_overflow(product, type.dims[d], &product))
      return false;
  *bytes = static_cast<uint64_t>(product);
  return true;
}

llmopt_status Binding::sizeTensors(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  for (uint32_t i = 0; i < desc.num_inputs; ++i)
    if (!tensorBytes(inputs[i], &inputBytes[i]))
      return fail(error, LLMOPT_SHAPE_MISMATCH, "input '%s': its size in bytes overflows", desc.inputs[i].name);
  const llmopt_tensor_desc *largest = desc.num_data_symbols ? desc.output_bounds : desc.outputs;
  for (uint32_t i = 0; i < desc.num_outputs; ++i)
    if (llmopt_status status = sizeOutput(largest[i], &outputs[i], &outputBytes[i], error))
      return status;
  return LLMOPT_OK;
}

llmopt_status Binding::sizeOutput(const llmopt_tensor_desc &declared, llmopt_tensor_type *type, uint64_t *bytes,
                                  llmopt_error *error) const {
  type->dtype = declared.dtype;
  type->rank = declared.rank;
  for (uint32_t d = 0; d < declared.rank; ++d) {
    uint64_t size;
    if (llmopt_status status = sizeOf(declared.dims[d], "a dimension", declared.name, &size, error))
      return status;
    type->dims[d] = static_cast<int64_t>(size);
  }
  if (!tensorBytes(*type, bytes))
    return fail(error, LLMOPT_SHAPE_MISMATCH, "output '%s': its size in bytes overflows", declared.name);
  return LLMOPT_OK;
}

llmopt_status Binding::sizeOutputsOfRun(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  for (uint32_t i = 0; i < desc.num_outputs; ++i) {
    bool counted = false;
    for (uint32_t d = 0; d < desc.outputs[i].rank; ++d)
      counted = counted || stages[desc.outputs[i].dims[d]] != 0;
    if (!counted)
      continue; // as bound, or as a step has said
    if (llmopt_status status = sizeOutput(desc.outputs[i], &actual[i], &writtenBytes[i], error))
      return status;
  }
  return LLMOPT_OK;
}

/// On a device addresses should not change with every token, since a graph holds them: the
/// arena is laid out for as many tokens as are there when the next multiple of this is full.
static constexpr int64_t laidOutTokens = 256;

/// The size of a buffer for those tokens, or for the present ones, whichever is more.
uint64_t Binding::sizeOfLater(const llmopt_model &model, uint32_t expr, uint64_t now) const {
  int64_t later;
  if (!laysOutAhead || !model.evaluate(expr, laterSymbols.data(), &later) || later < 0)
    return now;
  return static_cast<uint64_t>(later) > now ? static_cast<uint64_t>(later) : now;
}

/// Sizes of all buffers, and the layout of those in the arena.
llmopt_status Binding::sizeBuffers(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  uint32_t numItems = 0;
  laysOutAhead = desc.device && desc.num_caches;
  if (laysOutAhead) {
    for (size_t s = 0; s < symbols.size(); ++s)
      laterSymbols[s] = symbols[s];
    int64_t tokens = (cache.past + newTokens + laidOutTokens - 1) / laidOutTokens * laidOutTokens;
    laterSymbols[desc.past_symbol] = (tokens < cache.capacity ? tokens : cache.capacity) - newTokens;
  }
  zeroSize = 0;
  for (uint32_t i = 0; i < desc.num_buffers; ++i) {
    const llmopt_buffer &b = desc.buffers[i];
    char name[32];
    snprintf(name, sizeof(name), "buffer %u", i);
    sizes[i] = unknownSize;
    if (b.size != LLMOPT_NONE)
      if (llmopt_status status = sizeOf(b.size, "the size", name, &sizes[i], error))
        return status;

    if (b.kind == LLMOPT_BUFFER_INPUT || b.kind == LLMOPT_BUFFER_OUTPUT) {
      bool isInput = b.kind == LLMOPT_BUFFER_INPUT;
      uint64_t bytes = isInput ? inputBytes[b.index] : outputBytes[b.index];
      if (sizes[i] != unknownSize && sizes[i] != bytes)
        return fail(error, LLMOPT_BAD_MODEL, "%s '%s': its buffer has %llu bytes, but its shape %llu",
                    isInput ? "input" : "output", isInput ? desc.inputs[b.index].name : desc.outputs[b.index].name,
                    ull(sizes[i]), ull(bytes));
      sizes[i] = bytes;
    } else if (b.kind == LLMOPT_BUFFER_ARENA) {
      items[numItems] = {sizeOfLater(model, b.size, sizes[i]), b.first_step, b.last_step, 0};
      itemOf[i] = numItems++;
    } else if (b.kind == LLMOPT_BUFFER_ZERO) {
      zeroSize = sizes[i] > zeroSize ? sizes[i] : zeroSize;
    }
  }
  if (!layoutArena(items.data(), numItems, desc.num_steps, workspace, &arenaSize, &arenaLowerBound))
    return fail(error, LLMOPT_SHAPE_MISMATCH,
                "the memory for intermediate values overflows for these "
                "shapes");
  return LLMOPT_OK;
}

/// Follows views to their bases and checks every one against its base.
llmopt_status Binding::locateBuffers(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  for (uint32_t i = 0; i < desc.num_buffers; ++i) {
    Location at = {i, 0};
    char name[32];
    snprintf(name, sizeof(name), "buffer %u", i);
    uint64_t size = sizes[i];
    const llmopt_buffer *b = &desc.buffers[i];
    while (b->kind == LLMOPT_BUFFER_VIEW) {
      uint64_t offset = 0, end;
      if (llmopt_status status = sizeOf(b->offset, "the offset", name, &offset, error))
        return status;
      uint64_t baseSize = sizes[b->index];
      if (__builtin_add_overflow(offset, size == unknownSize ? 0 : size, &end) || end > baseSize ||
          __builtin_add_overflow(at.offset, offset, &at.offset))
        return fail(error, LLMOPT_BAD_MODEL,
                    "buffer %u reaches beyond buffer %u for these shapes: "
                    "expected at most %llu bytes, but got %llu",
                    i, b->index, ull(baseSize), ull(end));
      at.buffer = b->index;
      size = baseSize;
      b = &desc.buffers[b->index];
    }
    if (b->kind == LLMOPT_BUFFER_WEIGHT) {
      uint64_t offset = 0;
      if (llmopt_status status = sizeOf(b->offset, "the offset", name, &offset, error))
        return status;
      if (offset > desc.weights_size || sizes[at.buffer] > desc.weights_size - offset || offset % 64 != 0)
        return fail(error, LLMOPT_BAD_MODEL,
                    "buffer %u: lies outside the weights or is not 64-byte "
                    "aligned",
                    at.buffer);
      at.offset += offset;
    }
    locations[i] = at;
  }
  for (uint32_t o = 0; o < desc.num_outputs; ++o)
    if (sizes[desc.outputs[o].buffer] < outputBytes[o])
      return fail(error, LLMOPT_BAD_MODEL, "output '%s': expected a buffer of %llu bytes, but got %llu",
                  desc.outputs[o].name, ull(outputBytes[o]), ull(sizes[desc.outputs[o].buffer]));
  return LLMOPT_OK;
}

/// Tiles and sizes of steps as far as they wait for `stage` data symbols exactly.
llmopt_status Binding::sizeSteps(const llmopt_model &model, uint32_t stage, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  for (uint32_t s = 0; s < desc.num_steps; ++s) {
    const llmopt_step &step = desc.steps[s];
    if (stage == 0)
      steps[s] = {step.kernel,
                  args.data() + step.first_arg,
                  dims.data() + step.first_dim,
                  step.tiles, // of a control step: its target
                  step.control,
                  step.num_args,
                  step.num_dims};
    if (step.control == LLMOPT_CONTROL_NONE && stages[step.tiles] == stage) {
      uint64_t tiles;
      if (llmopt_status status = sizeOf(step.tiles, "the tile count", step.name, &tiles, error))
        return status;
      if (tiles > INT32_MAX)
        return fail(error, LLMOPT_SHAPE_MISMATCH, "step '%s': expected at most %d tiles, but got %llu", step.name,
                    INT32_MAX, ull(tiles));
      steps[s].tiles = static_cast<uint32_t>(tiles);
    }
    for (uint32_t d = 0; d < step.num_dims; ++d) {
      uint32_t e = desc.step_dims[step.first_dim + d];
      if (stages[e] != stage)
        continue;
      if (!evaluated[e])
        return fail(error, LLMOPT_SHAPE_MISMATCH, "step '%s': a size overflows for these shapes", step.name);
      dims[step.first_dim + d] = values[e];
    }
    if (step.control == LLMOPT_CONTROL_COPY && stages[desc.step_dims[step.first_dim]] == stage &&
        dims[step.first_dim] < 0)
      return fail(error, LLMOPT_SHAPE_MISMATCH, "step '%s': a size is negative for these shapes", step.name);
  }
  return LLMOPT_OK;
}

llmopt_status Binding::publish(const llmopt_model &model, uint32_t dataSymbol, int64_t number, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  const llmopt_data_symbol &count = desc.data_symbols[dataSymbol];
  if (number < 0 || number > values[count.bound])
    return fail(error, LLMOPT_SHAPE_MISMATCH, "the size '%s': expected a number in [0, %lld], but got %lld",
                desc.symbols[count.symbol], static_cast<long long>(values[count.bound]),
                static_cast<long long>(number));
  symbols[count.symbol] = number;
  uint32_t stage = dataSymbol + 1;
  for (uint32_t e = 0; e < desc.num_exprs; ++e)
    if (stages[e] == stage)
      evaluated[e] = model.evaluate(e, symbols.data(), &values[e]);
  if (llmopt_status status = checkConstraints(model, stage, error))
    return status;
  return sizeSteps(model, stage, error);
}

/// Where each cache lies, and that the new tokens fit.
llmopt_status Binding::sizeCaches(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  cacheSize = cacheBytes = 0;
  if (!desc.num_caches)
    return LLMOPT_OK;
  uint64_t tokens;
  if (llmopt_status status = sizeOf(desc.new_tokens, "the number of new tokens", "caches", &tokens, error))
    return status;
  newTokens = static_cast<int64_t>(tokens);
  if (newTokens > cache.capacity - cache.past)
    return fail(error, LLMOPT_SHAPE_MISMATCH,
                "the cache holds %lld tokens and has room for %lld more, but got %lld; a session may be created "
                "with a larger cache_capacity",
                static_cast<long long>(cache.past), static_cast<long long>(cache.capacity - cache.past),
                static_cast<long long>(newTokens));
  for (uint32_t i = 0; i < desc.num_caches; ++i) {
    uint64_t size, end;
    if (llmopt_status status = sizeOf(desc.caches[i].size, "the size", desc.caches[i].name, &size, error))
      return status;
    cacheOffsets[i] = cacheSize;
    cacheBytes += size;
    if (__builtin_add_overflow(cacheSize, size, &end) || !alignUp(end, arenaAlignment, &cacheSize))
      return fail(error, LLMOPT_SHAPE_MISMATCH, "the memory for caches overflows for these shapes");
  }
  return LLMOPT_OK;
}

llmopt_status Binding::bind(const llmopt_model &model, const llmopt_tensor_type *given, const CacheState &state,
                            llmopt_error *error) {
  valid = false;
  cache = state;
  llmopt_status status = checkTypes(model, given, error);
  if (!status)
    status = solveSymbols(model, error);
  if (!status)
    status = checkConstraints(model, 0, error);
  if (!status)
    status = sizeCaches(model, error);
  if (!status)
    status = sizeTensors(model, error);
  if (!status)
    status = sizeBuffers(model, error);
  if (!status)
    status = locateBuffers(model, error);
  if (!status)
    status = sizeSteps(model, 0, error);
  scratchBytes = 0;
  if (!status && model.desc.scratch_bytes != LLMOPT_NONE)
    status = sizeOf(model.desc.scratch_bytes, "the scratch memory", "model", &scratchBytes, error);
  return status;
}

/// The first index outside of [-rows, rows); `count` where there is none.
template <typename T> static uint64_t findOutside(const T *ids, uint64_t count, int64_t rows) {
  for (uint64_t i = 0; i < count; ++i)
    if (ids[i] < -rows || ids[i] >= rows)
      return i;
  return count;
}

llmopt_status Binding::checkIndices(const llmopt_model &model, const llmopt_input *data, llmopt_error *error) const {
  for (uint32_t i = 0; i < model.desc.num_index_checks; ++i) {
    const llmopt_index_check &check = model.desc.index_checks[i];
    const llmopt_tensor_desc &input = model.desc.inputs[check.input];
    int64_t rows = values[check.rows];
    bool wide = input.dtype == LLMOPT_I64;
    uint64_t count = inputBytes[check.input] / (wide ? 8 : 4);
    const auto *ids64 = static_cast<const int64_t *>(data[check.input].data);
    const auto *ids32 = static_cast<const int32_t *>(data[check.input].data);
    uint64_t at = wide ? findOutside(ids64, count, rows) : findOutside(ids32, count, rows);
    if (at < count)
      return fail(error, LLMOPT_BAD_VALUE,
                  "input '%s', element %llu: expected an index in [-%lld, %lld), but got %lld (%s)", input.name,
                  ull(at), static_cast<long long>(rows), static_cast<long long>(rows),
                  static_cast<long long>(wide ? ids64[at] : ids32[at]), check.reason ? check.reason : "the model");
  }
  return LLMOPT_OK;
}

void Binding::place(const llmopt_model &model, const Memory &memory) {
  const llmopt_model_desc &desc = model.desc;
  // The address of a location; NULL for what the caller brings to a run.
  auto address = [&](const Location &at) -> const char * {
    const llmopt_buffer &base = desc.buffers[at.buffer];
    switch (base.kind) {
    case LLMOPT_BUFFER_ARENA:
      return memory.arena + items[itemOf[at.buffer]].offset + at.offset;
    case LLMOPT_BUFFER_CACHE:
      return memory.caches + cacheOffsets[base.index] + at.offset;
    case LLMOPT_BUFFER_ZERO:
      return memory.zeros + at.offset;
    case LLMOPT_BUFFER_WEIGHT:
      return memory.weights + at.offset;
    case LLMOPT_BUFFER_CONSTANT:
      return (memory.constants ? memory.constants + memory.constantOffsets[at.buffer]
                               : static_cast<const char *>(base.data)) +
             at.offset;
    }
    return nullptr;
  };

  numInputPatches = numOutputPatches = numCopies = 0;
  for (uint32_t a = 0; a < desc.num_step_args; ++a) {
    args[a] = nullptr;
    if (desc.step_args[a] == LLMOPT_NONE)
      continue;
    const Location &at = locations[desc.step_args[a]];
    const llmopt_buffer &base = desc.buffers[at.buffer];
    if (base.kind == LLMOPT_BUFFER_INPUT)
      inputPatches[numInputPatches++] = {a, base.index, at.offset};
    else if (base.kind == LLMOPT_BUFFER_OUTPUT)
      outputPatches[numOutputPatches++] = {a, base.index, at.offset};
    else
      args[a] = const_cast<char *>(address(at));
  }
  for (uint32_t o = 0; o < desc.num_outputs; ++o) {
    const Location &at = locations[desc.outputs[o].buffer];
    const llmopt_buffer &base = desc.buffers[at.buffer];
    if (base.kind == LLMOPT_BUFFER_OUTPUT && base.index == o && !at.offset)
      continue;
    copies[numCopies++] = {o, base.kind, base.index, address(at), at.offset};
  }
  for (uint32_t k = 0; k < desc.num_data_symbols; ++k) {
    const Location &at = locations[desc.data_symbols[k].buffer];
    const llmopt_buffer &base = desc.buffers[at.buffer];
    counts[k] = {k, base.kind, base.index, address(at), at.offset};
  }
  forgetRun();
  valid = true;
}

void Binding::forgetRun() {
  for (size_t o = 0; o < outputs.size(); ++o) {
    actual[o] = outputs[o];
    writtenBytes[o] = outputBytes[o];
  }
}

void Binding::poison(const llmopt_model &model, uint32_t step, char *arena) const {
  for (uint32_t i = 0; i < model.desc.num_buffers; ++i)
    if (model.desc.buffers[i].kind == LLMOPT_BUFFER_ARENA && model.desc.buffers[i].last_step == step)
      std::memset(arena + items[itemOf[i]].offset, 0xFF, items[itemOf[i]].size);
}
