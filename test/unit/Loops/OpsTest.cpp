// Every operation by itself, against the evaluator.
#include "LoopsFixture.h"

using namespace llmopt;
using namespace llmopt::loops;

namespace {

const std::string kSymbolic = "tensor<?x?x48xf32, #lm.dims<\"b\", \"s\", 48>>";
const std::map<std::string, int64_t> kSizes = {{"b", 3}, {"s", 37}};

TEST_F(LoopsFixture, Unary) {
  for (const char *name : {"neg", "abs", "exp", "log", "sqrt", "reciprocal", "sin", "cos", "erf", "tanh", "sigmoid",
                           "softplus", "relu", "sign", "floor", "ceil", "round"}) {
    bool periodic = llvm::StringRef(name) == "sin" || llvm::StringRef(name) == "cos"; // exact below 2^27 only
    op(std::string("lm.") + name + " %0", "tensor<7x53xf32>", "tensor<7x53xf32>", {},
       {periodic ? Fill::Normal : Fill::Special}).tolerance = 1e-6;
    op(std::string("lm.") + name + " %0", kSymbolic, kSymbolic, kSizes).tolerance = 1e-6;
  }
  for (const char *name : {"neg", "abs", "relu", "sign"})
    for (const char *type : {"i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64"}) {
      std::string tensor = std::string("tensor<5x19x") + type + ">";
      op(std::string("lm.") + name + " %0", tensor, tensor);
    }
  for (const char *type : {"f16", "bf16"}) {
    std::string tensor = std::string("tensor<5x19x") + type + ">";
    op("lm.exp %0", tensor, tensor);
    op("lm.neg %0", tensor, tensor, {}, {Fill::Special});
  }
  op("lm.sqrt %0", "tensor<40xf64>", "tensor<40xf64>", {}, {Fill::Positive}).tolerance = 1e-14;
  op("lm.not %0", "tensor<5x19xi1>", "tensor<5x19xi1>");
  op("lm.leaky_relu %0 {alpha = 0.1}", "tensor<99xf32>", "tensor<99xf32>", {}, {Fill::Special});
  op("lm.elu %0 {alpha = 1.5}", "tensor<99xf32>", "tensor<99xf32>", {}, {Fill::Special});
  op("lm.is_nan %0", "tensor<99xf32>", "tensor<99xi1>", {}, {Fill::Special});
  for (const char *which : {"detect_negative = true, detect_positive = true", "detect_negative = false, detect_positive = true",
                            "detect_negative = true, detect_positive = false"})
    op(std::string("lm.is_inf %0 {") + which + "}", "tensor<99xf32>", "tensor<99xi1>", {}, {Fill::Special});
  for (const char *kind : {"erf", "tanh", "quick"})
    op(std::string("lm.gelu <") + kind + "> %0", kSymbolic, kSymbolic, kSizes);
  runAll();
}

TEST_F(LoopsFixture, Binary) {
  for (const char *name : {"add", "sub", "mul", "div", "min", "max"})
    op(std::string("lm.") + name + " %0, %1", "tensor<7x53xf32>;tensor<53xf32>", "tensor<7x53xf32>", {},
       {Fill::Special, Fill::Special});
  for (const char *type : {"i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64"}) {
    std::string tensor = std::string("tensor<5x19x") + type + ">", both = tensor + ";" + tensor;
    for (const char *name : {"add", "sub", "mul", "min", "max"})
      op(std::string("lm.") + name + " %0, %1", both, tensor);
    op("lm.div %0, %1", both, tensor, {}, {Fill::Any, Fill::Positive});
    op("lm.mod %0, %1 {fmod = false}", both, tensor, {}, {Fill::Any, Fill::Positive});
    op("lm.mod %0, %1 {fmod = true}", both, tensor, {}, {Fill::Any, Fill::Positive});
    op("lm.pow %0, %1", both, tensor, {}, {Fill::Any, Fill::Positive});
    for (const char *predicate : {"eq", "lt", "le", "gt", "ge"})
      op(std::string("lm.compare <") + predicate + "> %0, %1", both, "tensor<5x19xi1>");
  }
  op("lm.pow %0, %1", "tensor<5x19xi32>;tensor<5x19xi64>", "tensor<5x19xi32>", {}, {Fill::Small, Fill::Small});
  op("lm.pow %0, %1", "tensor<5x19xf32>;tensor<19xf32>", "tensor<5x19xf32>", {}, {Fill::Positive});
  op("lm.pow %0, %1", "tensor<5x19xf32>;tensor<19xi32>", "tensor<5x19xf32>", {}, {Fill::Normal, Fill::Small});
  for (const char *fmod : {"true", "false"})
    op(std::string("lm.mod %0, %1 {fmod = ") + fmod + "}", "tensor<5x19xf32>;tensor<19xf32>", "tensor<5x19xf32>");
  for (const char *name : {"and", "or", "xor"})
    op(std::string("lm.") + name + " %0, %1", "tensor<5x19xi1>;tensor<5x1xi1>", "tensor<5x19xi1>");
  for (const char *predicate : {"eq", "lt", "le", "gt", "ge"})
    op(std::string("lm.compare <") + predicate + "> %0, %1", "tensor<5x19xf32>;tensor<5x19xf32>", "tensor<5x19xi1>", {},
       {Fill::Special, Fill::Special});
  op("lm.where %0, %1, %2", "tensor<19xi1>;tensor<5x1xf32>;tensor<5x19xf32>", "tensor<5x19xf32>");
  op("lm.where %0, %1, %2", "tensor<5x19xi1>;tensor<i64>;tensor<5x19xi64>", "tensor<5x19xi64>");
  op("lm.clip %0 min %1 max %2", "tensor<5x19xf32>;tensor<f32>;tensor<1xf32>", "tensor<5x19xf32>", {}, {Fill::Special});
  op("lm.clip %0 max %1", "tensor<5x19xi8>;tensor<i8>", "tensor<5x19xi8>");
  // Two symbols for one dimension: one of them is 1 when bound.
  const std::string a = "tensor<?x?xf32, #lm.dims<\"b\", \"s\">>", other = "tensor<?x?xf32, #lm.dims<\"b\", \"t\">>",
                    larger = "tensor<?x?xf32, #lm.dims<\"b\", \"max(s, t)\">>";
  for (auto [s, t] : {std::pair(21, 1), std::pair(1, 21), std::pair(21, 21)})
    op("lm.add %0, %1", a + ";" + other, larger, {{"b", 3}, {"s", s}, {"t", t}});
  runAll();
}

TEST_F(LoopsFixture, Casts) {
  const char *types[] = {"i1", "i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64", "f16", "bf16", "f32", "f64"};
  for (const char *from : types)
    for (const char *to : types)
      op("lm.cast %0", std::string("tensor<67x") + from + ">", std::string("tensor<67x") + to + ">", {},
         {from[0] == 'f' && (std::string(to).find("64") == std::string::npos || to[0] == 'f') ? Fill::Special : Fill::Any});
  runAll();
}

/// Elements of less than a byte, and floats of a byte and less.
TEST_F(LoopsFixture, NarrowTypes) {
  auto of = [](const std::string &type) { return "tensor<67x" + type + ">"; };
  for (const std::string narrow :
       {"i4", "ui4", "i2", "ui2", "f8E4M3FN", "f8E4M3FNUZ", "f8E5M2", "f8E5M2FNUZ", "f8E8M0FNU", "f4E2M1FN"}) {
    bool isFloat = narrow[0] == 'f';
    for (const std::string wide : {"i8", "ui8", "i32", "f16", "bf16", "f32"}) {
      Fill from = wide.find('f') != std::string::npos ? Fill::Special : Fill::Any;
      op("lm.cast %0", of(wide), of(narrow), {}, {from});
      op("lm.cast %0", of(narrow), of(wide), {}, {isFloat ? Fill::Special : Fill::Any});
      if (isFloat)
        op("lm.cast %0 {saturate = false}", of(wide), of(narrow), {}, {from});
    }
    // Within one kernel nothing is stored in between, and still rounds and wraps.
    add(of("f32"),
        "%n = lm.cast %0 : (" + of("f32") + ") -> " + of(narrow) + "\n%r = lm.cast %n : (" + of(narrow) + ") -> " +
            of("f32"),
        "%r : " + of("f32"), {}, {Fill::Special});
    op("lm.transpose %0 {perm = array<i64: 1, 0>}", "tensor<5x7x" + narrow + ">", "tensor<7x5x" + narrow + ">");
    if (narrow == "f8E8M0FNU") {
      for (const char *rounding : {"up", "down", "nearest"})
        for (const char *saturate : {"true", "false"})
          op(std::string("lm.cast %0 {rounding = #lm.rounding<") + rounding + ">, saturate = " + saturate + "}",
             of("f32"), of(narrow), {}, {Fill::Special});
      continue;
    }
    const std::string q = "tensor<9x53x" + narrow + ">", zero = "tensor<53x" + narrow + ">";
    if (isFloat) {
      op("lm.quantize %0 scale %1", "tensor<9x53xf32>;tensor<53xf32>", q, {}, {Fill::Special, Fill::Positive});
      op("lm.quantize %0 scale %1 {saturate = false}", "tensor<9x53xf32>;tensor<53xf32>", q, {},
         {Fill::Special, Fill::Positive});
      op("lm.dequantize %0 scale %1", q + ";tensor<53xf32>", "tensor<9x53xf32>", {}, {Fill::Special});
      continue;
    }
    op("lm.quantize %0 scale %1 zero_point %2", "tensor<9x53xf32>;tensor<53xf32>;" + zero, q, {},
       {Fill::Special, Fill::Positive});
    op("lm.dequantize %0 scale %1 zero_point %2", q + ";tensor<53xf32>;" + zero, "tensor<9x53xf32>");
  }
  runAll();
}

/// Half precision is rounded after every operation, fused or not.
TEST_F(LoopsFixture, RoundsEveryOperation) {
  for (const std::string type : {"f16", "bf16"}) {
    const std::string t = "tensor<301x" + type + ">";
    Case &c = add(t + ";" + t,
                  "%a = lm.mul %0, %1 : (" + t + ", " + t + ") -> " + t + "\n%b = lm.add %a, %0 : (" + t + ", " + t +
                      ") -> " + t + "\n%r = lm.sub %b, %0 : (" + t + ", " + t + ") -> " + t,
                  "%r : " + t);
    c.exact = true;
  }
  runAll();
}

TEST_F(LoopsFixture, Shapes) {
  op("lm.reshape %0", "tensor<6x40xf32>", "tensor<3x8x10xf32>");
  op("lm.reshape %0", "tensor<3x8x10xi64>", "tensor<6x40xi64>");
  op("lm.reshape %0", kSymbolic, "tensor<?x?x3x16xf32, #lm.dims<\"b\", \"s\", 3, 16>>", kSizes);
  op("lm.reshape %0", kSymbolic, "tensor<?x48xf32, #lm.dims<\"b*s\", 48>>", kSizes);
  op("lm.broadcast %0", "tensor<5x1xf32>", "tensor<3x5x17xf32>");
  for (int64_t t : {1, 4})
    add("tensor<?x1xf32, #lm.dims<\"t\", 1>>;tensor<?xf32, #lm.dims<\"s\">>",
        "%r = lm.broadcast %0 : (tensor<?x1xf32, #lm.dims<\"t\", 1>>) -> tensor<?x9xf32, #lm.dims<\"s\", 9>>",
        "%r : tensor<?x9xf32, #lm.dims<\"s\", 9>>", {{"t", t}, {"s", 4}});
  op("lm.transpose %0 {perm = array<i64: 1, 0>}", "tensor<23x45xf32>", "tensor<45x23xf32>");
  op("lm.transpose %0 {perm = array<i64: 2, 0, 1>}", kSymbolic, "tensor<48x?x?xf32, #lm.dims<48, \"b\", \"s\">>", kSizes);
  op("lm.concat %0, %1, %2 {axis = 1 : i64}", "tensor<5x7xf32>;tensor<5x20xf32>;tensor<5x3xf32>", "tensor<5x30xf32>");
  op("lm.concat %0, %1 {axis = 0 : i64}", "tensor<5x7xi8>;tensor<4x7xi8>", "tensor<9x7xi8>");
  op("lm.slice %0 {starts = #lm.sym<3, 1> : tensor<2xi64>, steps = array<i64: 2, 1>}", "tensor<9x40xf32>",
     "tensor<3x33xf32>");
  op("lm.slice %0 {starts = #lm.sym<2, 39> : tensor<2xi64>, steps = array<i64: 1, -1>}", "tensor<9x40xf32>",
     "tensor<3x33xf32>");
  op("lm.slice %0 {starts = #lm.sym<0, \"s-1\", 0> : tensor<3xi64>, steps = array<i64: 1, -2, 1>}", kSymbolic,
     "tensor<?x3x48xf32, #lm.dims<\"b\", 3, 48>>", kSizes);
  op("lm.pad %0, %1 {low = #lm.sym<1, 2> : tensor<2xi64>, high = #lm.sym<0, 5> : tensor<2xi64>}",
     "tensor<5x27xf32>;tensor<f32>", "tensor<6x34xf32>");
  op("lm.pad %0, %1 {low = #lm.sym<1, 0> : tensor<2xi64>, high = #lm.sym<2, 0> : tensor<2xi64>}",
     "tensor<5x27xf32>;tensor<f32>", "tensor<8x27xf32>");
  for (const char *type : {"f32", "i64", "i32", "ui8"})
    add("tensor<1xf32>", std::string("%r = lm.iota {axis = 1 : i64} : () -> tensor<3x50x") + type + ">",
        std::string("%r : tensor<3x50x") + type + ">");
  for (const char *upper : {"true", "false"})
    for (int diagonal : {-3, 0, 2})
      op("lm.trilu %0 {diagonal = " + std::to_string(diagonal) + " : i64, upper = " + upper + "}", "tensor<2x9x21xf32>",
         "tensor<2x9x21xf32>");
  op("lm.shape %0", kSymbolic, "tensor<3xi64>", kSizes);
  add(kSymbolic, "%c = lm.constant #lm.sym<\"b\", 7, \"s*2\"> : tensor<3xi64>", "%c : tensor<3xi64>", kSizes);
  add("tensor<3x5xf32>", "%c = lm.constant dense<[1.0, 2.0, -3.0, 0.5, 7.0]> : tensor<5xf32>\n"
                         "%r = lm.mul %0, %c : (tensor<3x5xf32>, tensor<5xf32>) -> tensor<3x5xf32>", "%r : tensor<3x5xf32>");
  runAll();
}

TEST_F(LoopsFixture, Windows) {
  op("lm.windows %0 {axes = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 2>, dilations = array<i64: 4>}",
     "tensor<5x40xf32>", "tensor<5x16x3xf32>");
  op("lm.windows %0 {axes = array<i64: 1, 0>, sizes = array<i64: 5, 2>, strides = array<i64: 1, 3>, "
     "dilations = array<i64: 2, 1>}",
     "tensor<11x33xi8>", "tensor<4x25x5x2xi8>");
  op("lm.windows %0 {axes = array<i64: 1>, sizes = array<i64: 4>, strides = array<i64: 3>, dilations = array<i64: 1>}",
     kSymbolic, "tensor<?x?x48x4xf32, #lm.dims<\"b\", \"floordiv(s - 4, 3) + 1\", 48, 4>>", kSizes);
  // A pool: the largest of each window of a padded image.
  add("tensor<2x3x9x30xf32>;tensor<f32>",
      "%p = lm.pad %0, %1 {low = #lm.sym<0, 0, 1, 1> : tensor<4xi64>, high = #lm.sym<0, 0, 1, 0> : tensor<4xi64>} : "
      "(tensor<2x3x9x30xf32>, tensor<f32>) -> tensor<2x3x11x31xf32>\n"
      "%w = lm.windows %p {axes = array<i64: 2, 3>, sizes = array<i64: 3, 3>, strides = array<i64: 2, 2>, "
      "dilations = array<i64: 1, 1>} : (tensor<2x3x11x31xf32>) -> tensor<2x3x5x15x3x3xf32>\n"
      "%r = lm.reduce <max> %w {axes = array<i64: 4, 5>, keepdims = false} : (tensor<2x3x5x15x3x3xf32>) -> "
      "tensor<2x3x5x15xf32>",
      "%r : tensor<2x3x5x15xf32>");
  runAll();
}

TEST_F(LoopsFixture, Gathers) {
  auto gather = [&](const std::string &operation, const std::string &types, const std::string &result, int64_t bound) {
    op(operation, types, result, {}, {Fill::Normal, Fill::Index}).indexBound = bound;
  };
  gather("lm.gather %0, %1 {axis = 0 : i64}", "tensor<9x40xf32>;tensor<2x3xi64>", "tensor<2x3x40xf32>", 9);
  gather("lm.gather %0, %1 {axis = 1 : i64}", "tensor<9x40xf32>;tensor<23xi32>", "tensor<9x23xf32>", 40);
  gather("lm.gather %0, %1 {axis = 1 : i64}", "tensor<9x40xf32>;tensor<i64>", "tensor<9xf32>", 40);
  gather("lm.gather_elements %0, %1 {axis = 1 : i64}", "tensor<9x40xf32>;tensor<9x21xi64>", "tensor<9x21xf32>", 40);
  gather("lm.gather_elements %0, %1 {axis = 0 : i64}", "tensor<9x40xi8>;tensor<4x40xi64>", "tensor<4x40xi8>", 9);
  gather("lm.gather_nd %0, %1 {batch_dims = 0 : i64}", "tensor<6x6x20xf32>;tensor<4x2xi64>", "tensor<4x20xf32>", 6);
  gather("lm.gather_nd %0, %1 {batch_dims = 1 : i64}", "tensor<5x6x20xf32>;tensor<5x3x1xi64>", "tensor<5x3x20xf32>", 6);
  gather("lm.embedding %0, %1", "tensor<30x40xf32>;tensor<2x7xi64>", "tensor<2x7x40xf32>", 30);
  runAll();
}

TEST_F(LoopsFixture, Reductions) {
  for (const char *kind : {"sum", "mean", "max", "min", "l1", "l2", "sum_square", "prod", "log_sum", "log_sum_exp"}) {
    std::string name = std::string("lm.reduce <") + kind + "> %0 ";
    bool positive = std::string(kind) == "log_sum";
    std::vector<Fill> fills = {positive ? Fill::Positive : Fill::Normal};
    op(name + "{axes = array<i64: 2>, keepdims = true}", kSymbolic, "tensor<?x?x1xf32, #lm.dims<\"b\", \"s\", 1>>", kSizes, fills);
    op(name + "{axes = array<i64: 0>, keepdims = false}", "tensor<6x37xf32>", "tensor<37xf32>", {}, fills);
    op(name + "{axes = array<i64: 0, 2>, keepdims = false}", "tensor<4x5x37xf32>", "tensor<5xf32>", {}, fills);
    op(name + "{axes = array<i64: 0, 1>, keepdims = false}", "tensor<6x37xf32>", "tensor<f32>", {}, fills);
  }
  for (const char *kind : {"sum", "mean", "max", "min", "l1", "sum_square", "prod"})
    for (const char *type : {"i8", "ui8", "i32", "i64", "ui64"})
      op(std::string("lm.reduce <") + kind + "> %0 {axes = array<i64: 1>, keepdims = false}",
         std::string("tensor<4x37x") + type + ">", std::string("tensor<4x") + type + ">");
  for (const char *smallest : {"true", "false"})
    for (const char *last : {"true", "false"}) {
      std::string flags = std::string("keepdims = false, smallest = ") + smallest + ", last = " + last + "}";
      op("lm.arg_reduce %0 {axis = 1 : i64, " + flags, "tensor<9x53xf32>", "tensor<9xi64>", {}, {Fill::Special});
      op("lm.arg_reduce %0 {axis = 1 : i64, " + flags, "tensor<9x53xi32>", "tensor<9xi64>", {}, {Fill::Small});
      op("lm.arg_reduce %0 {axis = 0 : i64, " + flags, "tensor<9x53xui8>", "tensor<53xi64>", {}, {Fill::Small});
    }
  for (const char *exclusive : {"true", "false"})
    for (const char *reverse : {"true", "false"}) {
      std::string flags = std::string("exclusive = ") + exclusive + ", reverse = " + reverse + "}";
      op("lm.cum_sum %0 {axis = 1 : i64, " + flags, "tensor<5x33xf32>", "tensor<5x33xf32>");
      op("lm.cum_sum %0 {axis = 0 : i64, " + flags, "tensor<5x33xi64>", "tensor<5x33xi64>");
    }
  for (const char *log : {"true", "false"}) {
    op(std::string("lm.softmax %0 {axis = 2 : i64, log = ") + log + "}", kSymbolic, kSymbolic, kSizes);
    op(std::string("lm.softmax %0 {axis = 1 : i64, log = ") + log + "}", kSymbolic, kSymbolic, kSizes);
  }
  op("lm.absmax_scale %0 {axes = array<i64: 1>, qmax = 127.0}", "tensor<9x53xf32>", "tensor<9x1xf32>");
  op("lm.absmax_scale %0 {axes = array<i64: 0>, qmax = 127.0}", "tensor<9x53xf32>", "tensor<1x53xf32>");
  runAll();
}

TEST_F(LoopsFixture, Quantization) {
  for (const char *type : {"i8", "ui8", "i16", "ui16", "i32"}) {
    std::string q = std::string("tensor<9x53x") + type + ">", zero = std::string("tensor<53x") + type + ">";
    op("lm.quantize %0 scale %1 zero_point %2", "tensor<9x53xf32>;tensor<53xf32>;" + zero, q, {},
       {Fill::Special, Fill::Positive});
    if (type[0] != 'u')
      op("lm.quantize %0 scale %1 {narrow_range = true}", "tensor<9x53xf32>;tensor<9x1xf32>", q, {},
       {Fill::Normal, Fill::Positive});
    op("lm.dequantize %0 scale %1 zero_point %2", q + ";tensor<53xf32>;" + zero, "tensor<9x53xf32>");
  }
  runAll();
}

TEST_F(LoopsFixture, Products) {
  op("lm.matmul %0, %1", "tensor<7x50xf32>;tensor<50x37xf32>", "tensor<7x37xf32>");
  op("lm.matmul %0, %1", "tensor<3x1x7x20xf32>;tensor<4x20x18xf32>", "tensor<3x4x7x18xf32>");
  op("lm.matmul %0, %1", "tensor<20xf32>;tensor<20x18xf32>", "tensor<18xf32>");
  op("lm.matmul %0, %1", "tensor<3x5x20xf32>;tensor<20xf32>", "tensor<3x5xf32>");
  op("lm.matmul %0, %1", "tensor<7x20xi32>;tensor<20x18xi32>", "tensor<7x18xi32>");
  op("lm.linear %0, %1 bias %2", kSymbolic + ";tensor<48x40xf32>;tensor<40xf32>",
     "tensor<?x?x40xf32, #lm.dims<\"b\", \"s\", 40>>", kSizes);
  op("lm.linear %0, %1 {transpose_weight = true}", kSymbolic + ";tensor<40x48xf32>",
     "tensor<?x?x40xf32, #lm.dims<\"b\", \"s\", 40>>", kSizes);
  op("lm.conv %0, %1 bias %2 {strides = array<i64: 2>, pads = array<i64: 1, 2>, dilations = array<i64: 1>, groups = 1 : i64}",
     "tensor<2x5x40xf32>;tensor<6x5x3xf32>;tensor<6xf32>", "tensor<2x6x21xf32>");
  op("lm.conv %0, %1 {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 2>, groups = 2 : i64}",
     "tensor<2x4x9x24xf32>;tensor<6x2x3x2xf32>", "tensor<2x6x9x24xf32>");
  op("lm.conv %0, %1 {strides = array<i64: 1>, pads = array<i64: 2, 0>, dilations = array<i64: 2>, groups = 1 : i64}",
     "tensor<2x3x21xi32>;tensor<4x3x2xi32>", "tensor<2x4x21xi32>");
  for (const char *kind : {"layer", "rms"}) {
    op(std::string("lm.norm <") + kind + "> %0 scale %1 bias %2 {epsilon = 1.0e-5}",
       kSymbolic + ";tensor<48xf32>;tensor<48xf32>", kSymbolic, kSizes);
    op(std::string("lm.norm <") + kind + "> %0 {epsilon = 1.0e-5}", kSymbolic, kSymbolic, kSizes);
  }
  runAll();
}

// Masks are a function of seed, step, place and position: bit for bit. 1 - 1/4 is exact.
TEST_F(LoopsFixture, Dropout) {
  const std::string body = "%p = lm.constant dense<0.25> : tensor<f32>\n%r = lm.dropout %0, %p, %1, %2 {id = ";
  const std::string scalars = ", tensor<f32>, tensor<i64>, tensor<i64>) -> ";
  for (const char *id : {"0", "4294967295"})
    for (const std::string &type : {kSymbolic, std::string("tensor<7x53xf32>"), std::string("tensor<f32>")}) {
      Case &c = add(type + ";tensor<i64>;tensor<i64>", body + id + " : i64} : (" + type + scalars + type, "%r : " + type,
                    kSizes, {Fill::Normal, Fill::Any, Fill::Any});
      c.exact = true;
    }
  // Nothing is dropped, and nothing changes.
  add("tensor<99xf32>;tensor<i64>",
      "%p = lm.constant dense<0.0> : tensor<f32>\n%r = lm.dropout %0, %p, %1, %1 {id = 1 : i64} : (tensor<99xf32>" +
          scalars + "tensor<99xf32>",
      "%r : tensor<99xf32>", {}, {Fill::Special, Fill::Any})
      .exact = true;
  add("tensor<99xf16>;tensor<i64>;tensor<i64>", body + "5 : i64} : (tensor<99xf16>" + scalars + "tensor<99xf16>",
      "%r : tensor<99xf16>");
  runAll();
}

TEST_F(LoopsFixture, Attention) {
  const std::string common = "num_heads = 4 : i64, kv_num_heads = 2 : i64, scale = 0.35, ";
  const std::string qkv = "tensor<?x?x32xf32, #lm.dims<\"b\", \"s\", 32>>;tensor<?x21x16xf32, #lm.dims<\"b\", 21, 16>>;"
                          "tensor<?x21x24xf32, #lm.dims<\"b\", 21, 24>>";
  const std::string result = "tensor<?x?x48xf32, #lm.dims<\"b\", \"s\", 48>>";
  std::map<std::string, int64_t> sizes = {{"b", 3}, {"s", 5}};
  for (const char *fully : {"nan", "zero", "source"})
    for (const char *causal : {"true", "false"}) {
      std::string flags = common + "causal = " + causal + ", fully_masked = #lm.fully_masked<" + fully + ">, mask_kind = #lm.mask_kind<";
      op("lm.attention %0, %1, %2 {" + flags + "none>}", qkv, result, sizes);
      op("lm.attention %0, %1, %2 mask %3 {" + flags + "additive>}", qkv + ";tensor<?x1x1x21xf32, #lm.dims<\"b\", 1, 1, 21>>",
         result, sizes);
      op("lm.attention %0, %1, %2 mask %3 {" + flags + "boolean>}", qkv + ";tensor<1x4x1x21xi1>", result, sizes);
      op("lm.attention %0, %1, %2 mask %3 {" + flags + "key_lengths>}", qkv + ";tensor<?xi64, #lm.dims<\"b\">>", result,
         sizes, {Fill::Normal, Fill::Normal, Fill::Normal, Fill::Small});
    }
  runAll();
}

} // namespace
