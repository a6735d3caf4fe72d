// RUN: llmopt-opt %s --split-input-file --verify-diagnostics

!q = tensor<4x32xf8E4M3FN>
func.func @c1(%x: !q, %s: tensor<4x1xf32>, %w: tensor<20x2x16xi8>, %ws: tensor<20xf32>) -> tensor<4x20xf32> {
  // expected-error @+1 {{expected an f8E4M3FN weight of k = 32 and n = 20 in rows, but got 'tensor<20x2x16xi8>'}}
  %0 = kernel.gemm_f8 %x scale %s, %w scale %ws {n = 20 : i64, k = 32 : i64} : (!q, tensor<4x1xf32>, tensor<20x2x16xi8>, tensor<20xf32>) -> tensor<4x20xf32>
  return %0 : tensor<4x20xf32>
}

// -----

!w = tensor<20x2x16xf8E4M3FN>
func.func @c2(%x: tensor<4x32xi8>, %s: tensor<4x1xf32>, %w: !w, %ws: tensor<20xf32>) -> tensor<4x20xf32> {
  // expected-error @+1 {{expected f8E4M3FN rows of 32 elements}}
  %0 = kernel.gemm_f8 %x scale %s, %w scale %ws {n = 20 : i64, k = 32 : i64} : (tensor<4x32xi8>, tensor<4x1xf32>, !w, tensor<20xf32>) -> tensor<4x20xf32>
  return %0 : tensor<4x20xf32>
}

// -----

!q = tensor<4x32xf8E4M3FN>
!w = tensor<20x2x16xf8E4M3FN>
func.func @c3(%x: !q, %s: tensor<1xf32>, %w: !w, %ws: tensor<20xf32>) -> tensor<4x20xf32> {
  // expected-error @+1 {{expected one scale for each row}}
  %0 = kernel.gemm_f8 %x scale %s, %w scale %ws {n = 20 : i64, k = 32 : i64} : (!q, tensor<1xf32>, !w, tensor<20xf32>) -> tensor<4x20xf32>
  return %0 : tensor<4x20xf32>
}

// -----

!q = tensor<4x32xf8E4M3FN>
!w = tensor<20x2x16xf8E4M3FN>
func.func @c4(%x: !q, %s: tensor<4x1xf32>, %w: !w, %ws: tensor<19xf32>) -> tensor<4x20xf32> {
  // expected-error @+1 {{expected 20 elements, but got 'tensor<19xf32>'}}
  %0 = kernel.gemm_f8 %x scale %s, %w scale %ws {n = 20 : i64, k = 32 : i64} : (!q, tensor<4x1xf32>, !w, tensor<19xf32>) -> tensor<4x20xf32>
  return %0 : tensor<4x20xf32>
}
