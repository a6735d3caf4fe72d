// Bits, scatters, sorting and sizes of data print as they parse.
// RUN: llmopt-opt %s | llmopt-opt | FileCheck %s
// RUN: llmopt-opt %s -mlir-print-op-generic | llmopt-opt | FileCheck %s

// CHECK-LABEL: func @bits
func.func @bits(%a: tensor<2xi8>, %b: tensor<3x1xi8>) -> tensor<3x2xui8> {
  // CHECK: lm.bitwise_and %{{.*}} : (tensor<2xi8>, tensor<3x1xi8>) -> tensor<3x2xi8>
  %0 = lm.bitwise_and %a, %b : (tensor<2xi8>, tensor<3x1xi8>) -> tensor<3x2xi8>
  // CHECK: lm.shift_right
  %1 = lm.shift_right %0, %a : (tensor<3x2xi8>, tensor<2xi8>) -> tensor<3x2xi8>
  // CHECK: lm.bitcast
  %2 = lm.bitcast %1 : (tensor<3x2xi8>) -> tensor<3x2xui8>
  return %2 : tensor<3x2xui8>
}

// CHECK-LABEL: func @scatters
func.func @scatters(%x: tensor<4x5xf32>, %i: tensor<2x5xi64>, %u: tensor<2x5xf32>, %t: tensor<3x1xi64>,
                    %s: tensor<3x5xf32>) -> tensor<4x5xf32> {
  // CHECK: lm.scatter_elements <add> %{{.*}} {axis = 0 : i64}
  %0 = lm.scatter_elements <add> %x, %i, %u {axis = 0 : i64} : (tensor<4x5xf32>, tensor<2x5xi64>, tensor<2x5xf32>) -> tensor<4x5xf32>
  // CHECK: lm.scatter_nd <none>
  %1 = lm.scatter_nd <none> %0, %t, %s : (tensor<4x5xf32>, tensor<3x1xi64>, tensor<3x5xf32>) -> tensor<4x5xf32>
  return %1 : tensor<4x5xf32>
}

// CHECK-LABEL: func @selection
func.func @selection(%m: tensor<?xi1, #lm.dims<"n">>, %c: tensor<i64>) {
  // CHECK: lm.define_symbol "count_a" = %{{.*}} {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  lm.define_symbol "count_a" = %c {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  // CHECK: lm.true_indices %{{.*}} -> tensor<?xi64, #lm.dims<"count_a">>
  %0 = lm.true_indices %m : (tensor<?xi1, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"count_a">>
  return
}

// Constants fold.
// RUN: llmopt-opt %s -canonicalize | FileCheck %s --check-prefix=FOLD
// FOLD-LABEL: func @folds
// FOLD-DAG: lm.constant dense<[1, 2, 0]> : tensor<3xi64>
// FOLD-DAG: lm.constant dense<1065353216> : tensor<i32>
// FOLD-DAG: lm.constant dense<[5, 9, 7]> : tensor<3xi64>
func.func @folds() -> (tensor<3xi64>, tensor<i32>, tensor<3xi64>) {
  %x = lm.constant dense<[3, 1, 2]> : tensor<3xi64>
  %0 = lm.arg_sort %x {axis = 0 : i64, descending = false} : (tensor<3xi64>) -> tensor<3xi64>
  %one = lm.constant dense<1.0> : tensor<f32>
  %1 = lm.bitcast %one : (tensor<f32>) -> tensor<i32>
  %y = lm.constant dense<[5, 6, 7]> : tensor<3xi64>
  %i = lm.constant dense<[1, -2]> : tensor<2xi64>
  %u = lm.constant dense<[8, 9]> : tensor<2xi64>
  %2 = lm.scatter_elements <none> %y, %i, %u {axis = 0 : i64} : (tensor<3xi64>, tensor<2xi64>, tensor<2xi64>) -> tensor<3xi64>
  return %0, %1, %2 : tensor<3xi64>, tensor<i32>, tensor<3xi64>
}
