// The lm dialect and what all of its operations share.
#ifndef LLMOPT_LM_BASE
#define LLMOPT_LM_BASE

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def LM_Dialect : Dialect {
  let name = "lm";
  let cppNamespace = "::llmopt::lm";
  let summary = "Transformer models, from imported ONNX (L0) to raised operations (L1)";
  let description = [{
    Values are tensors. A dimension is a constant or a polynomial over named
    symbols, kept in the tensor's encoding: `tensor<?x?x768xf32, #lm.dims<"batch",
    "sequence", 768>>`. Signless integers are ONNX's signed ones, `ui8` and so on
    the unsigned ones, `i1` is bool.

    L0 operations have ONNX semantics after version normalisation, one operation
    per meaning. L1 operations (`lm.linear`, `lm.norm`, `lm.gelu`, `lm.attention`,
    `lm.embedding`) are what the Raise passes recognise.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
  let extraClassDeclaration = [{
    /// The mapped files behind `lm.weight` (WeightStore.h).
    ::llmopt::lm::WeightStore &getWeightStore();

  private:
    std::shared_ptr<::llmopt::lm::WeightStore> weightStore;

  public:
  }];
}

// Every tensor is ranked: shapes are symbolic, ranks never are.
def LM_AnyTensor : RankedTensorOf<[AnyFloat, AnySignlessInteger, AnyUnsignedInteger]>;
def LM_FloatTensor : RankedTensorOf<[AnyFloat]>;
def LM_IntTensor : RankedTensorOf<[AnySignlessInteger, AnyUnsignedInteger]>;
def LM_BoolTensor : RankedTensorOf<[I1]>;
def LM_RankedTensor : RankedTensorOf<[AnyFloat, AnySignlessInteger, AnyUnsignedInteger]>;

class LM_Op<string mnemonic, list<Trait> traits = []>
    : Op<LM_Dialect, mnemonic, !listconcat([Pure], traits)> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

// An operation whose result type follows from its operands and attributes. A
// declared type may know more or less about a dimension than the inferred one.
class LM_InferredOp<string mnemonic, list<Trait> traits = []>
    : LM_Op<mnemonic, !listconcat(traits, [InferTypeOpAdaptorWithIsCompatible])> {
  let extraClassDefinition = [{
    bool $cppClass::isCompatibleReturnTypes(::mlir::TypeRange l, ::mlir::TypeRange r) {
      return ::llmopt::lm::areCompatibleTypes(l, r);
    }
  }];
}

#endif
