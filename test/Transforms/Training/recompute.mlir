// What the backward pass computes again instead of keeping it.
// RUN: llmopt-opt %s -lm-recompute=mode=free | FileCheck %s --check-prefix=FREE
// RUN: llmopt-opt %s -lm-recompute=mode=none | FileCheck %s --check-prefix=NONE
// RUN: llmopt-opt %s -lm-recompute=mode=layers | FileCheck %s --check-prefix=LAYERS
// RUN: not llmopt-opt %s -lm-recompute=mode=all 2>&1 | FileCheck %s --check-prefix=ERROR

// ERROR: expected recompute none, free or layers, but got all

!x = tensor<?x64xf32, #lm.dims<"n", 64>>
!h = tensor<?x256xf32, #lm.dims<"n", 256>>

// The input of the activation is there for its own gradient: its result is not kept.
// FREE-LABEL: func.func @gradients
// FREE: %[[H:.*]] = lm.linear %arg0
// FREE: %[[A:.*]] = lm.gelu <erf> %[[H]]
// FREE: %[[Y:.*]] = lm.linear %[[A]]
// FREE: %[[L:.*]] = lm.reduce
// FREE: %[[AGAIN:.*]] = lm.gelu <erf> %[[H]]
// FREE: lm.mul %[[H]], %[[AGAIN]]
// FREE-NOT: lm.linear

// NONE-LABEL: func.func @gradients
// NONE: lm.reduce
// NONE-NOT: lm.gelu
// NONE: return

// Between the narrow places nothing is kept: a linear layer runs again, too.
// LAYERS-LABEL: func.func @gradients
// LAYERS: lm.reduce
// LAYERS: lm.linear
// LAYERS: lm.gelu
func.func @gradients(%x: !x, %w: tensor<64x256xf32>, %v: tensor<256x64xf32>) -> (tensor<f32>, tensor<256xf32>) {
  %e = lm.gelu <erf> %x : (!x) -> !x
  %h = lm.linear %x, %w : (!x, tensor<64x256xf32>) -> !h
  %a = lm.gelu <erf> %h : (!h) -> !h
  %y = lm.linear %a, %v : (!h, tensor<256x64xf32>) -> !x
  %h2 = lm.linear %y, %w : (!x, tensor<64x256xf32>) -> !h
  %y2 = lm.linear %h2, %v : (!h, tensor<256x64xf32>) -> !x
  %z = lm.add %y2, %e : (!x, !x) -> !x
  %loss = lm.reduce <sum> %z {axes = array<i64: 0, 1>, keepdims = false} : (!x) -> tensor<f32>
  %g = lm.mul %h, %a : (!h, !h) -> !h
  %d = lm.reduce <sum> %g {axes = array<i64: 0>, keepdims = false} : (!h) -> tensor<256xf32>
  return %loss, %d : tensor<f32>, tensor<256xf32>
}
