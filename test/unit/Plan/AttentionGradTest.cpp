// Gradients of attention as the plan computes them, against the evaluator: all forms of
// masks, shared key heads, sequences of different lengths, rows that see nothing.
#include "Model.h"

using namespace llmopt;
using namespace llmopt::test;

namespace {

struct Form {
  const char *kind, *fullyMasked;
  bool causal;
  int64_t kvHeads;
};

std::string maskType(const std::string &kind) {
  return kind == "additive"  ? "tensor<?x1x1x?xf32, #lm.dims<\"b\", 1, 1, \"k\">>"
         : kind == "boolean" ? "tensor<?x1x?x?xi1, #lm.dims<\"b\", 1, \"q\", \"k\">>"
                             : "tensor<?xi64, #lm.dims<\"b\">>";
}

/// All gradients, of four heads of 4 and values of 6.
std::string program(const Form &form) {
  std::string kind = form.kind, n = std::to_string(form.kvHeads), k = std::to_string(4 * form.kvHeads),
              v = std::to_string(6 * form.kvHeads);
  auto rows = [](const std::string &s, const std::string &w) {
    return "tensor<?x?x" + w + "xf32, #lm.dims<\"b\", \"" + s + "\", " + w + ">>";
  };
  std::string q = rows("q", "16"), g = rows("q", "24"), key = rows("k", k), value = rows("k", v);
  std::string scores = "tensor<?x4x?x?xf32, #lm.dims<\"b\", 4, \"q\", \"k\">>";
  bool hasMask = kind != "none";
  std::string text = "func.func @main(%q: " + q + " {lm.name = \"q\"}, %k: " + key +
                     " {lm.name = \"k\"}, %v: " + value + " {lm.name = \"v\"}, %g: " + g + " {lm.name = \"g\"}" +
                     (hasMask ? ", %m: " + maskType(kind) + " {lm.name = \"m\"}" : "") + ") -> (";
  std::vector<std::pair<std::string, std::string>> wanted{{"query", q}, {"key", key}, {"value", value}};
  if (kind == "additive")
    wanted.push_back({"mask", scores});
  std::string body, names, types;
  for (auto &[name, type] : wanted) {
    text += (names.empty() ? "" : ", ") + type + " {lm.name = \"" + name + "\"}";
    body += "%" + name + " = lm.attention_grad <" + name + "> of %q, %k, %v" + (hasMask ? " mask %m" : "") +
            " gradient %g {num_heads = 4 : i64, kv_num_heads = " + n + " : i64, scale = 0.5 : f64, " +
            "mask_kind = #lm.mask_kind<" + kind + ">, causal = " + (form.causal ? "true" : "false") +
            ", fully_masked = #lm.fully_masked<" + form.fullyMasked + ">} : (" + q + ", " + key + ", " + value +
            (hasMask ? ", " + maskType(kind) : "") + ", " + g + ") -> " + type + "\n";
    names += (names.empty() ? "%" : ", %") + name;
    types += (types.empty() ? "" : ", ") + type;
  }
  return text + ") {\n" + body + "return " + names + " : " + types + "\n}\n";
}

lm::Tensor makeMask(mlir::MLIRContext &context, std::mt19937 &random, const std::string &kind, int64_t b, int64_t q,
                    int64_t k, bool hides) {
  if (kind == "additive") {
    std::vector<double> values;
    for (int64_t i = 0; i < b * k; ++i)
      values.push_back(hides && i / k == 0 ? -INFINITY : i % 3 == 2 ? -10000 : 0.1 * (i % 5));
    return floats(context, {b, 1, 1, k}, values);
  }
  if (kind == "boolean") {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < b * q * k; ++i)
      values.push_back(hides && i / k == 0 ? 0 : i % k == 0 || random() % 2);
    return llvm::cantFail(lm::Tensor::fromInts(mlir::IntegerType::get(&context, 1), {b, 1, q, k}, values));
  }
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < b; ++i)
    lengths.push_back(hides && i == 0 ? 0 : 1 + static_cast<int64_t>(random() % k));
  return llvm::cantFail(lm::Tensor::fromInts(mlir::IntegerType::get(&context, 64), {b}, lengths));
}

TEST(AttentionGrad, AsTheEvaluator) {
  for (const Form &form :
       {Form{"none", "zero", false, 4}, Form{"none", "zero", true, 4}, Form{"none", "source", true, 2},
        Form{"none", "zero", false, 1}, Form{"additive", "zero", false, 4}, Form{"additive", "source", false, 2},
        Form{"additive", "source", true, 4}, Form{"boolean", "zero", false, 4}, Form{"boolean", "source", false, 1},
        Form{"boolean", "source", true, 2}, Form{"key_lengths", "zero", false, 4},
        Form{"key_lengths", "source", true, 2}, Form{"boolean", "nan", false, 4}}) {
    SCOPED_TRACE(std::string(form.kind) + " " + form.fullyMasked + " causal " + std::to_string(form.causal) +
                 " key heads " + std::to_string(form.kvHeads));
    Model model(program(form));
    ASSERT_TRUE(model.compile()) << model.errors;
    auto &context = model.getContext();
    std::mt19937 random(3);
    for (auto [b, q, k] : {std::tuple{2, 5, 5}, std::tuple{1, 1, 7}, std::tuple{3, 4, 9}, std::tuple{2, 6, 3}})
      for (bool hides : {false, true}) {
        // -inf for all keys is NaN in the source; what a NaN spreads to is no use to compare.
        std::string kind = form.kind, fully = form.fullyMasked;
        if (hides && (kind == "none" || fully == "nan" || (kind == "additive" && fully == "source")))
          continue;
        if (q > k && form.causal && fully == "nan")
          continue;
        std::vector<lm::Tensor> inputs{
            randomFloats(context, random, {b, q, 16}), randomFloats(context, random, {b, k, 4 * form.kvHeads}),
            randomFloats(context, random, {b, k, 6 * form.kvHeads}), randomFloats(context, random, {b, q, 24})};
        if (kind != "none")
          inputs.push_back(makeMask(context, random, kind, b, q, k, hides));
        SCOPED_TRACE(std::to_string(b) + "x" + std::to_string(q) + "x" + std::to_string(k) + (hides ? " hides" : ""));
        model.expectEqual(inputs, 5e-6, 2);
      }
  }
}

} // namespace
