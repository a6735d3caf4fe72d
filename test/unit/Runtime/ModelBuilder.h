// Builds model descriptors in memory, the way a compiler would emit them.
#ifndef LLMOPT_TEST_MODELBUILDER_H
#define LLMOPT_TEST_MODELBUILDER_H

#include "llmopt/runtime.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace llmopt::test {

class ModelBuilder {
public:
  uint32_t symbol(const char *name) {
    symbols.push_back(name);
    return expr({{LLMOPT_EXPR_SYMBOL, int64_t(symbols.size() - 1)}});
  }
  uint32_t constant(int64_t value) { return expr({{LLMOPT_EXPR_CONST, value}}); }
  uint32_t expr(std::vector<llmopt_expr_insn> insns) {
    exprs.push_back({uint32_t(code.size()), uint32_t(insns.size())});
    code.insert(code.end(), insns.begin(), insns.end());
    return uint32_t(exprs.size() - 1);
  }
  uint32_t binary(llmopt_expr_op op, uint32_t a, uint32_t b) {
    std::vector<llmopt_expr_insn> insns;
    for (uint32_t e : {a, b})
      insns.insert(insns.end(), code.begin() + exprs[e].first, code.begin() + exprs[e].first + exprs[e].count);
    insns.push_back({op, 0});
    return expr(insns);
  }
  uint32_t mul(uint32_t a, int64_t b) { return binary(LLMOPT_EXPR_MUL, a, constant(b)); }

  uint32_t buffer(llmopt_buffer b) {
    buffers.push_back(b);
    return uint32_t(buffers.size() - 1);
  }
  uint32_t arena(uint32_t size, uint32_t first, uint32_t last) {
    return buffer({LLMOPT_BUFFER_ARENA, LLMOPT_NONE, size, LLMOPT_NONE, first, last, nullptr});
  }
  uint32_t view(uint32_t base, uint32_t offset, uint32_t size) {
    return buffer({LLMOPT_BUFFER_VIEW, base, size, offset, 0, 0, nullptr});
  }
  uint32_t constantData(const void *data, uint32_t size) {
    return buffer({LLMOPT_BUFFER_CONSTANT, LLMOPT_NONE, size, LLMOPT_NONE, 0, 0, data});
  }
  uint32_t weight(uint32_t offset, uint32_t size) {
    return buffer({LLMOPT_BUFFER_WEIGHT, LLMOPT_NONE, size, offset, 0, 0, nullptr});
  }
  /// Returns the buffer of the input.
  uint32_t input(const char *name, llmopt_dtype dtype, const std::vector<uint32_t> &dims) {
    uint32_t b = buffer({LLMOPT_BUFFER_INPUT, uint32_t(inputs.size()), LLMOPT_NONE, LLMOPT_NONE, 0, 0, nullptr});
    inputs.push_back(tensor(name, dtype, dims, b));
    return b;
  }
  uint32_t output(const char *name, llmopt_dtype dtype, const std::vector<uint32_t> &dims) {
    uint32_t b = buffer({LLMOPT_BUFFER_OUTPUT, uint32_t(outputs.size()), LLMOPT_NONE, LLMOPT_NONE, 0, 0, nullptr});
    outputs.push_back(tensor(name, dtype, dims, b));
    return b;
  }
  void outputOf(const char *name, llmopt_dtype dtype, const std::vector<uint32_t> &dims, uint32_t source) {
    outputs.push_back(tensor(name, dtype, dims, source));
  }
  void step(const char *name, llmopt_kernel_fn kernel, const std::vector<uint32_t> &args,
            const std::vector<uint32_t> &dims, uint32_t tiles) {
    steps.push_back({name, kernel, uint32_t(stepArgs.size()), uint32_t(args.size()), uint32_t(stepDims.size()),
                     uint32_t(dims.size()), tiles, 0});
    stepArgs.insert(stepArgs.end(), args.begin(), args.end());
    stepDims.insert(stepDims.end(), dims.begin(), dims.end());
  }
  void constraint(uint32_t lhs, llmopt_relation relation, uint32_t rhs, const char *reason) {
    constraints.push_back({lhs, uint32_t(relation), rhs, 0, reason});
  }

  /// Points into this builder, which must outlive the model.
  llmopt_model_desc build() {
    llmopt_model_desc d = {};
    d.struct_size = sizeof(d);
    d.abi_version = LLMOPT_ABI_VERSION;
    d.name = "test";
    d.compiler = "test";
    d.target = "test";
    d.cpu_features = "";
    d.num_symbols = uint32_t(symbols.size());
    d.num_inputs = uint32_t(inputs.size());
    d.num_outputs = uint32_t(outputs.size());
    d.num_buffers = uint32_t(buffers.size());
    d.num_steps = uint32_t(steps.size());
    d.num_weights = uint32_t(weights.size());
    d.num_exprs = uint32_t(exprs.size());
    d.num_expr_code = uint32_t(code.size());
    d.num_step_args = uint32_t(stepArgs.size());
    d.num_step_dims = uint32_t(stepDims.size());
    d.symbols = symbols.data();
    d.inputs = inputs.data();
    d.outputs = outputs.data();
    d.buffers = buffers.data();
    d.steps = steps.data();
    d.weights = weights.data();
    d.exprs = exprs.data();
    d.expr_code = code.data();
    d.step_args = stepArgs.data();
    d.step_dims = stepDims.data();
    d.scratch_bytes = scratch;
    d.weights_size = weightsSize;
    d.num_constraints = uint32_t(constraints.size());
    d.constraints = constraints.data();
    return d;
  }

  std::vector<const char *> symbols;
  std::vector<llmopt_tensor_desc> inputs, outputs;
  std::vector<llmopt_buffer> buffers;
  std::vector<llmopt_step> steps;
  std::vector<llmopt_weight> weights;
  std::vector<llmopt_expr> exprs;
  std::vector<llmopt_expr_insn> code;
  std::vector<uint32_t> stepArgs, stepDims;
  std::vector<llmopt_constraint> constraints;
  uint32_t scratch = LLMOPT_NONE;
  uint64_t weightsSize = 0;

private:
  static llmopt_tensor_desc tensor(const char *name, llmopt_dtype dtype, const std::vector<uint32_t> &dims,
                                   uint32_t buffer) {
    llmopt_tensor_desc t = {};
    t.name = name;
    t.dtype = dtype;
    t.rank = uint32_t(dims.size());
    for (size_t d = 0; d < dims.size(); ++d)
      t.dims[d] = dims[d];
    t.buffer = buffer;
    return t;
  }
};

inline llmopt_tensor_type type(llmopt_dtype dtype, const std::vector<int64_t> &dims) {
  llmopt_tensor_type t = {};
  t.dtype = dtype;
  t.rank = uint32_t(dims.size());
  for (size_t d = 0; d < dims.size(); ++d)
    t.dims[d] = dims[d];
  return t;
}

/// A model and a session of it, destroyed at the end of the scope.
class Running {
public:
  explicit Running(const llmopt_model_desc &desc, uint32_t threads = 1, const llmopt_create_options *options = nullptr,
                   bool profile = false) {
    llmopt_error error;
    if (llmopt_model_create(&desc, options, &model, &error)) {
      ADD_FAILURE() << error.message;
      return;
    }
    llmopt_session_options so = {};
    so.struct_size = sizeof(so);
    so.num_threads = threads;
    so.profile = profile;
    if (llmopt_session_create(model, &so, &session, &error))
      ADD_FAILURE() << error.message;
  }
  Running(const Running &) = delete;
  ~Running() {
    llmopt_session_destroy(session);
    llmopt_model_destroy(model);
  }
  /// "" or the message.
  std::string bind(const std::vector<llmopt_tensor_type> &types) {
    llmopt_error error;
    status = llmopt_session_bind(session, types.data(), types.size(), &error);
    return status ? error.message : "";
  }
  std::string run(const std::vector<llmopt_input> &in, const std::vector<llmopt_output> &out) {
    llmopt_error error;
    status = llmopt_session_run(session, in.data(), in.size(), out.data(), out.size(), &error);
    return status ? error.message : "";
  }
  llmopt_session_info info() {
    llmopt_session_info i = {};
    i.struct_size = sizeof(i);
    EXPECT_EQ(llmopt_session_get_info(session, &i, nullptr), LLMOPT_OK);
    return i;
  }

  llmopt_model *model = nullptr;
  llmopt_session *session = nullptr;
  llmopt_status status = LLMOPT_OK;
};

template <typename T> llmopt_input in(const std::vector<T> &v) { return {v.data(), v.size() * sizeof(T)}; }
template <typename T> llmopt_output out(std::vector<T> &v) { return {v.data(), v.size() * sizeof(T)}; }

} // namespace llmopt::test

#endif
