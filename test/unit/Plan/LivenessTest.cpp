// Properties that the buffers of every plan must have.
#include "Model.h"

#include <set>

using namespace llmopt;
using namespace llmopt::test;

namespace {

int64_t evaluate(const ModelTables &t, uint32_t expr, const std::vector<int64_t> &symbols) {
  std::vector<int64_t> stack;
  for (uint32_t i = 0; i < t.exprs[expr].count; ++i) {
    llmopt_expr_insn insn = t.exprCode[t.exprs[expr].first + i];
    if (insn.op == LLMOPT_EXPR_CONST || insn.op == LLMOPT_EXPR_SYMBOL) {
      stack.push_back(insn.op == LLMOPT_EXPR_CONST ? insn.value : symbols[insn.value]);
      continue;
    }
    int64_t b = stack.back();
    stack.pop_back();
    int64_t &a = stack.back();
    switch (insn.op) {
    case LLMOPT_EXPR_ADD: a += b; break;
    case LLMOPT_EXPR_MUL: a *= b; break;
    case LLMOPT_EXPR_FLOORDIV: a /= b; break;
    case LLMOPT_EXPR_CEILDIV: a = (a + b - 1) / b; break;
    case LLMOPT_EXPR_MOD: a %= b; break;
    case LLMOPT_EXPR_MIN: a = std::min(a, b); break;
    case LLMOPT_EXPR_MAX: a = std::max(a, b); break;
    }
  }
  return stack.back();
}

uint32_t getBase(const ModelTables &t, uint32_t buffer) {
  while (t.buffers[buffer].kind == LLMOPT_BUFFER_VIEW)
    buffer = t.buffers[buffer].index;
  return buffer;
}

/// Every argument is alive at its step, arena memory is written before it is
/// read, and no buffer is kept longer than it is used.
void checkBuffers(const ModelTables &t) {
  std::vector<uint32_t> firstUse(t.buffers.size(), LLMOPT_NONE), lastUse(t.buffers.size(), 0);
  auto use = [&](uint32_t buffer, uint32_t step) {
    uint32_t base = getBase(t, buffer);
    firstUse[base] = std::min(firstUse[base], step);
    lastUse[base] = std::max(lastUse[base], step);
  };
  for (uint32_t s = 0; s < t.steps.size(); ++s)
    for (uint32_t arg : t.steps[s].args)
      if (arg != LLMOPT_NONE)
        use(arg, s);
  for (const ModelTables::Tensor &output : t.outputs)
    if (t.buffers[getBase(t, output.buffer)].kind == LLMOPT_BUFFER_ARENA)
      use(output.buffer, t.steps.size() - 1);
  for (uint32_t b = 0; b < t.buffers.size(); ++b) {
    const ModelTables::Buffer &buffer = t.buffers[b];
    if (buffer.kind != LLMOPT_BUFFER_ARENA)
      continue;
    EXPECT_EQ(buffer.firstStep, firstUse[b]) << "buffer " << b;
    EXPECT_EQ(buffer.lastStep, lastUse[b]) << "buffer " << b;
    EXPECT_LT(buffer.lastStep, t.steps.size());
    for (int64_t n : {1, 3, 64})
      EXPECT_GE(evaluate(t, buffer.size, std::vector<int64_t>(t.symbols.size(), n)), 0);
  }
}

const char *const kType = "tensor<?x16xf32, #lm.dims<\"n\", 16>>";

/// A random graph of products, norms, softmaxes, additions and reshapes over [n, 16].
std::string randomGraph(std::mt19937 &random, int numOps) {
  auto pick = [&](int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(random); };
  std::string type = kType, text = "func.func @main(%v0: " + type + ") -> (" + type + ", " + type + ") {\n";
  text += weight(random, "w", {16, 16}, 0.3f) + weight(random, "b", {16}, 0.3f);
  for (int i = 1; i <= numOps; ++i) {
    auto value = [&] { return "%v" + std::to_string(std::max(0, i - 1 - pick(4))); };
    std::string result = "%v" + std::to_string(i) + " = ";
    switch (pick(6)) {
    case 0:
      text += result + "lm.linear " + value() + ", %w bias %b : (" + type + ", tensor<16x16xf32>, tensor<16xf32>) -> " +
              type + "\n";
      break;
    case 1:
      text += result + "lm.norm #lm.norm_kind<layer> " + value() + " scale %b bias %b {epsilon = 1.0e-5 : f64} : (" +
              type + ", tensor<16xf32>, tensor<16xf32>) -> " + type + "\n";
      break;
    case 2:
      text += result + "lm.softmax " + value() + " {axis = 1 : i64} : (" + type + ") -> " + type + "\n";
      break;
    case 3:
      text += result + "lm.tanh " + value() + " : (" + type + ") -> " + type + "\n";
      break;
    case 4: {
      std::string n = std::to_string(i), wide = "tensor<?x8xf32, #lm.dims<\"2*n\", 8>>";
      text += "%t" + n + " = lm.reshape " + value() + " : (" + type + ") -> " + wide + "\n";
      text += "%u" + n + " = lm.softmax %t" + n + " {axis = 1 : i64} : (" + wide + ") -> " + wide + "\n";
      text += result + "lm.reshape %u" + n + " : (" + wide + ") -> " + type + "\n";
      break;
    }
    default: {
      text += result + "lm.add " + value() + ", " + value() + " : (" + type + ", " + type + ") -> " + type + "\n";
    }
    }
  }
  return text + "return %v" + std::to_string(numOps) + ", %v" + std::to_string(numOps / 2) + " : " + type + ", " +
         type + "\n}\n";
}

} // namespace

TEST(Liveness, RandomGraphs) {
  // Memory that is shared wrongly shows as wrong numbers: chains of operations
  // that each depend on everything before.
  std::mt19937 random(5);
  size_t shared = 0;
  for (int graph = 0; graph < 12; ++graph) {
    SCOPED_TRACE(graph);
    Model model(randomGraph(random, 24));
    ASSERT_TRUE(model.compile()) << model.errors;
    checkBuffers(model.result.model.tables);
    for (const ModelTables::Step &step : model.result.model.tables.steps) {
      std::set<uint32_t> distinct(step.args.begin(), step.args.end() - 1);
      shared += distinct.count(step.args.back());
    }
    for (int64_t n : {1, 13})
      model.expectEqual({randomFloats(model.getContext(), random, {n, 16})}, 1e-4, n == 1 ? 1 : 2);
  }
  EXPECT_GT(shared, 10u) << "steps that write in place";
}
