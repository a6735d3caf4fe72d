// Layers that share a weight share an adapter, whose gradients add up; a rounded weight has
// the name of what it was.
// RUN: llmopt-opt %s -lm-insert-lora="rank=2 targets=*" | FileCheck %s
// RUN: llmopt-opt %s -lm-quantize-int8=min-width=1 -lm-insert-lora="rank=2 targets=*" | FileCheck %s --check-prefix=ROUNDED

// CHECK: layers = ["block"]
// CHECK: lora_A.weight" from(#lm.drawn
// CHECK: lora_B.weight" from(#lm.drawn
// CHECK-NOT: lm.drawn
// CHECK-COUNT-6: lm.linear
// CHECK-NOT: lm.linear

// ROUNDED: layers = ["block"]
// ROUNDED: lm.weight "base_model.model.block.lora_A.weight"
func.func @main(%x: tensor<5x4xf32> {lm.name = "x"}) -> (tensor<5x4xf32> {lm.name = "y"}) {
  %w = lm.weight "block.weight" from(dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %0 = lm.linear %x, %w : (tensor<5x4xf32>, tensor<4x4xf32>) -> tensor<5x4xf32>
  %1 = lm.linear %0, %w : (tensor<5x4xf32>, tensor<4x4xf32>) -> tensor<5x4xf32>
  return %1 : tensor<5x4xf32>
}
