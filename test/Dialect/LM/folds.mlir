// Identities, each beside what looks like one and is not.
// RUN: llmopt-opt %s -canonicalize -split-input-file | FileCheck %s

// CHECK-LABEL: func @floats
// CHECK-SAME: (%[[X:.*]]: tensor<2xf32>)
func.func @floats(%x: tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) {
  %zero = lm.constant dense<0.0> : tensor<f32>
  %minus = lm.constant dense<-0.0> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<2xf32>
  // x + 0 is 0 for -0, x * 0 is NaN for infinity, x - x for both.
  // CHECK: %[[SUM:.*]] = lm.add %[[X]]
  // CHECK: %[[PRODUCT:.*]] = lm.mul %[[X]]
  // CHECK: %[[DIFFERENCE:.*]] = lm.sub %[[X]], %[[X]]
  %0 = lm.add %x, %zero : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %1 = lm.mul %x, %zero : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %2 = lm.sub %x, %x : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  %3 = lm.add %minus, %x : (tensor<f32>, tensor<2xf32>) -> tensor<2xf32>
  %4 = lm.sub %x, %zero : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %5 = lm.mul %one, %x : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  %6 = lm.div %x, %one : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  // CHECK: return %[[SUM]], %[[PRODUCT]], %[[DIFFERENCE]], %[[X]], %[[X]], %[[X]], %[[X]]
  return %0, %1, %2, %3, %4, %5, %6 : tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
}

// -----

// CHECK-LABEL: func @integers
// CHECK-SAME: (%[[X:.*]]: tensor<2xi64>)
func.func @integers(%x: tensor<2xi64>) -> (tensor<2xi64>, tensor<2xi64>, tensor<2xi64>, tensor<1x2xi64>) {
  // CHECK: %[[ZERO:.*]] = lm.constant dense<0> : tensor<2xi64>
  %zero = lm.constant dense<0> : tensor<i64>
  %wide = lm.constant dense<0> : tensor<1x1xi64>
  %0 = lm.add %x, %zero : (tensor<2xi64>, tensor<i64>) -> tensor<2xi64>
  %1 = lm.mul %x, %zero : (tensor<2xi64>, tensor<i64>) -> tensor<2xi64>
  %2 = lm.sub %x, %x : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  // A zero that broadcasts the other side is no identity.
  // CHECK: %[[WIDE:.*]] = lm.add %[[X]], %{{.*}} -> tensor<1x2xi64>
  %3 = lm.add %x, %wide : (tensor<2xi64>, tensor<1x1xi64>) -> tensor<1x2xi64>
  // CHECK: return %[[X]], %[[ZERO]], %[[ZERO]], %[[WIDE]]
  return %0, %1, %2, %3 : tensor<2xi64>, tensor<2xi64>, tensor<2xi64>, tensor<1x2xi64>
}

// -----

// CHECK-LABEL: func @moves
// CHECK-SAME: (%[[X:.*]]: tensor<?x3xf32, #lm.dims<"n", 3>>, %[[U:.*]]: tensor<?x?xf32>)
func.func @moves(%x: tensor<?x3xf32, #lm.dims<"n", 3>>, %u: tensor<?x?xf32>) -> (tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x?xf32>) {
  %0 = lm.transpose %x {perm = array<i64: 1, 0>} : (tensor<?x3xf32, #lm.dims<"n", 3>>) -> tensor<3x?xf32, #lm.dims<3, "n">>
  %1 = lm.transpose %0 {perm = array<i64: 1, 0>} : (tensor<3x?xf32, #lm.dims<3, "n">>) -> tensor<?x3xf32, #lm.dims<"n", 3>>
  %2 = lm.reshape %x : (tensor<?x3xf32, #lm.dims<"n", 3>>) -> tensor<?xf32, #lm.dims<"3*n">>
  %3 = lm.reshape %2 : (tensor<?xf32, #lm.dims<"3*n">>) -> tensor<?x3xf32, #lm.dims<"n", 3>>
  %4 = lm.slice %x {starts = #lm.sym<0, 0> : tensor<2xi64>, steps = array<i64: 1, 1>} : (tensor<?x3xf32, #lm.dims<"n", 3>>) -> tensor<?x3xf32, #lm.dims<"n", 3>>
  %5 = lm.concat %4 {axis = 0 : i64} : (tensor<?x3xf32, #lm.dims<"n", 3>>) -> tensor<?x3xf32, #lm.dims<"n", 3>>
  // Equal types of unknown dimensions need not be equal shapes.
  // CHECK: %[[RESHAPED:.*]] = lm.reshape %[[U]]
  %6 = lm.reshape %u : (tensor<?x?xf32>) -> tensor<?x?xf32>
  // CHECK: return %[[X]], %[[X]], %[[X]], %[[X]], %[[RESHAPED]]
  return %1, %3, %4, %5, %6 : tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x3xf32, #lm.dims<"n", 3>>, tensor<?x?xf32>
}

// -----

// CHECK-LABEL: func @casts
// CHECK-SAME: (%[[X:.*]]: tensor<2xf16>)
func.func @casts(%x: tensor<2xf16>) -> (tensor<2xf16>, tensor<2xf16>) {
  %0 = lm.cast %x : (tensor<2xf16>) -> tensor<2xf32>
  %1 = lm.cast %0 : (tensor<2xf32>) -> tensor<2xf16>
  // By way of bf16 bits are lost.
  // CHECK: %[[SHORT:.*]] = lm.cast %[[X]] : (tensor<2xf16>) -> tensor<2xbf16>
  // CHECK: %[[BACK:.*]] = lm.cast %[[SHORT]]
  %2 = lm.cast %x : (tensor<2xf16>) -> tensor<2xbf16>
  %3 = lm.cast %2 : (tensor<2xbf16>) -> tensor<2xf16>
  // CHECK: return %[[X]], %[[BACK]]
  return %1, %3 : tensor<2xf16>, tensor<2xf16>
}

// -----

// CHECK-LABEL: func @where
// CHECK-SAME: (%[[X:.*]]: tensor<3xf32>, %[[Y:.*]]: tensor<2x3xf32>)
func.func @where(%x: tensor<3xf32>, %y: tensor<2x3xf32>) -> (tensor<2x3xf32>, tensor<2x3xf32>) {
  %true = lm.constant dense<true> : tensor<i1>
  %false = lm.constant dense<false> : tensor<i1>
  // CHECK: %[[B:.*]] = lm.broadcast %[[X]] : (tensor<3xf32>) -> tensor<2x3xf32>
  %0 = lm.where %true, %x, %y : (tensor<i1>, tensor<3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = lm.where %false, %x, %y : (tensor<i1>, tensor<3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  // CHECK: return %[[B]], %[[Y]]
  return %0, %1 : tensor<2x3xf32>, tensor<2x3xf32>
}

// -----

// A size that is chosen by sizes: rhs + condition (lhs - rhs).
// CHECK-LABEL: func @size_choice
func.func @size_choice(%x: tensor<?x?xf32, #lm.dims<"n", "m">>) -> (tensor<2xi64>, tensor<2xi64>) {
  %0 = lm.shape %x : (tensor<?x?xf32, #lm.dims<"n", "m">>) -> tensor<2xi64>
  %m = lm.constant #lm.sym<"m"> : tensor<1xi64>
  %two = lm.constant dense<2> : tensor<1xi64>
  // CHECK: %[[A:.*]] = lm.constant #lm.sym<{{.*}}> : tensor<2xi64>
  %1 = lm.compare <lt> %0, %m : (tensor<2xi64>, tensor<1xi64>) -> tensor<2xi1>
  %2 = lm.where %1, %m, %0 : (tensor<2xi1>, tensor<1xi64>, tensor<2xi64>) -> tensor<2xi64>
  %3 = lm.compare <eq> %0, %two : (tensor<2xi64>, tensor<1xi64>) -> tensor<2xi1>
  %4 = lm.not %3 : (tensor<2xi1>) -> tensor<2xi1>
  %5 = lm.where %4, %0, %m : (tensor<2xi1>, tensor<2xi64>, tensor<1xi64>) -> tensor<2xi64>
  // CHECK-NOT: lm.where
  return %2, %5 : tensor<2xi64>, tensor<2xi64>
}

// -----

// What cannot be evaluated, or would be large, stays.
// CHECK-LABEL: func @kept
func.func @kept() -> (tensor<1xi64>, tensor<i64>, tensor<100000xi64>, tensor<2xf32>) {
  %a = lm.constant dense<[1, 2]> : tensor<2xi64>
  %i = lm.constant dense<5> : tensor<1xi64>
  %zero = lm.constant dense<0> : tensor<i64>
  // CHECK: lm.weight
  %w = lm.weight "w" from(dense<[1.0, 2.0]> : tensor<2xf32>) : tensor<2xf32>
  // CHECK: lm.gather
  %0 = lm.gather %a, %i {axis = 0 : i64} : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
  // CHECK: lm.div
  %1 = lm.div %zero, %zero : (tensor<i64>, tensor<i64>) -> tensor<i64>
  // CHECK: lm.iota
  %2 = lm.iota {axis = 0 : i64} : () -> tensor<100000xi64>
  // CHECK: lm.neg
  %3 = lm.neg %w : (tensor<2xf32>) -> tensor<2xf32>
  return %0, %1, %2, %3 : tensor<1xi64>, tensor<i64>, tensor<100000xi64>, tensor<2xf32>
}
