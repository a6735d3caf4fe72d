// Recipes against the evaluator, and their memory and failures.
#include "Model.h"

#include "llmopt/CodeGen/Plan/BuildPlan.h"
#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <csignal>
#include <cstring>
#include <filesystem>
#include <sys/resource.h>

using namespace llmopt;
using namespace llmopt::test;

namespace {

/// Carries out the recipe of what @main returns, in pieces as they come.
std::string execute(mlir::func::FuncOp function, std::vector<char> &bytes, size_t stopAfter = SIZE_MAX) {
  mlir::Value value = function.getBody().front().getTerminator()->getOperand(0);
  EXPECT_TRUE(isRecipe(value));
  auto recipe = buildRecipe(value);
  if (failed(recipe))
    return "no recipe";
  // Through its text, which gives the same types to all nodes.
  Recipe parsed;
  EXPECT_EQ(Recipe::parse(recipe->toJSON(), parsed), "") << recipe->toJSON();
  EXPECT_EQ(parsed.toJSON(), recipe->toJSON());
  std::map<const char *, size_t> differences;
  for (size_t i = 0; i < parsed.nodes.size() && parsed.nodes.size() == recipe->nodes.size(); ++i) {
    bool packed = i + 1 == parsed.nodes.size() &&
                  (parsed.nodes[i].op == Recipe::Op::Panels || parsed.nodes[i].op == Recipe::Op::Groups);
    differences["dims"] += !packed && parsed.nodes[i].dims != recipe->nodes[i].dims;
    differences["dtype"] += !packed && parsed.nodes[i].dtype != recipe->nodes[i].dtype;
  }
  EXPECT_EQ(differences["dims"] + differences["dtype"], 0u) << recipe->toJSON();
  std::map<std::string, std::vector<char>> weights;
  for (auto weight : function.getOps<lm::WeightOp>())
    weights[weight.getName().str()] = getBytes(mlir::cast<mlir::DenseElementsAttr>(weight.getSource()));
  RecipeSource source;
  source.get = [&](const std::string &name, std::string &error) -> const char * {
    if (weights.count(name))
      return weights[name].data();
    error = "no weight " + name;
    return nullptr;
  };
  return executeRecipe(parsed, source, [&](const char *data, size_t size) {
    bytes.insert(bytes.end(), data, data + size);
    return bytes.size() < stopAfter;
  });
}

struct Parsed {
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  explicit Parsed(const std::string &text) {
    context.loadDialect<lm::LMDialect, kernel::KernelDialect, mlir::func::FuncDialect>();
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  }
  mlir::func::FuncOp main() { return module->lookupSymbol<mlir::func::FuncOp>("main"); }
};

void expectSame(const std::string &body, const std::string &type) {
  std::mt19937 random(11);
  std::string text = "func.func @main() -> " + type + " {\n" + weight(random, "a", {6, 10}, 1) +
                     weight(random, "b", {6, 10}, 1) + weight(random, "v", {10}, 1) + body + "\nreturn %r : " + type +
                     "\n}\n";
  Parsed parsed(text);
  ASSERT_TRUE(parsed.module) << text;
  std::vector<char> bytes;
  ASSERT_EQ(execute(parsed.main(), bytes), "");
  auto expected = lm::evaluate(parsed.main(), {});
  ASSERT_TRUE(succeeded(expected));
  EXPECT_TRUE(bytes == (*expected)[0].toBytes()) << body;
}

} // namespace

TEST(Recipe, EveryOperation) {
  expectSame("%r = lm.transpose %a {perm = array<i64: 1, 0>} : (tensor<6x10xf32>) -> tensor<10x6xf32>",
             "tensor<10x6xf32>");
  expectSame("%r = lm.reshape %a : (tensor<6x10xf32>) -> tensor<4x15xf32>", "tensor<4x15xf32>");
  expectSame("%t = lm.transpose %a {perm = array<i64: 1, 0>} : (tensor<6x10xf32>) -> tensor<10x6xf32>\n"
             "%r = lm.reshape %t : (tensor<10x6xf32>) -> tensor<3x20xf32>",
             "tensor<3x20xf32>");
  expectSame("%r = lm.slice %a {starts = #lm.sym<1, 8> : tensor<2xi64>, steps = array<i64: 2, -3>} : "
             "(tensor<6x10xf32>) -> tensor<2x3xf32>",
             "tensor<2x3xf32>");
  for (const char *axis : {"0", "1"})
    expectSame(std::string("%r = lm.concat %a, %b, %a {axis = ") + axis +
                   " : i64} : (tensor<6x10xf32>, tensor<6x10xf32>, tensor<6x10xf32>) -> " +
                   (*axis == '0' ? "tensor<18x10xf32>" : "tensor<6x30xf32>"),
               *axis == '0' ? "tensor<18x10xf32>" : "tensor<6x30xf32>");
  for (const char *op : {"add", "sub", "mul", "div"}) {
    expectSame(std::string("%r = lm.") + op + " %a, %b : (tensor<6x10xf32>, tensor<6x10xf32>) -> tensor<6x10xf32>",
               "tensor<6x10xf32>");
    expectSame(std::string("%r = lm.") + op + " %v, %b : (tensor<10xf32>, tensor<6x10xf32>) -> tensor<6x10xf32>",
               "tensor<6x10xf32>");
  }
  for (const char *type : {"f16", "bf16", "f64"}) {
    std::string to = std::string("tensor<6x10x") + type + ">";
    expectSame("%r = lm.cast %a : (tensor<6x10xf32>) -> " + to, to);
  }
  expectSame("%c = lm.constant dense<0.125> : tensor<f32>\n"
             "%r = lm.mul %a, %c : (tensor<6x10xf32>, tensor<f32>) -> tensor<6x10xf32>",
             "tensor<6x10xf32>");
}

TEST(Recipe, Quantization) {
  const std::string scale =
      "%s = lm.absmax_scale %a {axes = array<i64: 0>, qmax = 127.0 : f64} : (tensor<6x10xf32>) -> "
      "tensor<1x10xf32>\n";
  expectSame(scale + "%r = lm.reshape %s : (tensor<1x10xf32>) -> tensor<10xf32>", "tensor<10xf32>");
  expectSame(scale + "%r = lm.quantize %a scale %s {narrow_range = true} : (tensor<6x10xf32>, tensor<1x10xf32>) -> "
                     "tensor<6x10xi8>",
             "tensor<6x10xi8>");
  expectSame(scale + "%q = lm.quantize %a scale %s : (tensor<6x10xf32>, tensor<1x10xf32>) -> tensor<6x10xi8>\n"
                     "%r = lm.dequantize %q scale %s : (tensor<6x10xi8>, tensor<1x10xf32>) -> tensor<6x10xf32>",
             "tensor<6x10xf32>");
}

TEST(Recipe, Panels) {
  std::mt19937 random(3);
  for (bool transposed : {false, true}) {
    std::string shape = transposed ? "37x5" : "5x37";
    std::string text = "func.func @main() -> tensor<3x5x16xf32> {\n" +
                       weight(random, "w", transposed ? std::vector<int64_t>{37, 5} : std::vector<int64_t>{5, 37}, 1);
    if (transposed)
      text += "%t = lm.transpose %w {perm = array<i64: 1, 0>} : (tensor<37x5xf32>) -> tensor<5x37xf32>\n";
    text += std::string("%r = kernel.pack <panels> 16 ") + (transposed ? "%t" : "%w") +
            " : (tensor<5x37xf32>) -> tensor<3x5x16xf32>\nreturn %r : tensor<3x5x16xf32>\n}\n";
    Parsed parsed(text);
    ASSERT_TRUE(parsed.module) << text;
    std::vector<char> bytes;
    ASSERT_EQ(execute(parsed.main(), bytes), "");
    ASSERT_EQ(bytes.size(), 3u * 5 * 16 * 4);
    auto weight = *parsed.main().getOps<lm::WeightOp>().begin();
    std::vector<char> source = getBytes(mlir::cast<mlir::DenseElementsAttr>(weight.getSource()));
    for (int64_t k = 0; k < 5; ++k)
      for (int64_t n = 0; n < 48; ++n) {
        float packed, expected = 0;
        std::memcpy(&packed, bytes.data() + ((n / 16 * 5 + k) * 16 + n % 16) * 4, 4);
        if (n < 37)
          std::memcpy(&expected, source.data() + (transposed ? n * 5 + k : k * 37 + n) * 4, 4);
        ASSERT_EQ(packed, expected) << k << " " << n;
      }
  }
}

// Steps of K side by side, and with quads the column sums in front.
TEST(Recipe, PanelsOfInt8) {
  for (bool quads : {false, true}) {
    const int64_t k = 6, n = 10, width = 4, group = quads ? 4 : 2, entries = 3;
    std::mt19937 random(3);
    std::string packedType = "tensor<3x" + std::to_string(entries) + "x" + std::to_string(group * width) + "xi8>";
    std::string quantize =
        weight(random, "a", {k, n}, 1) +
        "%s = lm.absmax_scale %a {axes = array<i64: 0>, qmax = 127.0 : f64} : (tensor<6x10xf32>) -> tensor<1x10xf32>\n"
        "%q = lm.quantize %a scale %s {narrow_range = true} : (tensor<6x10xf32>, tensor<1x10xf32>) -> "
        "tensor<6x10xi8>\n";
    Parsed plain("func.func @main() -> tensor<6x10xi8> {\n" + quantize + "return %q : tensor<6x10xi8>\n}\n");
    Parsed packed("func.func @main() -> " + packedType + " {\n" + quantize + "%r = kernel.pack <" +
                  (quads ? "quads" : "pairs") + "> 4 %q : (tensor<6x10xi8>) -> " + packedType +
                  "\nreturn %r : " + packedType + "\n}\n");
    ASSERT_TRUE(plain.module && packed.module);
    std::vector<char> q, bytes, expected(3 * entries * group * width);
    ASSERT_EQ(execute(plain.main(), q), "");
    ASSERT_EQ(execute(packed.main(), bytes), "");
    for (int64_t j = 0; j < n; ++j) {
      char *panel = expected.data() + j / width * entries * group * width;
      int32_t sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        sum += static_cast<signed char>(q[i * n + j]);
        panel[((i / group + (quads ? 1 : 0)) * width + j % width) * group + i % group] = q[i * n + j];
      }
      sum *= -128;
      if (quads)
        std::memcpy(panel + j % width * 4, &sum, 4);
    }
    EXPECT_EQ(bytes, expected) << (quads ? "quads" : "pairs");
  }
}

TEST(Recipe, TextForm) {
  Parsed parsed("func.func @main() -> tensor<1x2x16xf32> {\n"
                "%w = lm.weight \"layer \\22q\\22\" from (dense<1.0> : tensor<3x2xf32>) : tensor<3x2xf32>\n"
                "%t = lm.transpose %w {perm = array<i64: 1, 0>} : (tensor<3x2xf32>) -> tensor<2x3xf32>\n"
                "%r = kernel.pack <panels> 16 %t : (tensor<2x3xf32>) -> tensor<1x2x16xf32>\n"
                "return %r : tensor<1x2x16xf32>\n}\n");
  ASSERT_TRUE(parsed.module);
  auto recipe = buildRecipe(parsed.main().getBody().front().getTerminator()->getOperand(0));
  ASSERT_TRUE(succeeded(recipe));
  EXPECT_EQ(recipe->toJSON(),
            "{\"op\":\"panels\",\"width\":16,\"of\":[{\"op\":\"transpose\",\"perm\":[1,0],\"of\":"
            "[{\"op\":\"weight\",\"name\":\"layer \\\"q\\\"\",\"shape\":[3,2],\"dtype\":\"f32\"}]}]}");
}

TEST(Recipe, DamagedText) {
  const std::string weight = R"({"op":"weight","name":"w","shape":[4,6],"dtype":"f32"})";
  auto of = [&](const std::string &step) { return "{" + step + ",\"of\":[" + weight + "]}"; };
  const std::pair<std::string, const char *> cases[] = {
      {"", "expected '{'"},
      {weight + "x", "expected the end"},
      {weight.substr(0, 30), "expected"},
      {R"({"op":"frobnicate"})", "unknown step 'frobnicate'"},
      {R"({"op":"weight","name":"w","shape":[4],"dtype":"f31"})", "'f31'"},
      {R"({"op":"weight","name":"w","shape":[-4],"dtype":"f32"})", "not sound"},
      {R"({"op":"weight","name":"w","shape":[1e12,1e12],"dtype":"f32"})", "not sound"},
      {of(R"("op":"transpose","perm":[0,0])"), "permutation"},
      {of(R"("op":"transpose","perm":[0,2])"), "permutation"},
      {of(R"("op":"reshape","shape":[5])"), "number of elements"},
      {of(R"("op":"slice","starts":[0,5],"sizes":[4,2],"steps":[1,1])"), "beyond"},
      {of(R"("op":"slice","starts":[0],"sizes":[4],"steps":[1])"), "rank"},
      {of(R"("op":"concat","axis":2)"), "no such axis"},
      {of(R"("op":"add")"), "operands"},
      {of(R"("op":"absmax_scale","axes":[2],"qmax":127)"), "no such axis"},
      {of(R"("op":"panels","width":0)"), "positive width"},
      {R"({"op":"constant","shape":[2],"dtype":"f32","hex":"00"})", "bytes"}};
  for (const auto &[text, words] : cases) {
    Recipe recipe;
    EXPECT_NE(Recipe::parse(text, recipe).find(words), std::string::npos)
        << text << ": " << Recipe::parse(text, recipe);
  }
  std::string deep;
  for (int i = 0; i < 500; ++i)
    deep += R"({"op":"cast","dtype":"f32","of":[)";
  Recipe recipe;
  EXPECT_NE(Recipe::parse(deep, recipe).find("deep"), std::string::npos);
}

TEST(Recipe, SinkThatStops) {
  Parsed parsed("func.func @main() -> tensor<4x4xf32> {\n"
                "%w = lm.weight \"w\" from (dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>\n"
                "return %w : tensor<4x4xf32>\n}\n");
  std::vector<char> bytes;
  EXPECT_EQ(execute(parsed.main(), bytes, 1), "");
}

TEST(Recipe, FullDiskLeavesNoFile) {
  // A limit on file sizes stands in for a full disk: large enough for the code,
  // too small for the weights.
  std::mt19937 random(1);
  Model model("func.func @main(%x: tensor<2x512xf32>) -> tensor<2x512xf32> {\n" + weight(random, "w", {512, 512}, 1) +
              "%y = lm.linear %x, %w : (tensor<2x512xf32>, tensor<512x512xf32>) -> tensor<2x512xf32>\n"
              "return %y : tensor<2x512xf32>\n}\n");
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto handler = signal(SIGXFSZ, SIG_IGN);
  for (bool embed : {false, true}) {
    cpu::EmitModelOptions options;
    options.embedWeights = embed;
    rlimit small = before;
    small.rlim_cur = 512 << 10;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool compiled = model.compile(options);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_FALSE(compiled);
    EXPECT_NE(model.errors.find("model."), std::string::npos) << model.errors;
    EXPECT_TRUE(std::filesystem::is_empty(model.directory.path));
  }
  signal(SIGXFSZ, handler);
}

TEST(Recipe, UnwritablePath) {
  std::mt19937 random(1);
  Model model("func.func @main(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {\n" + weight(random, "w", {8, 8}, 1) +
              "%y = lm.linear %x, %w : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>\nreturn %y : "
              "tensor<2x8xf32>\n}\n");
  cpu::EmitModelOptions options;
  options.output = model.directory.path + "/no-such-directory/model.so";
  EXPECT_FALSE(model.compile(options));
  EXPECT_NE(model.errors.find("no-such-directory"), std::string::npos) << model.errors;
}

// Scales, zero points and nibbles of each group beside each other; and 4-bit ranges.
TEST(Recipe, Groups) {
  for (bool zero : {false, true}) {
    const int64_t groups = 2, group = 32, n = 10, width = 4, header = width * (zero ? 8 : 4),
                  block = header + width * group / 2;
    std::mt19937 random(3);
    std::string packedType = "tensor<3x2x" + std::to_string(block) + "xi8>", q = "tensor<2x32x10xi4>";
    std::string zeros = zero ? " zero_point %z" : "", zeroType = zero ? ", tensor<2x1x10xi4>" : "";
    std::string quantize =
        weight(random, "a", {groups, group, n}, 1) +
        "%s = lm.absmax_scale %a {axes = array<i64: 1>, qmax = 4.0 : f64} : (tensor<2x32x10xf32>) -> "
        "tensor<2x1x10xf32>\n" +
        (zero ? "%z = lm.constant dense<-5> : tensor<2x1x10xi4>\n" : "") + "%q = lm.quantize %a scale %s" + zeros +
        " : (tensor<2x32x10xf32>, tensor<2x1x10xf32>" + zeroType + ") -> " + q + "\n";
    Parsed plain("func.func @main() -> " + q + " {\n" + quantize + "return %q : " + q + "\n}\n");
    Parsed scales("func.func @main() -> tensor<2x1x10xf32> {\n" + quantize + "return %s : tensor<2x1x10xf32>\n}\n");
    Parsed packed("func.func @main() -> " + packedType + " {\n" + quantize + "%r = kernel.pack_groups 4 %q scale %s" +
                  zeros + " : (" + q + ", tensor<2x1x10xf32>" + zeroType + ") -> " + packedType +
                  "\nreturn %r : " + packedType + "\n}\n");
    ASSERT_TRUE(plain.module && scales.module && packed.module);
    std::vector<char> integers, floats, bytes, expected(3 * groups * block);
    ASSERT_EQ(execute(plain.main(), integers), "");
    auto evaluated = lm::evaluate(plain.main(), {});
    ASSERT_TRUE(succeeded(evaluated));
    for (int64_t i = 0; i < groups * group * n; ++i)
      ASSERT_EQ(int(integers[i]), int((*evaluated)[0].asDouble(i)));
    ASSERT_EQ(execute(scales.main(), floats), "");
    ASSERT_EQ(execute(packed.main(), bytes), "");
    for (int64_t j = 0; j < n; ++j)
      for (int64_t g = 0; g < groups; ++g) {
        char *to = expected.data() + (j / width * groups + g) * block;
        float z = -5 + 8;
        std::memcpy(to + j % width * 4, floats.data() + (g * n + j) * 4, 4);
        if (zero)
          std::memcpy(to + (width + j % width) * 4, &z, 4);
        for (int64_t i = 0; i < group; ++i)
          to[header + (i / 8 * width + j % width) * 4 + i % 4] |= (integers[(g * group + i) * n + j] + 8)
                                                                  << (i % 8 < 4 ? 0 : 4);
      }
    EXPECT_EQ(bytes, expected) << "zero points " << zero;

    // In rows: three parts, each from a multiple of 16 bytes; scales of either type.
    for (const char *type : {"f32", "f16"}) {
      const bool half = type[1] == '1';
      const int64_t firstScale = n * groups * group / 2, firstZero = firstScale + (half ? 48 : 80);
      std::string rowsType = "tensor<" + std::to_string(firstZero + (zero ? 16 : 0)) + "xi8>",
                  scaleType = std::string("tensor<2x1x10x") + type + ">", cast;
      if (half)
        cast = "%h = lm.cast %s : (tensor<2x1x10xf32>) -> tensor<2x1x10xf16>\n";
      Parsed rows("func.func @main() -> " + rowsType + " {\n" + quantize + cast +
                  "%r = kernel.pack_groups 1 %q scale " + (half ? "%h" : "%s") + zeros +
                  " {layout = #kernel.layout<rows>} : (" + q + ", " + scaleType + zeroType + ") -> " + rowsType +
                  "\nreturn %r : " + rowsType + "\n}\n");
      ASSERT_TRUE(rows.module);
      bytes.clear();
      ASSERT_EQ(execute(rows.main(), bytes), "");
      expected.assign(firstZero + (zero ? 16 : 0), 0);
      for (int64_t j = 0; j < n; ++j)
        for (int64_t k = 0; k < groups * group; ++k)
          expected[(j * groups * group + k) / 2] |= ((integers[k * n + j] + 8) & 15) << (k % 2 * 4);
      for (int64_t j = 0; j < n; ++j)
        for (int64_t g = 0; g < groups; ++g) {
          if (half) {
            float wide;
            std::memcpy(&wide, floats.data() + (g * n + j) * 4, 4);
            llvm::APFloat narrow(wide);
            bool inexact;
            narrow.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven, &inexact);
            auto bits = static_cast<uint16_t>(narrow.bitcastToAPInt().getZExtValue());
            std::memcpy(expected.data() + firstScale + (j * groups + g) * 2, &bits, 2);
          } else {
            std::memcpy(expected.data() + firstScale + (j * groups + g) * 4, floats.data() + (g * n + j) * 4, 4);
          }
          if (zero)
            expected[firstZero + j] |= (-5 + 8) << (g * 4);
        }
      EXPECT_EQ(bytes, expected) << "rows, zero points " << zero << ", scales " << type;
    }
  }
}
