// Products with int4 weights, as a plan forms them, against the evaluator on the same
// module: integers of weights are equal by definition; those of activations may differ
// near a tie where the floats before them do, so inputs are drawn from a fixed seed.
#include "Model.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <cmath>
#include <functional>

using namespace llmopt;
using namespace llmopt::test;

namespace {

enum class Rows { Float, PerToken, Grouped };

struct Form {
  int64_t n, k, group;
  bool transposed = false, isUnsigned = false, zeroPoint = false;
  Rows rows = Rows::Grouped;
};

std::string tensor(const std::string &element, std::vector<int64_t> dims) {
  std::string text = "tensor<";
  for (int64_t d : dims)
    text += std::to_string(d) + "x";
  return text + element + ">";
}

/// "tensor<?x...xf32, #lm.dims<"rows", ...>>"
std::string rowsOf(const std::string &element, std::vector<int64_t> dims) {
  std::string shape = "tensor<?x", names = ", #lm.dims<\"rows\"";
  for (int64_t d : dims) {
    shape += std::to_string(d) + "x";
    names += ", " + std::to_string(d);
  }
  return shape + element + names + ">>";
}

/// y = gelu(linear(x, w) + b) + r, w of 4-bit integers.
std::string makeModel(const Form &f) {
  std::mt19937 random(5);
  const int64_t groups = f.k / f.group;
  const std::string i4 = f.isUnsigned ? "ui4" : "i4";
  const std::vector<int64_t> split =
      f.transposed ? std::vector<int64_t>{f.n, groups, f.group} : std::vector<int64_t>{groups, f.group, f.n};
  std::vector<int64_t> perGroup = split, matrix = {f.k, f.n};
  perGroup[f.transposed ? 2 : 1] = 1;
  if (f.transposed)
    std::swap(matrix[0], matrix[1]);
  const std::string whole = tensor("f32", split), scales = tensor("f32", perGroup), zeros = tensor(i4, perGroup),
                    quantized = tensor(i4, split), x = rowsOf("f32", {f.k}), y = rowsOf("f32", {f.n});
  std::string text = "func.func @main(%x: " + x + " {lm.name = \"x\"}, %r: " + y + " {lm.name = \"r\"}) -> (" + y +
                     " {lm.name = \"y\"}) {\n";
  text += weight(random, "w", split, 1) + weight(random, "b", {f.n}, 1);
  text += "%s = lm.absmax_scale %w {axes = array<i64: " + std::string(f.transposed ? "2" : "1") +
          ">, qmax = " + (f.isUnsigned ? "8.0" : "7.0") + " : f64} : (" + whole + ") -> " + scales + "\n";
  std::string zero, zeroType;
  if (f.zeroPoint) {
    std::string values; // of every group and column one
    std::function<void(size_t)> append = [&](size_t d) {
      if (d == perGroup.size())
        values += std::to_string(int(random() % 6) - (f.isUnsigned ? 0 : 3));
      for (int64_t i = 0; d < perGroup.size() && i < perGroup[d]; ++i) {
        values += i ? ", " : "[";
        append(d + 1);
      }
      values += d < perGroup.size() ? "]" : "";
    };
    append(0);
    text += "%z = lm.constant dense<" + values + "> : " + zeros + "\n";
    zero = " zero_point %z";
    zeroType = ", " + zeros;
  }
  text += "%q = lm.quantize %w scale %s" + zero + (f.isUnsigned || f.zeroPoint ? "" : " {narrow_range = true}") +
          " : (" + whole + ", " + scales + zeroType + ") -> " + quantized + "\n";
  text += "%d = lm.dequantize %q scale %s" + zero + " : (" + quantized + ", " + scales + zeroType + ") -> " + whole +
          "\n%wd = lm.reshape %d : (" + whole + ") -> " + tensor("f32", matrix) + "\n";
  std::string input = "%x";
  if (f.rows != Rows::Float) {
    bool grouped = f.rows == Rows::Grouped;
    std::vector<int64_t> parts = grouped ? std::vector<int64_t>{groups, f.group} : std::vector<int64_t>{f.k};
    std::vector<int64_t> scaleDims = grouped ? std::vector<int64_t>{groups, 1} : std::vector<int64_t>{1};
    std::string xs = rowsOf("f32", parts), ss = rowsOf("f32", scaleDims), qs = rowsOf("i8", parts);
    if (grouped)
      text += "%xg = lm.reshape %x : (" + x + ") -> " + xs + "\n";
    std::string from = grouped ? "%xg" : "%x";
    text += "%xs = lm.absmax_scale " + from + " {axes = array<i64: " + (grouped ? "2" : "1") +
            ">, qmax = 127.0 : f64} : (" + xs + ") -> " + ss + "\n";
    text += "%xq = lm.quantize " + from + " scale %xs {narrow_range = true} : (" + xs + ", " + ss + ") -> " + qs + "\n";
    text += "%xd = lm.dequantize %xq scale %xs : (" + qs + ", " + ss + ") -> " + xs + "\n";
    input = "%xd";
    if (grouped) {
      text += "%xr = lm.reshape %xd : (" + xs + ") -> " + x + "\n";
      input = "%xr";
    }
  }
  text += "%p = lm.linear " + input + ", %wd bias %b" + (f.transposed ? " {transpose_weight = true}" : "") + " : (" +
          x + ", " + tensor("f32", matrix) + ", " + tensor("f32", {f.n}) + ") -> " + y + "\n";
  text += "%a = lm.gelu #lm.gelu_kind<erf> %p : (" + y + ") -> " + y + "\n%y = lm.add %a, %r : (" + y + ", " + y +
          ") -> " + y + "\nreturn %y : " + y + "\n}\n";
  return text;
}

unsigned countSteps(Model &model, llvm::StringRef op) {
  unsigned count = 0;
  model.getPlan().walk([&](mlir::Operation *inner) { count += inner->getName().getStringRef() == op; });
  return count;
}

void expectEvaluated(Model &model, const Form &f) {
  for (int64_t rows : {1, 2, 3, 4, 7, 33})
    for (uint32_t threads : {1u, 2u}) {
      std::mt19937 random(rows);
      SCOPED_TRACE("rows " + std::to_string(rows) + " n " + std::to_string(f.n) + " k " + std::to_string(f.k) +
                   " group " + std::to_string(f.group));
      std::vector<double> x(rows * f.k);
      std::normal_distribution<double> normal;
      for (int64_t i = 0; i < rows * f.k; ++i)
        x[i] = i / f.k == 1 && i % f.k < f.group ? 0 : static_cast<float>(normal(random)); // a group of zeros
      if (rows == 4)
        x[3 * f.k + 1] = NAN;
      model.expectEqual(
          {floats(model.getContext(), {rows, f.k}, x), randomFloats(model.getContext(), random, {rows, f.n})}, 1e-5,
          threads);
    }
}

const Form kForms[] = {{5, 32, 32},
                       {40, 128, 32, true},
                       {200, 256, 128},
                       {33, 128, 64, true, true},
                       {48, 192, 64, false, true, true},
                       {37, 128, 32, true, false, true}};

} // namespace

TEST(Int4, Int8Rows) {
  for (Form form : kForms)
    for (Rows rows : {Rows::Grouped, Rows::PerToken}) {
      form.rows = rows;
      Model model(makeModel(form));
      ASSERT_TRUE(model.compile()) << model.errors;
      EXPECT_EQ(countSteps(model, "kernel.gemm_w4a8"), 1u);
      EXPECT_EQ(countSteps(model, "kernel.quantize_rows"), 1u);
      EXPECT_EQ(countSteps(model, "kernel.loops"), 0u); // bias, activation and residual are fused
      expectEvaluated(model, form);
    }
}

TEST(Int4, FloatRows) {
  for (Form form : kForms) {
    form.rows = Rows::Float;
    Model model(makeModel(form));
    ASSERT_TRUE(model.compile()) << model.errors;
    EXPECT_EQ(countSteps(model, "kernel.gemm_wq"), 1u);
    EXPECT_EQ(countSteps(model, "kernel.loops"), 0u);
    expectEvaluated(model, form);
  }
}

// The same functions where no kernel reads int4.
TEST(Int4, WithoutKernels) {
  for (Form form : kForms)
    for (Rows rows : {Rows::Float, Rows::PerToken, Rows::Grouped}) {
      form.rows = rows;
      Model model(makeModel(form));
      model.hasInt8 = false;
      ASSERT_TRUE(model.compile()) << model.errors;
      EXPECT_EQ(countSteps(model, "kernel.gemm"), 1u);
      expectEvaluated(model, form);
    }
}

// What a norm gives is quantized in it, for a product and, in f32, for a residual.
TEST(Int4, NormQuantizes) {
  for (bool grouped : {false, true}) {
    std::mt19937 random(9);
    const std::string h = rowsOf("f32", {64}), parts = grouped ? rowsOf("f32", {2, 32}) : h,
                      scales = grouped ? rowsOf("f32", {2, 1}) : rowsOf("f32", {1}),
                      bytes = grouped ? rowsOf("i8", {2, 32}) : rowsOf("i8", {64}), last = grouped ? "2" : "1";
    std::string text = "func.func @main(%a: " + h + " {lm.name = \"a\"}, %c: " + h + " {lm.name = \"c\"}) -> (" + h +
                       " {lm.name = \"y\"}, " + h + " {lm.name = \"sum\"}) {\n" + weight(random, "w", {2, 32, 64}, 1) +
                       weight(random, "g", {64}, 1) +
                       "%s = lm.absmax_scale %w {axes = array<i64: 1>, qmax = 7.0 : f64} : (tensor<2x32x64xf32>) -> "
                       "tensor<2x1x64xf32>\n%q = lm.quantize %w scale %s {narrow_range = true} : (tensor<2x32x64xf32>, "
                       "tensor<2x1x64xf32>) -> tensor<2x32x64xi4>\n%d = lm.dequantize %q scale %s : "
                       "(tensor<2x32x64xi4>, tensor<2x1x64xf32>) -> tensor<2x32x64xf32>\n%wd = lm.reshape %d : "
                       "(tensor<2x32x64xf32>) -> tensor<64x64xf32>\n";
    text += "%sum = lm.add %a, %c : (" + h + ", " + h + ") -> " + h +
            "\n%n = lm.norm #lm.norm_kind<layer> %sum scale %g {epsilon = 1.0e-5 : f64} : (" + h +
            ", tensor<64xf32>) -> " + h + "\n";
    std::string from = "%n", to = "%xd";
    if (grouped) {
      text += "%ng = lm.reshape %n : (" + h + ") -> " + parts + "\n";
      from = "%ng";
      to = "%xr";
    }
    text += "%xs = lm.absmax_scale " + from + " {axes = array<i64: " + last + ">, qmax = 127.0 : f64} : (" + parts +
            ") -> " + scales + "\n%xq = lm.quantize " + from + " scale %xs {narrow_range = true} : (" + parts + ", " +
            scales + ") -> " + bytes + "\n%xd = lm.dequantize %xq scale %xs : (" + bytes + ", " + scales + ") -> " +
            parts + "\n";
    if (grouped)
      text += "%xr = lm.reshape %xd : (" + parts + ") -> " + h + "\n";
    text += "%p = lm.linear " + to + ", %wd : (" + h + ", tensor<64x64xf32>) -> " + h + "\n%y = lm.add %p, %n : (" + h +
            ", " + h + ") -> " + h + "\nreturn %y, %sum : " + h + ", " + h + "\n}\n";
    Model model(text);
    ASSERT_TRUE(model.compile()) << model.errors;
    EXPECT_EQ(countSteps(model, "kernel.norm_quantized"), 1u);
    EXPECT_EQ(countSteps(model, "kernel.quantize_rows"), 0u);
    for (int64_t rows : {1, 2, 5, 40})
      for (uint32_t threads : {1u, 2u})
        model.expectEqual({randomFloats(model.getContext(), random, {rows, 64}),
                           randomFloats(model.getContext(), random, {rows, 64})},
                          1e-4, threads);
  }
}
