// Operations with regions: branches and loops.
//
// Regions see the values around them. Symbols of dimensions mean the same
// inside and outside.
#ifndef LLMOPT_LM_CONTROL_OPS
#define LLMOPT_LM_CONTROL_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

class LM_RegionOp<string mnemonic, list<Trait> traits = []>
    : Op<LM_Dialect, mnemonic, !listconcat([RecursiveMemoryEffects, RecursivelySpeculatable, SingleBlock], traits)>;

def LM_YieldOp : LM_Op<"yield", [Terminator, ParentOneOf<["IfOp", "LoopOp"]>]> {
  let summary = "the values of a region";
  let arguments = (ins Variadic<LM_RankedTensor>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def LM_IfOp : LM_RegionOp<"if"> {
  let summary = "one of two regions";
  let description = [{
    A dimension that differs between the branches is unknown in the result.
    `lm.then_constraints` and `lm.else_constraints` (arrays of strings, see
    `lm.constraints`) must hold only where the branch is taken.

    - (C1) `condition` has one element.
    - (C2) both regions yield as many values as there are results, compatible with
      their types.
  }];
  let arguments = (ins LM_BoolTensor:$condition);
  let results = (outs Variadic<LM_RankedTensor>:$results);
  let regions = (region SizedRegion<1>:$then_region, SizedRegion<1>:$else_region);
  let assemblyFormat = [{
    $condition attr-dict-with-keyword `:` functional-type(operands, results) $then_region `else` $else_region
  }];
  let hasVerifier = 1;
  let hasCanonicalizeMethod = 1;
}

def LM_LoopOp : LM_RegionOp<"loop", [AttrSizedOperandSegments]> {
  let summary = "a region that is repeated (ONNX Loop and Scan)";
  let description = [{
    The region takes the number of the iteration (a scalar i64) and the states; it
    yields whether to go on (one bool), the next states and the rows of the scan
    outputs. Results are the last states, then the scan outputs: iteration i writes
    row i, or row n-1-i where `reverse_rows` says so. The region runs while the
    number is below `trip_count` and the condition holds; either may be absent.

    - (C1) `trip_count` is an i64 of one element, `condition` a bool of one.
    - (C2) block arguments are a scalar i64, then of the types of `inits`.
    - (C3) the region yields a bool of one element, the states in compatible types,
      and for each further result a row: its type without the first dimension.
    - (C4) `reverse_rows` has one entry per scan output; rows are reversed only
      where the trip count is known from shapes and the condition is constant.
  }];
  let arguments = (ins Optional<LM_IntTensor>:$trip_count, Optional<LM_BoolTensor>:$condition,
                       Variadic<LM_RankedTensor>:$inits, DenseBoolArrayAttr:$reverse_rows);
  let results = (outs Variadic<LM_RankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`trip` $trip_count^)? (`while` $condition^)? `init` `(` $inits `)` `reverse` $reverse_rows
    attr-dict-with-keyword `:` functional-type(operands, results) $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    unsigned getNumStates() { return getInits().size(); }
    unsigned getNumScans() { return getNumResults() - getNumStates(); }
    /// The trip count where shapes give it; unknown() where it depends on data,
    /// and where there is none.
    ::llmopt::lm::SymExpr getKnownTrips();
    /// Whether the loop may end before the trip count is reached.
    bool mayStopEarly();
  }];
}

#endif
