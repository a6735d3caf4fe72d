// Attributes print as they parse; size expressions become canonical.
// RUN: llmopt-opt %s | llmopt-opt | FileCheck %s

// CHECK-LABEL: func @dims
// CHECK-SAME: tensor<?x4x?x?xf32, #lm.dims<"batch", 4, ?, "2*sequence + 1">>
func.func @dims(%a: tensor<?x4x?x?xf32, #lm.dims<"batch", 4, ?, "1 + sequence*2">>) {
  return
}

// CHECK-LABEL: func @sym
func.func @sym() {
  // CHECK: lm.constant #lm.sym<"batch", 12, "floordiv(sequence, 2) + 3"> : tensor<3xi64>
  %0 = lm.constant #lm.sym<"batch", "10 + 2", "floordiv(sequence + 6, 2)"> : tensor<3xi64>
  // CHECK: lm.constant #lm.sym<-1> : tensor<i32>
  %1 = lm.constant #lm.sym<-1> : tensor<i32>
  return
}

// CHECK-LABEL: func @file
func.func @file() {
  // CHECK: lm.weight "encoder.w" from(#lm.file<"m.onnx", 128, 24>) : tensor<2x3xf32>
  %0 = lm.weight "encoder.w" from(#lm.file<"m.onnx", 128, 24>) : tensor<2x3xf32>
  // Four-bit elements are packed, booleans take a byte each.
  // CHECK: #lm.file<"m.onnx", 0, 3>) : tensor<5xi4>
  %1 = lm.weight "packed" from(#lm.file<"m.onnx", 0, 3>) : tensor<5xi4>
  // CHECK: #lm.file<"m.onnx", 0, 5>) : tensor<5xi1>
  %2 = lm.weight "flags" from(#lm.file<"m.onnx", 0, 5>) : tensor<5xi1>
  return
}
