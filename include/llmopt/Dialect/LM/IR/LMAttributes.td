// Attributes and enums of the lm dialect.
#ifndef LLMOPT_LM_ATTRIBUTES
#define LLMOPT_LM_ATTRIBUTES

include "llmopt/Dialect/LM/IR/LMBase.td"
include "mlir/IR/TensorEncoding.td"

class LM_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<LM_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def LM_DimsAttr : LM_Attr<"Dims", "dims",
    [DeclareAttrInterfaceMethods<VerifiableTensorEncoding>]> {
  let summary = "symbolic dimensions of a tensor, as its encoding";
  let description = [{
    One entry per dimension: an integer for a static one, `?` for one of which
    nothing is known, else the text of a SymExpr: `#lm.dims<"batch", 12, ?>`.
    Present only on tensors with a dynamic dimension.
  }];
  let parameters = (ins ArrayRefParameter<"::mlir::StringAttr">:$exprs);
  let hasCustomAssemblyFormat = 1;
}

def LM_SymValuesAttr : LM_Attr<"SymValues", "sym", [TypedAttrInterface]> {
  let summary = "the contents of an integer tensor, as symbolic expressions";
  let description = [{
    Row-major contents of a static integer tensor whose elements depend on shape
    symbols: `#lm.sym<"batch", 12, "sequence"> : tensor<3xi64>`. Produced by
    folding shape computations; evaluated when shapes are bound.
  }];
  let parameters = (ins AttributeSelfTypeParameter<"">:$type,
                        ArrayRefParameter<"::mlir::StringAttr">:$exprs);
  let hasCustomAssemblyFormat = 1;
}

def LM_FileAttr : LM_Attr<"File", "file"> {
  let summary = "the bytes of a tensor, in a file";
  let description = [{
    `bytes` bytes at `offset` of the file `path`, little endian, row major, in the
    element type of the weight. Read through WeightStore, never copied into the IR.
  }];
  let parameters = (ins "::mlir::StringAttr":$path, "uint64_t":$offset, "uint64_t":$bytes);
  let assemblyFormat = "`<` $path `,` $offset `,` $bytes `>`";
}

class LM_Enum<string name, string description, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, description, cases> {
  let cppNamespace = "::llmopt::lm";
  let genSpecializedAttr = 0;
}
class LM_EnumAttr<I32EnumAttr e, string enumMnemonic>
    : EnumAttr<LM_Dialect, e, enumMnemonic> {
  let assemblyFormat = "`<` $value `>`";
}

def LM_DrawKind : LM_Enum<"DrawKind", "how elements of a new weight are drawn", [
  I32EnumAttrCase<"Zeros", 0, "zeros">, I32EnumAttrCase<"Normal", 1, "normal">,
  I32EnumAttrCase<"Uniform", 2, "uniform">]>;

def LM_DrawnAttr : LM_Attr<"Drawn", "drawn"> {
  let summary = "the elements of a weight that no file has";
  let description = [{
    zeros; normal: of mean 0 and standard deviation `scale`; uniform: in [-scale,
    scale). A function of the name of the weight, `seed` and position alone, in
    arithmetic that gives the same bytes on every machine (docs/formats.md).
    `#lm.drawn<normal, 2.0e-2 : f64, 42>`.
  }];
  let parameters = (ins EnumParameter<LM_DrawKind>:$kind, "::mlir::FloatAttr":$scale, "uint64_t":$seed);
  let assemblyFormat = "`<` $kind `,` $scale `,` $seed `>`";
}

def LM_ReduceKind : LM_Enum<"ReduceKind", "how a reduction combines elements", [
  I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Mean", 1, "mean">,
  I32EnumAttrCase<"Max", 2, "max">, I32EnumAttrCase<"Min", 3, "min">,
  I32EnumAttrCase<"Prod", 4, "prod">, I32EnumAttrCase<"L1", 5, "l1">,
  I32EnumAttrCase<"L2", 6, "l2">, I32EnumAttrCase<"SumSquare", 7, "sum_square">,
  I32EnumAttrCase<"LogSum", 8, "log_sum">, I32EnumAttrCase<"LogSumExp", 9, "log_sum_exp">]>;
def LM_ReduceKindAttr : LM_EnumAttr<LM_ReduceKind, "reduce_kind">;

def LM_Predicate : LM_Enum<"Predicate", "comparison", [
  I32EnumAttrCase<"EQ", 0, "eq">, I32EnumAttrCase<"LT", 1, "lt">,
  I32EnumAttrCase<"LE", 2, "le">, I32EnumAttrCase<"GT", 3, "gt">,
  I32EnumAttrCase<"GE", 4, "ge">]>;
def LM_PredicateAttr : LM_EnumAttr<LM_Predicate, "predicate">;

def LM_Rounding : LM_Enum<"Rounding", "which neighbour a conversion takes", [
  I32EnumAttrCase<"Nearest", 0, "nearest">, I32EnumAttrCase<"Up", 1, "up">,
  I32EnumAttrCase<"Down", 2, "down">]>;
def LM_RoundingAttr : LM_EnumAttr<LM_Rounding, "rounding">;

def LM_NormKind : LM_Enum<"NormKind", "which normalisation", [
  I32EnumAttrCase<"Layer", 0, "layer">, I32EnumAttrCase<"RMS", 1, "rms">]>;
def LM_NormKindAttr : LM_EnumAttr<LM_NormKind, "norm_kind">;

def LM_GeluKind : LM_Enum<"GeluKind", "which form of GELU", [
  I32EnumAttrCase<"Erf", 0, "erf">, I32EnumAttrCase<"Tanh", 1, "tanh">,
  I32EnumAttrCase<"Quick", 2, "quick">]>;
def LM_GeluKindAttr : LM_EnumAttr<LM_GeluKind, "gelu_kind">;

def LM_MaskKind : LM_Enum<"MaskKind", "what an attention mask holds", [
  I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Additive", 1, "additive">,
  I32EnumAttrCase<"Boolean", 2, "boolean">, I32EnumAttrCase<"KeyLengths", 3, "key_lengths">]>;
def LM_MaskKindAttr : LM_EnumAttr<LM_MaskKind, "mask_kind">;

def LM_FullyMasked : LM_Enum<"FullyMasked", "what a fully masked attention row gives", [
  I32EnumAttrCase<"NaN", 0, "nan">, I32EnumAttrCase<"Zero", 1, "zero">,
  I32EnumAttrCase<"Source", 2, "source">]>;
def LM_FullyMaskedAttr : LM_EnumAttr<LM_FullyMasked, "fully_masked">;

def LM_AttentionOperand : LM_Enum<"AttentionOperand", "an operand of attention that is differentiated by", [
  I32EnumAttrCase<"Query", 0, "query">, I32EnumAttrCase<"Key", 1, "key">,
  I32EnumAttrCase<"Value", 2, "value">, I32EnumAttrCase<"Mask", 3, "mask">]>;
def LM_AttentionOperandAttr : LM_EnumAttr<LM_AttentionOperand, "attention_operand">;

#endif
