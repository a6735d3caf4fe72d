#include "tables.h"

#include <initializer_list>

#include "common.h"
#include "expr.h"

using namespace llmopt::rt;

namespace {
class Checker {
public:
  Checker(const llmopt_model_desc &desc, const char *path, llmopt_error *error)
      : desc(desc), path(path), error(error) {}

  llmopt_status run() {
    if (!hasArrays() || !checkExprs() || !checkBuffers() ||
        !checkTensors(desc.inputs, desc.num_inputs, "input", LLMOPT_BUFFER_INPUT) ||
        !checkTensors(desc.outputs, desc.num_outputs, "output", LLMOPT_BUFFER_OUTPUT) || !checkSymbols() ||
        !checkSteps() || !checkWeights() || !checkConstraints() || !checkDataSymbols() || !checkCaches() ||
        !checkIndexChecks() || !checkDevice() || !checkTraining())
      return status;
    return LLMOPT_OK;
  }

private:
  /// Records "<path>: damaged model tables: <what> <index>: <why>".
  bool bad(const char *what, uint32_t index, const char *why) {
    status = fail(error, LLMOPT_BAD_MODEL, "%s: damaged model tables: %s %u: %s", path, what, index, why);
    return false;
  }

  bool isExpr(uint32_t e) const { return e < desc.num_exprs; }
  bool isExprOrNone(uint32_t e) const { return e == LLMOPT_NONE || isExpr(e); }

  bool hasArrays() {
    struct {
      const char *what;
      uint32_t count;
      const void *array;
    } const arrays[] = {{"symbols", desc.num_symbols, desc.symbols},
                        {"inputs", desc.num_inputs, desc.inputs},
                        {"outputs", desc.num_outputs, desc.outputs},
                        {"buffers", desc.num_buffers, desc.buffers},
                        {"steps", desc.num_steps, desc.steps},
                        {"weights", desc.num_weights, desc.weights},
                        {"exprs", desc.num_exprs, desc.exprs},
                        {"expr_code", desc.num_expr_code, desc.expr_code},
                        {"step_args", desc.num_step_args, desc.step_args},
                        {"step_dims", desc.num_step_dims, desc.step_dims},
                        {"constraints", desc.num_constraints, desc.constraints},
                        {"data symbols", desc.num_data_symbols, desc.data_symbols},
                        {"output bounds", desc.num_data_symbols ? desc.num_outputs : 0, desc.output_bounds},
                        {"caches", desc.num_caches, desc.caches},
                        {"index checks", desc.num_index_checks, desc.index_checks}};
    for (const auto &a : arrays)
      if (a.count && !a.array)
        return bad(a.what, 0, "is missing");
    if (desc.num_data_symbols > desc.num_symbols)
      return bad("data symbols", 0, "are more than all symbols");
    if (!desc.name || !desc.compiler || !desc.target || !desc.cpu_features)
      return bad("names", 0, "is missing");
    return true;
  }

  /// The entries themselves are checked when they are asked for.
  bool checkTraining() {
    const llmopt_training *t = desc.training;
    if (!t)
      return true;
    if (t->struct_size < sizeof(llmopt_training) || !t->gradients || !t->evaluate || !t->loss ||
        (t->num_parameters && !t->parameters) || (t->num_hypers && !t->hypers) || (t->num_labels && !t->labels))
      return bad("training", 0, "is not complete");
    const llmopt_model_desc &g = *t->gradients, &e = *t->evaluate;
    if (g.num_outputs != 2 + t->num_parameters || e.num_outputs < 3)
      return bad("training", 0, "has entries with other outputs");
    for (uint32_t i = 0; i < t->num_parameters; ++i) {
      const llmopt_parameter &p = t->parameters[i];
      if (!p.name || p.gradients_input >= g.num_inputs || p.gradients_output >= g.num_outputs ||
          p.gradients_output < 2 || p.evaluate_input >= e.num_inputs ||
          g.inputs[p.gradients_input].dtype != LLMOPT_F32 || g.outputs[p.gradients_output].dtype != LLMOPT_F32)
        return bad("parameter", i, "names no f32 input and output");
    }
    for (uint32_t i = 0; i < t->num_hypers; ++i)
      if (!t->hypers[i].name ||
          (t->hypers[i].gradients_input != LLMOPT_NONE && t->hypers[i].gradients_input >= g.num_inputs) ||
          (t->hypers[i].evaluate_input != LLMOPT_NONE && t->hypers[i].evaluate_input >= e.num_inputs))
        return bad("hyper-parameter", i, "names no input");
    for (uint32_t i = 0; i < t->num_labels; ++i) {
      const llmopt_label &l = t->labels[i];
      if (!l.name || l.gradients_input >= g.num_inputs || l.evaluate_input >= e.num_inputs ||
          (l.gradients_classes != LLMOPT_NONE && l.gradients_classes >= g.num_exprs) ||
          (l.evaluate_classes != LLMOPT_NONE && l.evaluate_classes >= e.num_exprs))
        return bad("label", i, "names no input or size");
    }
    return true;
  }

  bool checkExprs() {
    for (uint32_t i = 0; i < desc.num_exprs; ++i) {
      const llmopt_expr &e = desc.exprs[i];
      if (e.first > desc.num_expr_code || e.count > desc.num_expr_code - e.first)
        return bad("expression", i, "its code lies outside the table");
      if (!isWellFormed(desc.expr_code + e.first, e.count, desc.num_symbols))
        return bad("expression", i, "is malformed");
    }
    return true;
  }

  bool checkBuffers() {
    for (uint32_t i = 0; i < desc.num_buffers; ++i) {
      const llmopt_buffer &b = desc.buffers[i];
      if (!isExprOrNone(b.size) || !isExprOrNone(b.offset))
        return bad("buffer", i, "names no expression");
      switch (b.kind) {
      case LLMOPT_BUFFER_ARENA:
        if (b.size == LLMOPT_NONE)
          return bad("buffer", i, "has no size");
        if (b.first_step > b.last_step || b.last_step >= desc.num_steps)
          return bad("buffer", i, "its live steps are no range of steps");
        break;
      case LLMOPT_BUFFER_WEIGHT:
        if (b.offset == LLMOPT_NONE || b.size == LLMOPT_NONE)
          return bad("buffer", i, "has no size or offset");
        break;
      case LLMOPT_BUFFER_ZERO:
        if (b.size == LLMOPT_NONE)
          return bad("buffer", i, "has no size");
        break;
      case LLMOPT_BUFFER_INPUT:
        if (b.index >= desc.num_inputs)
          return bad("buffer", i, "names no input");
        break;
      case LLMOPT_BUFFER_OUTPUT:
        if (b.index >= desc.num_outputs)
          return bad("buffer", i, "names no output");
        break;
      case LLMOPT_BUFFER_CACHE:
        if (b.index >= desc.num_caches)
          return bad("buffer", i, "names no cache");
        break;
      case LLMOPT_BUFFER_CONSTANT:
        if (!b.data)
          return bad("buffer", i, "has no data");
        break;
      case LLMOPT_BUFFER_VIEW: {
        if (b.offset == LLMOPT_NONE)
          return bad("buffer", i, "has no offset");
        // Follow the chain: it must leave views within num_buffers links.
        uint32_t base = i;
        for (uint32_t links = 0; desc.buffers[base].kind == LLMOPT_BUFFER_VIEW; ++links) {
          base = desc.buffers[base].index;
          if (base >= desc.num_buffers)
            return bad("buffer", i, "is a view of no buffer");
          if (links > maxViewChain)
            return bad("buffer", i, "is a view of itself, or nested too deep");
        }
        break;
      }
      default:
        return bad("buffer", i, "has an unknown kind");
      }
    }
    return true;
  }

  bool checkTensors(const llmopt_tensor_desc *tensors, uint32_t count, const char *what, uint32_t ownKind) {
    for (uint32_t i = 0; i < count; ++i) {
      const llmopt_tensor_desc &t = tensors[i];
      if (!t.name)
        return bad(what, i, "has no name");
      if (!llmopt_dtype_size(t.dtype))
        return bad(what, i, "has an unknown element type");
      if (t.rank > LLMOPT_MAX_RANK)
        return bad(what, i, "has too many dimensions");
      for (uint32_t d = 0; d < t.rank; ++d)
        if (!isExpr(t.dims[d]))
          return bad(what, i, "a dimension names no expression");
      bool isInput = ownKind == LLMOPT_BUFFER_INPUT;
      if (isInput && t.buffer == LLMOPT_NONE)
        continue; // an input that nothing reads
      if (t.buffer >= desc.num_buffers)
        return bad(what, i, "names no buffer");
      const llmopt_buffer &b = desc.buffers[t.buffer];
      if (isInput && (b.kind != LLMOPT_BUFFER_INPUT || b.index != i))
        return bad(what, i, "its buffer is another's");
    }
    return true;
  }

  bool checkSymbols() {
    for (uint32_t s = 0; s < desc.num_symbols; ++s) {
      if (!desc.symbols[s])
        return bad("symbol", s, "has no name");
      bool defined = desc.num_caches && (s == desc.past_symbol || s == desc.capacity_symbol);
      for (uint32_t i = 0; i < desc.num_inputs && !defined; ++i)
        for (uint32_t d = 0; d < desc.inputs[i].rank && !defined; ++d) {
          const llmopt_expr &e = desc.exprs[desc.inputs[i].dims[d]];
          const llmopt_expr_insn &insn = desc.expr_code[e.first];
          defined = e.count == 1 && insn.op == LLMOPT_EXPR_SYMBOL && insn.value == int64_t(s);
        }
      if (!defined && s < desc.num_symbols - desc.num_data_symbols)
        return bad("symbol", s, "no input dimension defines it");
    }
    return true;
  }

  /// Arguments, sizes and target of a step without a kernel.
  bool checkControl(const llmopt_step &s) const {
    auto hasArgs = [&](uint32_t least, uint32_t most) {
      if (s.num_args < least || s.num_args > most)
        return false;
      for (uint32_t a = 0; a < least; ++a)
        if (desc.step_args[s.first_arg + a] == LLMOPT_NONE)
          return false;
      return true;
    };
    bool isStep = s.tiles <= desc.num_steps;
    if (s.kernel)
      return false;
    switch (s.control) {
    case LLMOPT_CONTROL_COPY:
      return hasArgs(2, 3) && s.num_dims == (s.num_args == 3 ? 3 : 1);
    case LLMOPT_CONTROL_RESET:
      return hasArgs(1, 1);
    case LLMOPT_CONTROL_JUMP:
      return isStep;
    case LLMOPT_CONTROL_BRANCH:
    case LLMOPT_CONTROL_NEXT:
      return isStep && hasArgs(1, 1);
    case LLMOPT_CONTROL_LOOP:
      return isStep && s.num_args == 3 && desc.step_args[s.first_arg] != LLMOPT_NONE;
    case LLMOPT_CONTROL_CHECK:
      return s.tiles < desc.num_constraints;
    case LLMOPT_CONTROL_SHAPE:
      return s.tiles < desc.num_outputs && s.num_dims == desc.outputs[s.tiles].rank && s.num_args <= 1;
    default:
      return false;
    }
  }

  bool checkSteps() {
    for (uint32_t i = 0; i < desc.num_steps; ++i) {
      const llmopt_step &s = desc.steps[i];
      if (!s.kernel && s.control == LLMOPT_CONTROL_NONE && !desc.device)
        return bad("step", i, "has no kernel");
      if (s.kernel && desc.device)
        return bad("step", i, "has a kernel of the CPU, but the model runs on a device");
      if (!s.name)
        return bad("step", i, "has no name");
      if (s.first_arg > desc.num_step_args || s.num_args > desc.num_step_args - s.first_arg)
        return bad("step", i, "its arguments lie outside the table");
      if (s.first_dim > desc.num_step_dims || s.num_dims > desc.num_step_dims - s.first_dim)
        return bad("step", i, "its sizes lie outside the table");
      if (s.control == LLMOPT_CONTROL_NONE ? !isExpr(s.tiles) : !checkControl(s))
        return s.control == LLMOPT_CONTROL_NONE ? bad("step", i, "its tile count names no expression")
                                                : bad("step", i, "is no sound step of the runtime");
    }
    for (uint32_t i = 0; i < desc.num_step_args; ++i)
      if (desc.step_args[i] != LLMOPT_NONE && desc.step_args[i] >= desc.num_buffers)
        return bad("step argument", i, "names no buffer");
    for (uint32_t i = 0; i < desc.num_step_dims; ++i)
      if (!isExpr(desc.step_dims[i]))
        return bad("step size", i, "names no expression");
    if (!isExprOrNone(desc.scratch_bytes))
      return bad("scratch size", 0, "names no expression");
    return true;
  }

  bool checkWeights() {
    for (uint32_t i = 0; i < desc.num_weights; ++i) {
      const llmopt_weight &w = desc.weights[i];
      if (!w.name)
        return bad("weight", i, "has no name");
      if (!llmopt_dtype_size(w.dtype) || w.rank > LLMOPT_MAX_RANK)
        return bad("weight", i, "has an unknown type");
      if (w.offset > desc.weights_size || w.size > desc.weights_size - w.offset)
        return bad("weight", i, "lies outside the weights");
    }
    return true;
  }

  bool checkConstraints() {
    for (uint32_t i = 0; i < desc.num_constraints; ++i) {
      const llmopt_constraint &c = desc.constraints[i];
      if (!isExpr(c.lhs) || !isExpr(c.rhs))
        return bad("constraint", i, "names no expression");
      if (c.relation != LLMOPT_EQUAL && c.relation != LLMOPT_AT_MOST)
        return bad("constraint", i, "has an unknown relation");
    }
    return true;
  }

  /// Whether an expression has a value when shapes are bound.
  bool isBoundExpr(uint32_t e) const {
    if (e == LLMOPT_NONE)
      return true;
    for (uint32_t i = 0; i < desc.exprs[e].count; ++i) {
      const llmopt_expr_insn &insn = desc.expr_code[desc.exprs[e].first + i];
      if (insn.op == LLMOPT_EXPR_SYMBOL && insn.value >= int64_t(desc.num_symbols - desc.num_data_symbols))
        return false;
    }
    return true;
  }

  bool checkDataSymbols() {
    if (!desc.num_data_symbols)
      return true;
    uint32_t first = desc.num_symbols - desc.num_data_symbols, earlier = 0;
    for (uint32_t k = 0; k < desc.num_data_symbols; ++k) {
      const llmopt_data_symbol &s = desc.data_symbols[k];
      if (s.symbol != first + k)
        return bad("data symbol", k, "is not in the order of symbols");
      if (s.buffer >= desc.num_buffers || !isExpr(s.bound) || !isBoundExpr(s.bound))
        return bad("data symbol", k, "has no buffer or bound");
      const llmopt_buffer &b = desc.buffers[s.buffer];
      const llmopt_expr &size = desc.exprs[b.size == LLMOPT_NONE ? s.bound : b.size];
      const llmopt_expr_insn &insn = desc.expr_code[size.first];
      if (b.size == LLMOPT_NONE || size.count != 1 || insn.op != LLMOPT_EXPR_CONST || insn.value != 8)
        return bad("data symbol", k, "its buffer has no 8 bytes");
      if (s.first_step > desc.num_steps || s.first_step < earlier)
        return bad("data symbol", k, "its step is out of order");
      earlier = s.first_step;
    }
    for (uint32_t i = 0; i < desc.num_inputs; ++i)
      for (uint32_t d = 0; d < desc.inputs[i].rank; ++d)
        if (!isBoundExpr(desc.inputs[i].dims[d]))
          return bad("input", i, "a dimension depends on data");
    for (uint32_t i = 0; i < desc.num_buffers; ++i)
      if (!isBoundExpr(desc.buffers[i].size) || !isBoundExpr(desc.buffers[i].offset))
        return bad("buffer", i, "its place depends on data");
    if (!isBoundExpr(desc.scratch_bytes))
      return bad("scratch size", 0, "depends on data");
    for (uint32_t i = 0; i < desc.num_outputs; ++i) {
      const llmopt_tensor_desc &t = desc.output_bounds[i];
      if (!t.name || t.dtype != desc.outputs[i].dtype || t.rank != desc.outputs[i].rank)
        return bad("output bound", i, "is not of its output");
      for (uint32_t d = 0; d < t.rank; ++d)
        if (!isExpr(t.dims[d]) || !isBoundExpr(t.dims[d]))
          return bad("output bound", i, "a dimension names no expression, or depends on data");
    }
    return true;
  }

  bool checkCaches() {
    for (uint32_t i = 0; i < desc.num_caches; ++i) {
      const llmopt_cache &c = desc.caches[i];
      if (!c.name)
        return bad("cache", i, "has no name");
      if (!llmopt_dtype_size(c.dtype) || !isExpr(c.size))
        return bad("cache", i, "has no type or size");
    }
    if (desc.num_caches &&
        (desc.past_symbol >= desc.num_symbols || desc.capacity_symbol >= desc.num_symbols || !isExpr(desc.new_tokens)))
      return bad("caches", 0, "names no symbols or no number of new tokens");
    return true;
  }

  bool checkIndexChecks() {
    for (uint32_t i = 0; i < desc.num_index_checks; ++i) {
      const llmopt_index_check &c = desc.index_checks[i];
      if (c.input >= desc.num_inputs || !isExpr(c.rows) || !isBoundExpr(c.rows))
        return bad("index check", i, "names no input or no size");
      if (desc.inputs[c.input].dtype != LLMOPT_I64 && desc.inputs[c.input].dtype != LLMOPT_I32)
        return bad("index check", i, "is not of integers");
    }
    return true;
  }

  /// The kernels of a device, and that steps have what these take.
  bool checkDevice() {
    if (!desc.device)
      return true;
    const llmopt_device &d = *desc.device;
    if (d.struct_size < offsetof(llmopt_device, num_products) || d.kind != LLMOPT_DEVICE_CUDA)
      return bad("device", 0, "is of an unknown kind");
    auto from = reinterpret_cast<uintptr_t>(d.image), to = reinterpret_cast<uintptr_t>(d.image_end);
    if (!d.architectures || !from || to <= from || !d.step_kernels || (d.num_kernels && !d.kernels))
      return bad("device", 0, "has no code");
    for (uint32_t i = 0; i < d.num_kernels; ++i) {
      const llmopt_device_kernel &k = d.kernels[i];
      if (!k.name || k.threads < 1 || k.threads > 1024)
        return bad("device kernel", i, "has no name or no sound number of threads");
      if (k.num_buffers > desc.num_step_args || k.num_dims > desc.num_step_dims ||
          (k.scratch_dim != LLMOPT_NONE && k.scratch_dim >= k.num_dims))
        return bad("device kernel", i, "has unsound parameters");
    }
    for (uint32_t i = 0; i < desc.num_steps; ++i) {
      const llmopt_step &s = desc.steps[i];
      uint32_t k = d.step_kernels[i];
      if (s.control != LLMOPT_CONTROL_NONE ? k != LLMOPT_NONE : k >= d.num_kernels)
        return bad("step", i, "names no kernel of the device");
      if (k == LLMOPT_NONE)
        continue;
      if (s.num_args < d.kernels[k].num_buffers || s.num_dims < d.kernels[k].num_dims)
        return bad("step", i, "has too few arguments for its kernel");
      for (uint32_t a = 0; a < d.kernels[k].num_buffers; ++a)
        if (desc.step_args[s.first_arg + a] == LLMOPT_NONE)
          return bad("step", i, "lacks an argument of its kernel");
    }
    return d.struct_size < sizeof(llmopt_device) || checkProducts(d);
  }

  /// Products that a library may compute.
  bool checkProducts(const llmopt_device &d) {
    if ((d.num_products && !d.products) || (d.num_choices && !d.choices))
      return bad("library products", 0, "are missing");
    for (uint32_t i = 0; i < d.num_choices; ++i)
      if (!d.choices[i].device)
        return bad("library choice", i, "names no device");
    for (uint32_t i = 0; i < d.num_products; ++i) {
      const llmopt_library_product &p = d.products[i];
      if (p.step >= desc.num_steps || (i && p.step <= d.products[i - 1].step) || d.step_kernels[p.step] == LLMOPT_NONE)
        return bad("library product", i, "names no step of a kernel");
      for (uint32_t operand : {p.x, p.w, p.bias, p.residual, p.y}) {
        bool mayLack = operand == LLMOPT_NONE && (operand == p.bias || operand == p.residual);
        if (!mayLack && operand >= desc.steps[p.step].num_args)
          return bad("library product", i, "names no argument of its step");
      }
      if (p.x == LLMOPT_NONE || p.w == LLMOPT_NONE || p.y == LLMOPT_NONE || p.n < 1 || p.k < 1 ||
          (p.dtype != LLMOPT_F16 && p.dtype != LLMOPT_BF16))
        return bad("library product", i, "is of an unknown kind");
      for (uint32_t e : {p.rows, p.row_stride, p.row_offset})
        if (e >= desc.num_exprs)
          return bad("library product", i, "names no expression");
      if (p.first_choice > d.num_choices || p.num_choices > d.num_choices - p.first_choice)
        return bad("library product", i, "has choices outside of the table");
    }
    return true;
  }

  static constexpr uint32_t maxViewChain = 64;

  const llmopt_model_desc &desc;
  const char *path;
  llmopt_error *error;
  llmopt_status status = LLMOPT_OK;
};
} // namespace

llmopt_status llmopt::rt::checkVersion(const llmopt_model_desc &desc, const char *path, llmopt_error *error) {
  if (desc.abi_version != LLMOPT_ABI_VERSION)
    return fail(error, LLMOPT_BAD_MODEL,
                "%s: expected ABI version %u, but got %u; compile the model "
                "again with the llmopt of this runtime (%s)",
                path, LLMOPT_ABI_VERSION, desc.abi_version, llmopt_runtime_version());
  constexpr uint32_t smallest = offsetof(llmopt_model_desc, num_constraints);
  if (desc.struct_size < smallest)
    return fail(error, LLMOPT_BAD_MODEL, "%s: expected a descriptor of at least %u bytes, but got %u", path, smallest,
                desc.struct_size);
  return LLMOPT_OK;
}

llmopt_status llmopt::rt::checkTables(const llmopt_model_desc &desc, const char *path, llmopt_error *error) {
  return Checker(desc, path, error).run();
}
