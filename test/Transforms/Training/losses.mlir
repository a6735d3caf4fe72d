// Every loss builds, and takes the labels that it says.
// RUN: llmopt-opt %s -lm-build-training=loss=cross_entropy | FileCheck %s --check-prefix=CE
// RUN: llmopt-opt %s -lm-build-training=loss=causal | FileCheck %s --check-prefix=CAUSAL
// RUN: llmopt-opt %s -lm-build-training=loss=bce | FileCheck %s --check-prefix=BCE
// RUN: llmopt-opt %s -lm-build-training=loss=mse | FileCheck %s --check-prefix=MSE
// RUN: llmopt-opt %s -lm-build-training=loss=span | FileCheck %s --check-prefix=SPAN
// RUN: llmopt-opt %s -lm-build-training=loss=kl | FileCheck %s --check-prefix=KL
// RUN: not llmopt-opt %s -lm-build-training=loss=hinge 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not llmopt-opt %s -lm-build-training=trainable=*.weigth 2>&1 | FileCheck %s --check-prefix=GLOB

// CE: func.func @gradients
// CE-SAME: tensor<2x5xi64> {lm.classes = #lm.sym<2> : tensor<1xi64>, lm.name = "labels", lm.role = "label"}
// CAUSAL: func.func @gradients
// CAUSAL-SAME: tensor<2x5xi64> {lm.classes = #lm.sym<2> : tensor<1xi64>, lm.name = "labels", lm.role = "label"}
// BCE: func.func @gradients
// BCE-SAME: tensor<2x5x2xf32> {lm.name = "labels", lm.role = "label"}
// MSE: func.func @gradients
// MSE-SAME: tensor<2x5x2xf32> {lm.name = "labels", lm.role = "label"}
// SPAN: func.func @gradients
// SPAN-SAME: tensor<2xi64> {lm.classes = #lm.sym<5> : tensor<1xi64>, lm.name = "start_positions", lm.role = "label"}
// SPAN-SAME: tensor<2xi64> {lm.classes = #lm.sym<5> : tensor<1xi64>, lm.name = "end_positions", lm.role = "label"}
// KL: func.func @gradients
// KL-SAME: tensor<2x5x2xf32> {lm.name = "teacher_logits", lm.role = "label"}
// KL-SAME: tensor<f32> {lm.default = 1.000000e+00 : f64, lm.name = "temperature", lm.role = "hyper"}
// UNKNOWN: expected a loss cross_entropy, causal, bce, mse, span, kl or contrastive, but got hinge
// GLOB: -trainable: no weight matches '*.weigth'; near names are classifier.weight
func.func @main(%x: tensor<2x5x4xf32> {lm.name = "x"}) -> (tensor<2x5x2xf32> {lm.name = "logits"}) {
  %w = lm.weight "classifier.weight" from(dense<1.0> : tensor<4x2xf32>) : tensor<4x2xf32>
  %y = lm.linear %x, %w : (tensor<2x5x4xf32>, tensor<4x2xf32>) -> tensor<2x5x2xf32>
  return %y : tensor<2x5x2xf32>
}
