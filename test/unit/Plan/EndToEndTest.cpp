// Small models through plan, code generation and runtime, against the evaluator.
#include "Model.h"

using namespace llmopt;
using namespace llmopt::test;

namespace {
constexpr int64_t kHidden = 32, kInner = 64, kVocabulary = 50, kPositions = 160;

const char *const kTypes = R"(
!ids = tensor<?x?xi64, #lm.dims<"batch", "sequence">>
!mask = tensor<?x1x1x?xf32, #lm.dims<"batch", 1, 1, "sequence">>
!pos = tensor<1x?xi64, #lm.dims<1, "sequence">>
!pemb = tensor<1x?x32xf32, #lm.dims<1, "sequence", 32>>
!h = tensor<?x?x32xf32, #lm.dims<"batch", "sequence", 32>>
!h3 = tensor<?x?x96xf32, #lm.dims<"batch", "sequence", 96>>
!inner = tensor<?x?x64xf32, #lm.dims<"batch", "sequence", 64>>
)";

std::string vectorOf(std::mt19937 &random, const std::string &name, int64_t n) { return weight(random, name, {n}, 0.5f); }

/// One post-norm encoder layer over %x; its result is %y.
std::string encoderLayer(std::mt19937 &random) {
  std::string text;
  for (const char *name : {"wq", "wk", "wv", "wo"})
    text += weight(random, name, {kHidden, kHidden}, 0.4f);
  for (const char *name : {"bq", "bk", "bv", "bo", "g1", "b1", "g2", "b2", "bout"})
    text += vectorOf(random, name, kHidden);
  text += weight(random, "win", {kHidden, kInner}, 0.3f) + vectorOf(random, "bin", kInner);
  text += weight(random, "wout", {kHidden, kInner}, 0.3f); // stored [N, K]
  text += R"(
  %wqkv = lm.concat %wq, %wk, %wv {axis = 1 : i64} : (tensor<32x32xf32>, tensor<32x32xf32>, tensor<32x32xf32>) -> tensor<32x96xf32>
  %bqkv = lm.concat %bq, %bk, %bv {axis = 0 : i64} : (tensor<32xf32>, tensor<32xf32>, tensor<32xf32>) -> tensor<96xf32>
  %qkv = lm.linear %x, %wqkv bias %bqkv : (!h, tensor<32x96xf32>, tensor<96xf32>) -> !h3
  %q = lm.slice %qkv {starts = #lm.sym<0, 0, 0> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h3) -> !h
  %k = lm.slice %qkv {starts = #lm.sym<0, 0, 32> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h3) -> !h
  %v = lm.slice %qkv {starts = #lm.sym<0, 0, 64> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h3) -> !h
  %context = lm.attention %q, %k, %v mask %mask {num_heads = 4 : i64, kv_num_heads = 4 : i64, scale = 0.35355339059327373 : f64,
      mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>} : (!h, !h, !h, !mask) -> !h
  %attended = lm.linear %context, %wo bias %bo : (!h, tensor<32x32xf32>, tensor<32xf32>) -> !h
  %r1 = lm.add %attended, %x : (!h, !h) -> !h
  %n1 = lm.norm #lm.norm_kind<layer> %r1 scale %g1 bias %b1 {epsilon = 1.0e-12 : f64} : (!h, tensor<32xf32>, tensor<32xf32>) -> !h
  %i0 = lm.linear %n1, %win bias %bin : (!h, tensor<32x64xf32>, tensor<64xf32>) -> !inner
  %i1 = lm.gelu #lm.gelu_kind<erf> %i0 : (!inner) -> !inner
  %o = lm.linear %i1, %wout bias %bout {transpose_weight = true} : (!inner, tensor<32x64xf32>, tensor<32xf32>) -> !h
  %r2 = lm.add %n1, %o : (!h, !h) -> !h
  %y = lm.norm #lm.norm_kind<layer> %r2 scale %g2 bias %b2 {epsilon = 1.0e-12 : f64} : (!h, tensor<32xf32>, tensor<32xf32>) -> !h
)";
  return text;
}

std::string encoder(std::mt19937 &random) {
  std::string text = kTypes;
  text += "func.func @main(%ids: !ids {lm.name = \"input_ids\"}, %types: !ids {lm.name = \"token_type_ids\"}, "
          "%mask: !mask {lm.name = \"mask\"}) -> (!h {lm.name = \"last_hidden_state\"}) "
          "attributes {lm.constraints = [\"sequence <= 160\"]} {\n";
  text += weight(random, "word", {kVocabulary, kHidden}, 1.f) + weight(random, "position", {kPositions, kHidden}, 1.f) +
          weight(random, "type", {2, kHidden}, 1.f) + vectorOf(random, "g0", kHidden) + vectorOf(random, "b0", kHidden);
  std::string positions;
  for (int64_t i = 0; i < kPositions; ++i)
    positions += (i ? ", " : "") + std::to_string(i);
  text += "%all = lm.constant dense<[[" + positions + "]]> : tensor<1x160xi64>\n";
  text += R"(
  %pos = lm.slice %all {starts = #lm.sym<0, 0> : tensor<2xi64>, steps = array<i64: 1, 1>} : (tensor<1x160xi64>) -> !pos
  %e0 = lm.embedding %word, %ids : (tensor<50x32xf32>, !ids) -> !h
  %e1 = lm.embedding %type, %types : (tensor<2x32xf32>, !ids) -> !h
  %e2 = lm.embedding %position, %pos : (tensor<160x32xf32>, !pos) -> !pemb
  %e3 = lm.add %e0, %e1 : (!h, !h) -> !h
  %e4 = lm.add %e3, %e2 : (!h, !pemb) -> !h
  %x = lm.norm #lm.norm_kind<layer> %e4 scale %g0 bias %b0 {epsilon = 1.0e-12 : f64} : (!h, tensor<32xf32>, tensor<32xf32>) -> !h
)";
  return text + encoderLayer(random) + "return %y : !h\n}\n";
}

/// Additive masks of random row lengths 1 .. S.
lm::Tensor raggedMask(mlir::MLIRContext &context, std::mt19937 &random, int64_t batch, int64_t sequence) {
  std::vector<double> values;
  for (int64_t b = 0; b < batch; ++b) {
    int64_t length = std::uniform_int_distribution<int64_t>(1, sequence)(random);
    for (int64_t s = 0; s < sequence; ++s)
      values.push_back(s < length ? 0 : -10000);
  }
  return floats(context, {batch, 1, 1, sequence}, values);
}
} // namespace

TEST(EndToEnd, EncoderLayer) {
  std::mt19937 random(7);
  Model model(encoder(random));
  ASSERT_TRUE(model.compile()) << model.errors;
  // embed+norm, qkv, attention, projection, norm, two of the feed-forward, norm
  EXPECT_EQ(model.result.model.tables.steps.size(), 8u);
  for (int64_t batch : {1, 4, 7})
    for (int64_t sequence : {1, 5, 128})
      for (uint32_t threads : {1u, 2u}) {
        SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(sequence));
        auto &context = model.getContext();
        model.expectEqual({randomInts(context, random, {batch, sequence}, kVocabulary),
                           randomInts(context, random, {batch, sequence}, 2),
                           raggedMask(context, random, batch, sequence)},
                          5e-6, threads);
      }
}

TEST(EndToEnd, ConstraintIsChecked) {
  std::mt19937 random(7);
  Model model(encoder(random));
  ASSERT_TRUE(model.compile()) << model.errors;
  auto &context = model.getContext();
  EXPECT_TRUE(model.run({randomInts(context, random, {1, 161}, 50), randomInts(context, random, {1, 161}, 2),
                         raggedMask(context, random, 1, 161)})
                  .empty());
  EXPECT_NE(model.errors.find("sequence <= 160"), std::string::npos) << model.errors;
}

TEST(EndToEnd, SameInputSameBytes) {
  std::mt19937 random(7);
  std::string text = encoder(random);
  auto read = [](const std::string &path) {
    std::string bytes;
    if (FILE *file = fopen(path.c_str(), "rb")) {
      char piece[4096];
      for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        bytes.append(piece, n);
      fclose(file);
    }
    return bytes;
  };
  Model a(text), b(text);
  ASSERT_TRUE(a.compile() && b.compile()) << a.errors << b.errors;
  EXPECT_FALSE(read(a.path()).empty());
  EXPECT_TRUE(read(a.path()) == read(b.path()));
  EXPECT_TRUE(read(a.directory.path + "/model.weights") == read(b.directory.path + "/model.weights"));
}

TEST(EndToEnd, EmbeddedWeights) {
  std::mt19937 random(7);
  Model model(encoder(random));
  cpu::EmitModelOptions options;
  options.embedWeights = true;
  ASSERT_TRUE(model.compile(options)) << model.errors;
  EXPECT_EQ(model.result.weightsPath, "");
  auto &context = model.getContext();
  model.expectEqual({randomInts(context, random, {2, 9}, kVocabulary), randomInts(context, random, {2, 9}, 2),
                     raggedMask(context, random, 2, 9)},
                    5e-6);
}

namespace {
/// Compiles the function and compares it with the evaluator for batches and
/// lengths; inputs by the letters of `inputs`: f32 or i64 below 5 of [batch, sequence].
void expectModel(const std::string &text, const std::string &inputs, double tolerance = 5e-6,
                 const std::vector<int64_t> &inner = {}) {
  std::mt19937 random(23);
  Model model(text);
  ASSERT_TRUE(model.compile()) << model.errors;
  for (int64_t batch : {1, 3})
    for (int64_t sequence : {1, 4, 33}) {
      SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(sequence));
      std::vector<int64_t> dims{batch, sequence};
      dims.insert(dims.end(), inner.begin(), inner.end());
      std::vector<lm::Tensor> values;
      for (char kind : inputs)
        values.push_back(kind == 'f' ? randomFloats(model.getContext(), random, dims)
                                     : randomInts(model.getContext(), random, {batch, sequence}, 5));
      model.expectEqual(values, tolerance, 2);
    }
}
const std::string kBS = "tensor<?x?xi64, #lm.dims<\"batch\", \"sequence\">>";
const std::string kH = "tensor<?x?x32xf32, #lm.dims<\"batch\", \"sequence\", 32>>";
} // namespace

TEST(EndToEnd, MaskFromIntegers) {
  // (1 - mask) * -10000, as exporters write it, added to scores.
  std::string f4 = "tensor<?x1x1x?xf32, #lm.dims<\"batch\", 1, 1, \"sequence\">>";
  std::string i4 = "tensor<?x1x1x?xi64, #lm.dims<\"batch\", 1, 1, \"sequence\">>";
  expectModel("func.func @main(%m: " + kBS + ", %x: " + kH + ") -> " + kH + " {\n" + "%r = lm.reshape %m : (" + kBS +
                  ") -> " + i4 + "\n%zero = lm.constant dense<0> : tensor<i64>\n%b = lm.compare #lm.predicate<gt> %r, "
                  "%zero : (" + i4 + ", tensor<i64>) -> tensor<?x1x1x?xi1, #lm.dims<\"batch\", 1, 1, \"sequence\">>\n"
                  "%c = lm.cast %b : (tensor<?x1x1x?xi1, #lm.dims<\"batch\", 1, 1, \"sequence\">>) -> " + f4 +
                  "\n%one = lm.constant dense<1.0> : tensor<f32>\n%big = lm.constant dense<-1.0e4> : tensor<f32>\n"
                  "%d = lm.sub %one, %c : (tensor<f32>, " + f4 + ") -> " + f4 + "\n%mask = lm.mul %d, %big : (" + f4 +
                  ", tensor<f32>) -> " + f4 + "\n%y = lm.attention %x, %x, %x mask %mask {num_heads = 4 : i64, "
                  "kv_num_heads = 4 : i64, scale = 0.35 : f64, mask_kind = #lm.mask_kind<additive>, fully_masked = "
                  "#lm.fully_masked<source>} : (" + kH + ", " + kH + ", " + kH + ", " + f4 + ") -> " + kH +
                  "\nreturn %y : " + kH + "\n}\n",
              "if", 5e-6, {32});
}

TEST(EndToEnd, PoolerAndMeanPooling) {
  std::mt19937 random(2);
  std::string row = "tensor<?x1x32xf32, #lm.dims<\"batch\", 1, 32>>", flat = "tensor<?x32xf32, #lm.dims<\"batch\", 32>>";
  expectModel("func.func @main(%x: " + kH + ") -> (" + flat + ", " + flat + ", " + flat + ") {\n" +
                  weight(random, "w", {32, 32}, 0.3f) + weight(random, "b", {32}, 0.3f) +
                  "%s = lm.slice %x {starts = #lm.sym<0, 0, 0> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (" + kH +
                  ") -> " + row + "\n%f = lm.reshape %s : (" + row + ") -> " + flat + "\n%p = lm.linear %f, %w bias %b : (" +
                  flat + ", tensor<32x32xf32>, tensor<32xf32>) -> " + flat + "\n%t = lm.tanh %p : (" + flat + ") -> " +
                  flat + "\n%e = lm.exp %x : (" + kH + ") -> " + kH +
                  "\n%m = lm.reduce #lm.reduce_kind<mean> %e {axes = array<i64: 1>, keepdims = false} : (" + kH + ") -> " +
                  flat + "\n%n = lm.tanh %m : (" + flat + ") -> " + flat + "\nreturn %t, %n, %n : " + flat + ", " + flat +
                  ", " + flat + "\n}\n",
              "f", 5e-6, {32});
}

TEST(EndToEnd, OutputsThatAreNoResults) {
  // An input, a view of one, a weight and a value that other kernels read.
  std::mt19937 random(2);
  std::string flat = "tensor<?xf32, #lm.dims<\"32*batch*sequence\">>";
  expectModel("func.func @main(%x: " + kH + ") -> (" + kH + ", " + flat + ", tensor<4xf32>, " + kH + ", " + kH + ") {\n" +
                  weight(random, "w", {4}, 1) + "%v = lm.reshape %x : (" + kH + ") -> " + flat + "\n%a = lm.exp %x : (" +
                  kH + ") -> " + kH + "\n%b = lm.softmax %a {axis = 2 : i64} : (" + kH + ") -> " + kH +
                  "\nreturn %x, %v, %w, %a, %b : " + kH + ", " + flat + ", tensor<4xf32>, " + kH + ", " + kH + "\n}\n",
              "f", 5e-6, {32});
}

TEST(EndToEnd, ProductsOfActivations) {
  // Decomposed attention: permuted heads, products of activations, softmax.
  std::string split = "tensor<?x?x4x8xf32, #lm.dims<\"batch\", \"sequence\", 4, 8>>";
  std::string heads = "tensor<?x4x?x8xf32, #lm.dims<\"batch\", 4, \"sequence\", 8>>";
  std::string keys = "tensor<?x4x8x?xf32, #lm.dims<\"batch\", 4, 8, \"sequence\">>";
  std::string scores = "tensor<?x4x?x?xf32, #lm.dims<\"batch\", 4, \"sequence\", \"sequence\">>";
  expectModel("func.func @main(%x: " + kH + ") -> " + kH + " {\n%s = lm.reshape %x : (" + kH + ") -> " + split +
                  "\n%q = lm.transpose %s {perm = array<i64: 0, 2, 1, 3>} : (" + split + ") -> " + heads +
                  "\n%k = lm.transpose %s {perm = array<i64: 0, 2, 3, 1>} : (" + split + ") -> " + keys +
                  "\n%a = lm.matmul %q, %k : (" + heads + ", " + keys + ") -> " + scores + "\n%p = lm.softmax %a {axis = 3 : i64} : (" +
                  scores + ") -> " + scores + "\n%c = lm.matmul %p, %q : (" + scores + ", " + heads + ") -> " + heads +
                  "\n%t = lm.transpose %c {perm = array<i64: 0, 2, 1, 3>} : (" + heads + ") -> " + split +
                  "\n%y = lm.reshape %t : (" + split + ") -> " + kH + "\nreturn %y : " + kH + "\n}\n",
              "f", 5e-6, {32});
}

TEST(EndToEnd, LongReductionOverItsResidual) {
  // The residual is dead behind the product, which therefore writes over it,
  // and K is longer than a block of the reduction.
  std::mt19937 random(2);
  std::string wide = "tensor<?x?x600xf32, #lm.dims<\"batch\", \"sequence\", 600>>";
  expectModel("func.func @main(%x: " + kH + ") -> (" + kH + ") {\n" + weight(random, "a", {32, 600}, 0.2f) +
                  weight(random, "b", {600, 32}, 0.05f) + "%r = lm.exp %x : (" + kH + ") -> " + kH +
                  "\n%h = lm.linear %x, %a : (" + kH + ", tensor<32x600xf32>) -> " + wide +
                  "\n%p = lm.linear %h, %b : (" + wide + ", tensor<600x32xf32>) -> " + kH + "\n%s = lm.add %r, %p : (" +
                  kH + ", " + kH + ") -> " + kH + "\n%y = lm.softmax %s {axis = 2 : i64} : (" + kH + ") -> " + kH +
                  "\nreturn %y : " + kH + "\n}\n",
              "f", 5e-6, {32});
}
