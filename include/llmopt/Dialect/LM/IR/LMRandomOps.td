// Random numbers: a function of seed and position, so that they depend on
// neither threads nor tiles, and every run of an artefact draws the same ones.
#ifndef LLMOPT_LM_RANDOM_OPS
#define LLMOPT_LM_RANDOM_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_RandomBitsOp : LM_Op<"random_bits"> {
  let summary = "64 random bits for every element, of a counter-based generator";
  let description = [{
    Element i (row major) is the output function of SplitMix64 (Steele, Lea and
    Flood 2014) of seed + (i + 1) 0x9E3779B97F4A7C15, modulo 2^64.

    - (C1) the result is ui64.
  }];
  let arguments = (ins I64Attr:$seed);
  let results = (outs LM_IntTensor:$result);
  let hasVerifier = 1;
}

#endif
