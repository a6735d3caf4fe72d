// Decoding with keys and values in int8: a session that is given its tokens in pieces,
// against the evaluator on all tokens so far, rounded by lm.fake_quantize.
#include "Model.h"

#include "llmopt/Transforms/Cache/Passes.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

using namespace llmopt;
using namespace llmopt::test;

namespace {

constexpr int64_t kHeads = 4, kKVHeads = 2, kDim = 12, kValueDim = 8;
const std::string kAttention =
    "{num_heads = 4 : i64, kv_num_heads = 2 : i64, scale = 0.3 : f64, causal = true, mask_kind = #lm.mask_kind<none>, "
    "fully_masked = #lm.fully_masked<source>}";

std::string rows(const std::string &tokens, int64_t width) {
  return "tensor<?x?x" + std::to_string(width) + "xf32, #lm.dims<\"b\", \"" + tokens + "\", " + std::to_string(width) +
         ">>";
}

/// A layer of a decoder with past, as files have it.
std::string makeDecoder() {
  std::string q = rows("s", kHeads * kDim), k = rows("s", kKVHeads * kDim), v = rows("s", kKVHeads * kValueDim),
              pk = rows("p", kKVHeads * kDim), pv = rows("p", kKVHeads * kValueDim),
              ak = rows("p + s", kKVHeads * kDim), av = rows("p + s", kKVHeads * kValueDim),
              y = rows("s", kHeads * kValueDim);
  return "func.func @main(%q: " + q + " {lm.name = \"q\"}, %k: " + k + " {lm.name = \"k\"}, %v: " + v +
         " {lm.name = \"v\"}, %pk: " + pk + " {lm.name = \"past.k\"}, %pv: " + pv + " {lm.name = \"past.v\"}) -> (" +
         y + " {lm.name = \"y\"}, " + ak + " {lm.name = \"present.k\"}, " + av + " {lm.name = \"present.v\"}) {\n" +
         "%0 = lm.concat %pk, %k {axis = 1 : i64} : (" + pk + ", " + k + ") -> " + ak + "\n" +
         "%1 = lm.concat %pv, %v {axis = 1 : i64} : (" + pv + ", " + v + ") -> " + av + "\n" +
         "%2 = lm.attention %q, %0, %1 " + kAttention + " : (" + q + ", " + ak + ", " + av + ") -> " + y + "\n" +
         "return %2, %0, %1 : " + y + ", " + ak + ", " + av + "\n}\n";
}

/// `name` rounded to int8 per token and head, as statements that define it anew.
std::string roundHeads(const std::string &name, int64_t dim) {
  std::string whole = rows("t", kKVHeads * dim), d = std::to_string(dim),
              split = "tensor<?x?x2x" + d + "xf32, #lm.dims<\"b\", \"t\", 2, " + d + ">>",
              scale = "tensor<?x?x2x1xf32, #lm.dims<\"b\", \"t\", 2, 1>>";
  return name + "4 = lm.reshape " + name + " : (" + whole + ") -> " + split + "\n" + name + "s = lm.absmax_scale " +
         name + "4 {axes = array<i64: 3>, qmax = 127.0 : f64} : (" + split + ") -> " + scale + "\n" + name +
         "f = lm.fake_quantize " + name + "4 scale " + name + "s as i8 {narrow_range = true} : (" + split + ", " +
         scale + ") -> " + split + "\n" + name + "r = lm.reshape " + name + "f : (" + split + ") -> " + whole + "\n";
}

/// Attention of the last tokens to all of them.
std::string makeReference() {
  std::string q = rows("s", kHeads * kDim), k = rows("t", kKVHeads * kDim), v = rows("t", kKVHeads * kValueDim),
              y = rows("s", kHeads * kValueDim);
  return "func.func @main(%q: " + q + ", %k: " + k + ", %v: " + v + ") -> " + y + " {\n" + roundHeads("%k", kDim) +
         roundHeads("%v", kValueDim) + "%y = lm.attention %q, %kr, %vr " + kAttention + " : (" + q + ", " + k + ", " +
         v + ") -> " + y + "\nreturn %y : " + y + "\n}\n";
}

mlir::OwningOpRef<mlir::ModuleOp> keepInInt8(mlir::MLIRContext &context) {
  auto module = mlir::parseSourceString<mlir::ModuleOp>(makeDecoder(), &context);
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  KVCachePassOptions options;
  options.int8 = true;
  manager.addNestedPass<mlir::func::FuncOp>(createKVCachePass(options));
  manager.addPass(createCleanupPass());
  if (!module || failed(manager.run(*module)))
    return {};
  return module;
}

struct Session {
  llmopt_model *model = nullptr;
  llmopt_session *session = nullptr;
  ~Session() {
    llmopt_session_destroy(session);
    llmopt_model_destroy(model);
  }
};

lm::Tensor toTensor(mlir::MLIRContext &context, std::vector<int64_t> dims, const std::vector<float> &values) {
  return floats(context, dims, std::vector<double>(values.begin(), values.end()));
}

/// Tokens [first, last) of every sequence.
std::vector<float> cut(const std::vector<float> &all, int64_t batch, int64_t tokens, int64_t first, int64_t last) {
  int64_t width = static_cast<int64_t>(all.size()) / batch / tokens;
  std::vector<float> part;
  for (int64_t b = 0; b < batch; ++b)
    part.insert(part.end(), all.begin() + (b * tokens + first) * width, all.begin() + (b * tokens + last) * width);
  return part;
}

TEST(KVCacheInt8, PiecesEqualTheWhole) {
  Model model(keepInInt8), reference(makeReference());
  ASSERT_TRUE(model.compile()) << model.errors;
  unsigned attention = 0, quantized = 0, loops = 0;
  model.getPlan().walk([&](kernel::AttentionOp op) { attention += bool(op.getKeyScale()); });
  model.getPlan().walk([&](kernel::QuantizeRowsOp) { ++quantized; });
  model.getPlan().walk([&](kernel::LoopsOp) { ++loops; });
  EXPECT_EQ(attention, 1u);
  EXPECT_EQ(quantized, 2u);
  EXPECT_EQ(loops, 0u);

  constexpr int64_t kBatch = 2, kTokens = 23;
  std::mt19937 random(9);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> q(kBatch * kTokens * kHeads * kDim), k(kBatch * kTokens * kKVHeads * kDim),
      v(kBatch * kTokens * kKVHeads * kValueDim);
  for (std::vector<float> *values : {&q, &k, &v})
    for (float &value : *values)
      value = normal(random);
  std::fill_n(k.begin(), kDim, 0.0f); // a scale of its own

  Session s;
  llmopt_error error;
  ASSERT_EQ(llmopt_model_load(model.path().c_str(), nullptr, &s.model, &error), LLMOPT_OK) << error.message;
  llmopt_session_options options = {};
  options.struct_size = sizeof options;
  options.num_threads = 2;
  options.cache_capacity = 64;
  ASSERT_EQ(llmopt_session_create(s.model, &options, &s.session, &error), LLMOPT_OK) << error.message;
  for (auto [first, last] : {std::pair<int64_t, int64_t>{0, 1}, {1, 9}, {9, 10}, {10, kTokens}}) {
    int64_t now = last - first;
    std::vector<float> parts[3] = {cut(q, kBatch, kTokens, first, last), cut(k, kBatch, kTokens, first, last),
                                   cut(v, kBatch, kTokens, first, last)};
    llmopt_tensor_type types[3] = {};
    llmopt_input in[3];
    for (int i = 0; i < 3; ++i) {
      types[i].dtype = LLMOPT_F32;
      types[i].rank = 3;
      types[i].dims[0] = kBatch;
      types[i].dims[1] = now;
      types[i].dims[2] = static_cast<int64_t>(parts[i].size()) / kBatch / now;
      in[i] = {parts[i].data(), parts[i].size() * 4};
    }
    std::vector<float> got(kBatch * now * kHeads * kValueDim);
    llmopt_output out = {got.data(), got.size() * 4};
    ASSERT_EQ(llmopt_session_bind(s.session, types, 3, &error), LLMOPT_OK) << error.message;
    ASSERT_EQ(llmopt_session_run(s.session, in, 3, &out, 1, &error), LLMOPT_OK) << error.message;

    auto &context = reference.getContext();
    std::vector<lm::Tensor> expected =
        reference.evaluate({toTensor(context, {kBatch, now, kHeads * kDim}, parts[0]),
                            toTensor(context, {kBatch, last, kKVHeads * kDim}, cut(k, kBatch, kTokens, 0, last)),
                            toTensor(context, {kBatch, last, kKVHeads * kValueDim}, cut(v, kBatch, kTokens, 0, last))});
    ASSERT_EQ(expected.size(), 1u);
    double largest = 0, difference = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      largest = std::max(largest, std::abs(expected[0].floats()[i]));
      difference = std::max(difference, std::abs(got[i] - expected[0].floats()[i]));
    }
    EXPECT_LT(difference, 1e-5 * largest) << "tokens " << first << " to " << last;
  }
  llmopt_session_info info = {};
  info.struct_size = sizeof info;
  ASSERT_EQ(llmopt_session_get_info(s.session, &info, &error), LLMOPT_OK);
  EXPECT_EQ(info.cache_tokens, uint64_t(kTokens));
  // Bytes, and four for the scale of each head, for keys and for values; 256 is alignment.
  uint64_t perToken = kKVHeads * (kDim + kValueDim) + 2 * 4 * kKVHeads;
  EXPECT_LE(info.cache_size, kBatch * 64 * perToken + 4 * 256);
}

} // namespace
