// RUN: llmopt-opt %s -lm-infer-shapes=pin=ids:2x16 | FileCheck %s
// RUN: not llmopt-opt %s -lm-infer-shapes=pin=ids:2x1024 2>&1 | FileCheck %s --check-prefix=LIMIT
// RUN: not llmopt-opt %s -lm-infer-shapes=pin=ids:2xfour 2>&1 | FileCheck %s --check-prefix=TEXT

// LIMIT: expected shapes with "s <= 512", but got 1024 <= 512
// TEXT: expected a shape such as name:1x128, but got "ids:2xfour"

// CHECK-LABEL: func @main
// CHECK-SAME: (%[[IDS:.*]]: tensor<2x16xi64> {lm.name = "ids"}, %[[MASK:.*]]: tensor<2x16xi64> {lm.name = "mask"})
// CHECK-SAME: -> (tensor<2x16x4xf32>, tensor<2xi64>, tensor<1x32xf32>)
func.func @main(%ids: tensor<?x?xi64, #lm.dims<"b", "s">> {lm.name = "ids"}, %mask: tensor<?x?xi64, #lm.dims<"b", "s">> {lm.name = "mask"}) -> (tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>, tensor<2xi64>, tensor<1x?xf32>) attributes {lm.constraints = ["s <= 512"]} {
  %w = lm.weight "w" from(dense<1.0> : tensor<9x4xf32>) : tensor<9x4xf32>
  // CHECK: lm.embedding %{{.*}}, %[[IDS]] : (tensor<9x4xf32>, tensor<2x16xi64>) -> tensor<2x16x4xf32>
  %0 = lm.embedding %w, %ids : (tensor<9x4xf32>, tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>
  // CHECK: lm.constant dense<[2, 15]> : tensor<2xi64>
  %1 = lm.constant #lm.sym<"b", "s - 1"> : tensor<2xi64>
  // CHECK: lm.slice %{{.*}} {starts = #lm.sym<0, 8, 3> : tensor<3xi64>
  // CHECK-SAME: -> tensor<2x8x1xf32>
  %2 = lm.slice %0 {starts = #lm.sym<0, "floordiv(s, 2)", 3> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>) -> tensor<?x?x1xf32, #lm.dims<"b", "ceildiv(s, 2)", 1>>
  %3 = lm.cast %mask : (tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?xf32>
  // CHECK: lm.reshape %{{.*}} : (tensor<2x16xf32>) -> tensor<1x32xf32>
  %4 = lm.reshape %3 : (tensor<?x?xf32>) -> tensor<1x?xf32>
  return %0, %1, %4 : tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>, tensor<2xi64>, tensor<1x?xf32>
}
