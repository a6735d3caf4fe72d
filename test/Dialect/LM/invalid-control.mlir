// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

// (C1) of lm.if
func.func @condition(%c: tensor<2xi1>, %x: tensor<3xf32>) -> tensor<3xf32> {
  // expected-error @+1 {{expected a condition of one element, but got 'tensor<2xi1>'}}
  %r = lm.if %c : (tensor<2xi1>) -> tensor<3xf32> {
    lm.yield %x : tensor<3xf32>
  } else {
    lm.yield %x : tensor<3xf32>
  }
  return %r : tensor<3xf32>
}

// -----

// (C2) of lm.if
func.func @branches(%c: tensor<i1>, %x: tensor<3xf32>, %y: tensor<4xf32>) -> tensor<3xf32> {
  // expected-error @+1 {{expected branches that give 'tensor<3xf32>', but got 'tensor<4xf32>'}}
  %r = lm.if %c : (tensor<i1>) -> tensor<3xf32> {
    lm.yield %x : tensor<3xf32>
  } else {
    lm.yield %y : tensor<4xf32>
  }
  return %r : tensor<3xf32>
}

// -----

// (C1) of lm.loop
func.func @trip(%n: tensor<i32>, %x: tensor<3xf32>) -> tensor<3xf32> {
  // expected-error @+1 {{expected a trip count of i64, but got 'tensor<i32>'}}
  %r = lm.loop trip %n init(%x) reverse [] : (tensor<i32>, tensor<3xf32>) -> tensor<3xf32> {
  ^bb0(%i: tensor<i64>, %s: tensor<3xf32>):
    %on = lm.constant dense<true> : tensor<i1>
    lm.yield %on, %s : tensor<i1>, tensor<3xf32>
  }
  return %r : tensor<3xf32>
}

// -----

// (C2) of lm.loop
func.func @arguments(%n: tensor<i64>, %x: tensor<3xf32>) -> tensor<3xf32> {
  // expected-error @+1 {{expected a region over the iteration and the states, but got one over 'tensor<3xf32>'}}
  %r = lm.loop trip %n init(%x) reverse [] : (tensor<i64>, tensor<3xf32>) -> tensor<3xf32> {
  ^bb0(%s: tensor<3xf32>):
    %on = lm.constant dense<true> : tensor<i1>
    lm.yield %on, %s : tensor<i1>, tensor<3xf32>
  }
  return %r : tensor<3xf32>
}

// -----

// (C3) of lm.loop
func.func @states(%n: tensor<i64>, %x: tensor<3xf32>) -> tensor<3xf32> {
  // expected-error @+1 {{expected the condition, the states and 0 rows, but got 'tensor<3xf32>'}}
  %r = lm.loop trip %n init(%x) reverse [] : (tensor<i64>, tensor<3xf32>) -> tensor<3xf32> {
  ^bb0(%i: tensor<i64>, %s: tensor<3xf32>):
    lm.yield %s : tensor<3xf32>
  }
  return %r : tensor<3xf32>
}

// -----

// (C4) of lm.loop
func.func @reverse(%n: tensor<i64>, %x: tensor<3xf32>) -> tensor<?x3xf32> {
  // expected-error @+1 {{expected reversed rows only where shapes give the trip count}}
  %r:2 = lm.loop trip %n init(%x) reverse [true] : (tensor<i64>, tensor<3xf32>) -> (tensor<3xf32>, tensor<?x3xf32>) {
  ^bb0(%i: tensor<i64>, %s: tensor<3xf32>):
    %on = lm.constant dense<true> : tensor<i1>
    lm.yield %on, %s, %s : tensor<i1>, tensor<3xf32>, tensor<3xf32>
  }
  return %r#1 : tensor<?x3xf32>
}

// -----

// (C2) of lm.cast
func.func @rounding(%x: tensor<3xf32>) -> tensor<3xf16> {
  // expected-error @+1 {{expected a rounding only to f8E8M0FNU, but got a result of 'tensor<3xf16>'}}
  %r = lm.cast %x {rounding = #lm.rounding<up>} : (tensor<3xf32>) -> tensor<3xf16>
  return %r : tensor<3xf16>
}
