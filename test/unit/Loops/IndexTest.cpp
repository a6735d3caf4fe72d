// Bits, inverse trigonometry, random bits, and operations whose elements follow
// from each other, against the evaluator.
#include "LoopsFixture.h"

using namespace llmopt;
using namespace llmopt::loops;

namespace {

const std::map<std::string, int64_t> kSizes = {{"b", 3}, {"n", 37}};

TEST_F(LoopsFixture, InverseTrigonometry) {
  for (const char *name : {"acos", "asin", "atan", "acosh", "asinh", "atanh"})
    for (Fill fill : {Fill::Normal, Fill::Special})
      op(std::string("lm.") + name + " %0", "tensor<7x53xf32>", "tensor<7x53xf32>", {}, {fill}).tolerance = 1e-6;
  op("lm.exp %0", "tensor<99xf64>", "tensor<99xf64>", {}, {Fill::Special}).tolerance = 1e-15;
  op("lm.softmax %0 {axis = 1 : i64}", "tensor<3x99xf64>", "tensor<3x99xf64>").tolerance = 1e-14;
  runAll();
}

TEST_F(LoopsFixture, Bits) {
  for (const char *type : {"i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64", "i1"}) {
    std::string tensor = std::string("tensor<5x19x") + type + ">", row = std::string("tensor<19x") + type + ">";
    for (const char *name : {"bitwise_and", "bitwise_or", "bitwise_xor"})
      op(std::string("lm.") + name + " %0, %1", tensor + ";" + row, tensor);
    op("lm.bitwise_not %0", tensor, tensor);
    if (std::string(type) == "i1")
      continue;
    for (const char *name : {"shift_left", "shift_right"})
      for (Fill fill : {Fill::Small, Fill::Any}) // negative, in range, far beyond
        op(std::string("lm.") + name + " %0, %1", tensor + ";" + row, tensor, {}, {Fill::Any, fill});
  }
  op("lm.random_bits {seed = 7 : i64}", "", "tensor<3x41xui64>");
  std::string words = "tensor<?x41xui64, #lm.dims<\"b\", 41>>";
  add(words, "%s = lm.random_bits {seed = -1 : i64} : () -> " + words + "\n%r = lm.bitwise_xor %0, %s : (" + words +
      ", " + words + ") -> " + words, "%r : " + words, kSizes);
  runAll();
}

TEST_F(LoopsFixture, RunningProducts) {
  for (const char *exclusive : {"true", "false"})
    for (const char *reverse : {"true", "false"}) {
      std::string attributes = std::string(", exclusive = ") + exclusive + ", reverse = " + reverse + "}";
      op("lm.cum_prod %0 {axis = 1 : i64" + attributes, "tensor<3x21x5xf32>", "tensor<3x21x5xf32>");
      op("lm.cum_prod %0 {axis = 2 : i64" + attributes, "tensor<3x5x21xi32>", "tensor<3x5x21xi32>");
    }
  runAll();
}

TEST_F(LoopsFixture, Scatters) {
  for (const char *kind : {"none", "add", "mul", "max", "min"}) {
    std::string attributes = std::string("<") + kind + "> %0, %1, %2";
    for (const char *type : {"f32", "f64", "i64", "ui8", "i1"}) {
      std::string data = std::string("tensor<4x23x5x") + type + ">", updates = std::string("tensor<3x9x5x") + type + ">";
      op("lm.scatter_elements " + attributes + " {axis = 1 : i64}", data + ";tensor<3x9x5xi64>;" + updates, data, {},
         {Fill::Any, Fill::Index, Fill::Any}).indexBound = 23;
    }
    op("lm.scatter_nd " + attributes, "tensor<4x5x37xf32>;tensor<6x2xi32>;tensor<6x37xf32>", "tensor<4x5x37xf32>", {},
       {Fill::Normal, Fill::Index, Fill::Normal}).indexBound = 4;
    std::string data = "tensor<?x?xf32, #lm.dims<\"b\", \"n\">>";
    op("lm.scatter_nd " + attributes, data + ";tensor<11x2xi64>;tensor<11xf32>", data, kSizes,
       {Fill::Normal, Fill::Index, Fill::Normal}).indexBound = 3;
  }
  runAll();
}

TEST_F(LoopsFixture, Sorting) {
  for (const char *descending : {"true", "false"}) {
    std::string attributes = std::string(" : i64, descending = ") + descending + "}";
    for (const char *type : {"f32", "f64", "i8", "ui64", "i1"}) {
      std::string tensor = std::string("tensor<3x67x2x") + type + ">";
      op("lm.arg_sort %0 {axis = 1" + attributes, tensor, "tensor<3x67x2xi64>", {}, {Fill::Any});
      op("lm.arg_sort %0 {axis = 0" + attributes, tensor, "tensor<2x67x2xi64>", {}, {Fill::Small});
    }
    op("lm.arg_sort %0 {axis = 1" + attributes, "tensor<5x31xf32>", "tensor<5x31xi64>", {}, {Fill::Special});
    op("lm.arg_sort %0 {axis = 1" + attributes, "tensor<?x?xf32, #lm.dims<\"b\", \"n\">>",
       "tensor<?x5xi64, #lm.dims<\"b\", 5>>", kSizes);
    op(std::string("lm.arg_sort %0 {axis = 0 : i64, lexicographic = true, descending = ") + descending + "}",
       "tensor<41x3xi16>", "tensor<41xi64>", {}, {Fill::Small});
  }
  op("lm.arg_sort %0 {axis = 0 : i64, descending = true}", "tensor<1xf32>", "tensor<1xi64>");
  runAll();
}

TEST_F(LoopsFixture, Suppression) {
  for (const char *centre : {"true", "false"}) {
    std::string attributes = std::string(" {center_point_box = ") + centre + "}";
    std::string types = "tensor<2x13x4xf32>;tensor<2x3x13xf32>;tensor<i64>;tensor<f32>";
    auto &all = op("lm.non_max_suppression %0, %1, %2, %3" + attributes, types, "tensor<2x3x13xi64>", {},
                   {Fill::Positive, Fill::Normal, Fill::Positive, Fill::Positive});
    all.tolerance = 0;
    op("lm.non_max_suppression %0, %1, %2, %3, %4" + attributes, types + ";tensor<f32>", "tensor<2x3x4xi64>", {},
       {Fill::Positive, Fill::Normal, Fill::Positive, Fill::Positive, Fill::Normal});
  }
  runAll();
}

TEST_F(LoopsFixture, LinearAttention) {
  const std::string qkv = "tensor<2x7x48xf32>;tensor<2x7x24xf32>;tensor<2x7x39xf32>", result = "tensor<2x3x22x13xf32>";
  auto segments = [](const char *optional) {
    return std::string(" {num_heads = 3 : i64, scale = 0.3 : f64, operandSegmentSizes = array<i32: 1, 1, 1, ") +
           optional + ">}";
  };
  op("lm.linear_attention %0, %1, %2" + segments("0, 0, 0"), qkv, result);
  op("lm.linear_attention %0, %1, %2, %3" + segments("1, 0, 0"), qkv + ";tensor<2x3x8x13xf32>", result);
  op("lm.linear_attention %0, %1, %2, %3" + segments("0, 1, 0"), qkv + ";tensor<2x7x24xf32>", result);
  op("lm.linear_attention %0, %1, %2, %3, %4" + segments("0, 1, 1"), qkv + ";tensor<2x7x3xf32>;tensor<2x7x1xf32>",
     result).tolerance = 2e-5; // errors of a state grow with its length
  // Of widths that are symbols; the past state says which.
  auto tokens = [](const char *width) {
    return std::string("tensor<?x?x?xf32, #lm.dims<\"b\", \"s\", \"") + width + "\">>";
  };
  op("lm.linear_attention %0, %1, %2, %3, %4" + segments("1, 1, 0"),
     tokens("6*n") + ";" + tokens("3*n") + ";" + tokens("3*m") +
         ";tensor<?x3x?x?xf32, #lm.dims<\"b\", 3, \"n\", \"m\">>;" + tokens("3*n"),
     "tensor<?x3x?x?xf32, #lm.dims<\"b\", 3, \"n + 2*s\", \"m\">>",
     {{"b", 2}, {"m", 13}, {"n", 8}, {"s", 7}}).tolerance = 2e-5;
  runAll();
}

} // namespace
