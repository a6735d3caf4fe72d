// Sizes that depend on data, from the plan to outputs of a session.
#include "Model.h"

using namespace llmopt;
using namespace llmopt::test;

namespace {

// The constant stands in front of the symbol that it is made of, as folding puts
// it; the second count is one of what the first selected; `%tail` shrinks as the
// first one grows.
const char *const kSelect = R"(
!x = tensor<?x4xf32, #lm.dims<"n", 4>>
!flat = tensor<?xf32, #lm.dims<"4*n">>
!mask = tensor<?xi1, #lm.dims<"4*n">>
!wide = tensor<?xi64, #lm.dims<"4*n">>
!a = tensor<?xf32, #lm.dims<"count_a">>
!ai = tensor<?xi64, #lm.dims<"count_a">>
!am = tensor<?xi1, #lm.dims<"count_a">>
!b = tensor<?xf32, #lm.dims<"count_b">>
!bi = tensor<?xi64, #lm.dims<"count_b">>
!tail = tensor<?xf32, #lm.dims<"4*n-count_a">>
func.func @main(%x: !x {lm.name = "x"}) -> (!b {lm.name = "b"}, tensor<1xf32> {lm.name = "sum"},
    tensor<2xi64> {lm.name = "sizes"}, !tail {lm.name = "tail"}) {
  %sizes = lm.constant #lm.sym<"count_a", "2*count_b"> : tensor<2xi64>
  %zero = lm.constant dense<0.0> : tensor<f32>
  %flat = lm.reshape %x : (!x) -> !flat
  %mask = lm.compare <gt> %flat, %zero : (!flat, tensor<f32>) -> !mask
  %ones = lm.cast %mask : (!mask) -> !wide
  %count = lm.reduce <sum> %ones {axes = array<i64: 0>, keepdims = false} : (!wide) -> tensor<i64>
  lm.define_symbol "count_a" = %count {bound = #lm.sym<"4*n"> : tensor<1xi64>} : tensor<i64>
  %where = lm.true_indices %mask : (!mask) -> !ai
  %a = lm.gather %flat, %where {axis = 0 : i64} : (!flat, !ai) -> !a
  %e = lm.exp %a : (!a) -> !a
  %sum = lm.reduce <sum> %e {axes = array<i64: 0>, keepdims = true} : (!a) -> tensor<1xf32>
  %limit = lm.constant dense<2.0> : tensor<f32>
  %large = lm.compare <gt> %e, %limit : (!a, tensor<f32>) -> !am
  %largeOnes = lm.cast %large : (!am) -> !ai
  %largeCount = lm.reduce <sum> %largeOnes {axes = array<i64: 0>, keepdims = false} : (!ai) -> tensor<i64>
  lm.define_symbol "count_b" = %largeCount {bound = #lm.sym<"4*n"> : tensor<1xi64>} : tensor<i64>
  %largeWhere = lm.true_indices %large : (!am) -> !bi
  %b = lm.gather %a, %largeWhere {axis = 0 : i64} : (!a, !bi) -> !b
  %tail = lm.slice %flat {starts = #lm.sym<"count_a"> : tensor<1xi64>, steps = array<i64: 1>} : (!flat) -> !tail
  return %b, %sum, %sizes, %tail : !b, tensor<1xf32>, tensor<2xi64>, !tail
}
)";

TEST(DataSizes, CountsOfEveryRun) {
  Model model(kSelect);
  ASSERT_TRUE(model.compile()) << model.errors;
  std::mt19937 random(5);
  auto filled = [&](double value) {
    return floats(model.getContext(), {9, 4}, std::vector<double>(36, value));
  };
  for (uint32_t threads : {1u, 3u}) {
    model.expectEqual({filled(-1)}, 2e-6, threads);   // none
    model.expectEqual({filled(0.25)}, 2e-6, threads); // all, then none
    model.expectEqual({filled(3)}, 2e-6, threads);    // all
    for (int64_t n : {1, 7, 300})
      model.expectEqual({randomFloats(model.getContext(), random, {n, 4})}, 2e-6, threads);
  }
}

TEST(DataSizes, ConstraintsAreCheckedWhenTheCountIsKnown) {
  Model model(R"mlir(
!x = tensor<?xf32, #lm.dims<"n">>
!y = tensor<?xf32, #lm.dims<"m">>
!mask = tensor<?xi1, #lm.dims<"n">>
!wide = tensor<?xi64, #lm.dims<"n">>
!ai = tensor<?xi64, #lm.dims<"count_a">>
!a = tensor<?xf32, #lm.dims<"count_a">>
!sum = tensor<?xf32, #lm.dims<"max(count_a, m)">>
func.func @main(%x: !x {lm.name = "x"}, %y: !y {lm.name = "y"}) -> (!sum {lm.name = "sum"}) {
  %zero = lm.constant dense<0.0> : tensor<f32>
  %mask = lm.compare <gt> %x, %zero : (!x, tensor<f32>) -> !mask
  %ones = lm.cast %mask : (!mask) -> !wide
  %count = lm.reduce <sum> %ones {axes = array<i64: 0>, keepdims = false} : (!wide) -> tensor<i64>
  lm.define_symbol "count_a" = %count {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  %where = lm.true_indices %mask : (!mask) -> !ai
  %a = lm.gather %x, %where {axis = 0 : i64} : (!x, !ai) -> !a
  %sum = lm.add %a, %y : (!a, !y) -> !sum
  return %sum : !sum
}
)mlir");
  ASSERT_TRUE(model.compile()) << model.errors;
  mlir::MLIRContext &context = model.getContext();
  lm::Tensor x = floats(context, {4}, {1, -1, 2, 3}), three = floats(context, {3}, {10, 20, 30});
  model.expectEqual({x, three}, 1e-6);
  model.run({x, floats(context, {2}, {10, 20})});
  EXPECT_NE(model.errors.find("broadcast of"), std::string::npos) << model.errors;
}

TEST(DataSizes, NumbersBeyondTheirBoundEndTheRun) {
  Model model(R"mlir(
!x = tensor<?xf32, #lm.dims<"n">>
func.func @main(%x: !x {lm.name = "x"}, %count: tensor<i64> {lm.name = "count"}) ->
    (tensor<?xi64, #lm.dims<"count_a">> {lm.name = "numbers"}) {
  lm.define_symbol "count_a" = %count {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  %numbers = lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"count_a">>
  return %numbers : tensor<?xi64, #lm.dims<"count_a">>
}
)mlir");
  ASSERT_TRUE(model.compile()) << model.errors;
  mlir::MLIRContext &context = model.getContext();
  mlir::Type i64 = mlir::IntegerType::get(&context, 64);
  auto count = [&](int64_t value) { return cantFail(lm::Tensor::fromInts(i64, {}, {value})); };
  lm::Tensor x = floats(context, {5}, {1, 2, 3, 4, 5});
  model.expectEqual({x, count(0)}, 0);
  model.expectEqual({x, count(5)}, 0);
  for (int64_t value : {int64_t(6), int64_t(-1), INT64_MAX}) {
    model.run({x, count(value)});
    EXPECT_NE(model.errors.find("expected a number in [0, 5]"), std::string::npos) << model.errors;
  }
}

TEST(DataSizes, ADivisionByACountHasNoBound) {
  Model model(R"mlir(
func.func @main(%count: tensor<i64> {lm.name = "count"}, %x: tensor<?xf32, #lm.dims<"n">> {lm.name = "x"}) ->
    (tensor<?xi64, #lm.dims<"floordiv(n, count_a)">> {lm.name = "numbers"}) {
  lm.define_symbol "count_a" = %count {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  %numbers = lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"floordiv(n, count_a)">>
  return %numbers : tensor<?xi64, #lm.dims<"floordiv(n, count_a)">>
}
)mlir");
  EXPECT_FALSE(model.compile());
  EXPECT_NE(model.errors.find("expected a size that follows from the shapes of inputs"), std::string::npos)
      << model.errors;
}

} // namespace
