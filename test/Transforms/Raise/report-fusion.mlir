// RUN: llmopt-opt %s --lm-raise --lm-report-fusion -o /dev/null | FileCheck %s
// RUN: llmopt-opt %s --lm-raise --lm-report-fusion=json=true -o /dev/null | FileCheck %s --check-prefix=JSON
// RUN: llmopt-opt %s --lm-raise-gelu --remark-policy=all --remark-format=emitRemark --remarks-filter=".*" -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

// CHECK: fusion {{ *}}passed {{ *}}missed
// CHECK-NEXT: gelu {{ *}}1 {{ *}}1
// CHECK-NEXT: missed gelu at /layer.1/Erf: the argument of erf is not x / sqrt(2)

// JSON: "gelu": {
// JSON-NEXT: "passed": 1,
// JSON-NEXT: "missed": 1
// JSON: "kind": "gelu",
// JSON-NEXT: "passed": true,
// JSON-NEXT: "node": "/layer.0/Erf",
// JSON-NEXT: "detail": "erf"
// JSON: "node": "/layer.1/Erf",

// REMARK-DAG: [Passed] gelu | Category:lm-raise-gelu
// REMARK-DAG: [Missed] gelu | Category:lm-raise-gelu | {{.*}}the argument of erf is not x / sqrt(2)
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.div %x, %sqrt2 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("/layer.0/Erf")
  %2 = lm.add %1, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.mul %x, %2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lm.mul %3, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %5 = lm.erf %4 : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("/layer.1/Erf")
  return %5 : tensor<2x4xf32>
}
