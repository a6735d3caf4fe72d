// Embedding sums, norms with what is added before them, softmax.
// RUN: llmopt-opt %s -lm-plan | llmopt-opt | FileCheck %s

!ids = tensor<?x?xi64, #lm.dims<"batch", "sequence">>
!h = tensor<?x?x32xf32, #lm.dims<"batch", "sequence", 32>>
!p = tensor<1x?x32xf32, #lm.dims<1, "sequence", 32>>
!pos = tensor<1x?xi64, #lm.dims<1, "sequence">>

// CHECK-LABEL: func.func @embeddings
// CHECK: kernel.embed tables(%[[A:.*]], %[[B:.*]]) ids(%arg0, %arg1) scale %{{.*}} {epsilon = {{.*}}, kind = #lm.norm_kind<layer>}
// CHECK-NEXT: return
func.func @embeddings(%ids: !ids, %pos: !pos) -> !h {
  %word = lm.weight "word" from (dense<1.0> : tensor<50x32xf32>) : tensor<50x32xf32>
  %position = lm.weight "position" from (dense<1.0> : tensor<64x32xf32>) : tensor<64x32xf32>
  %g = lm.weight "g" from (dense<1.0> : tensor<32xf32>) : tensor<32xf32>
  %0 = lm.embedding %word, %ids : (tensor<50x32xf32>, !ids) -> !h
  %1 = lm.embedding %position, %pos : (tensor<64x32xf32>, !pos) -> !p
  %2 = lm.add %0, %1 : (!h, !p) -> !h
  %3 = lm.norm #lm.norm_kind<layer> %2 scale %g {epsilon = 1.0e-12 : f64} : (!h, tensor<32xf32>) -> !h
  return %3 : !h
}

// The sum has another reader behind the norm, which gives both.
// CHECK-LABEL: func.func @sum_is_used
// CHECK: %{{.*}}, %[[S:.*]] = kernel.norm <rms> %arg0 residual %arg1
// CHECK: kernel.softmax %[[S]]
func.func @sum_is_used(%a: !h, %b: !h) -> (!h, !h) {
  %0 = lm.add %a, %b : (!h, !h) -> !h
  %1 = lm.norm #lm.norm_kind<rms> %0 {epsilon = 1.0e-5 : f64} : (!h) -> !h
  %2 = lm.softmax %0 {axis = 2 : i64} : (!h) -> !h
  return %1, %2 : !h, !h
}
