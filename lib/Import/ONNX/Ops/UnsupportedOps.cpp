// What to do about operators that are not imported.
#include "OpTable.h"

#include "llvm/ADT/StringSwitch.h"

llvm::StringRef llmopt::onnx_import::getRemedy(llvm::StringRef domain, llvm::StringRef op) {
  if (domain == "com.microsoft")
    return llvm::StringSwitch<llvm::StringRef>(op)
        .Cases({"BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"},
               "a search is imported as the graph in its attribute `decoder`, and this one has none")
        .Case("MatMulFpQ4", "import the fp32 model and quantize with -quantize-int8 or -quantize-int4")
        .Cases({"RemovePadding", "RestorePadding"}, "export without packing mode")
        .Default("export without ONNX Runtime's own operators (optimization level 0)");
  if (!domain.empty() && domain != "ai.onnx.ml")
    return "operators of this domain are not known; export it as a model-local function";
  if (domain == "ai.onnx.ml")
    return "keep classical machine-learning steps outside the model";
  return llvm::StringSwitch<llvm::StringRef>(op)
      .Cases({"SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceLength",
              "SequenceMap", "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement",
              "OptionalHasElement"},
             "export with tensors instead of sequences and optional values")
      .Cases({"StringNormalizer", "StringConcat", "StringSplit", "RegexFullMatch", "TfIdfVectorizer"},
             "tokenize outside the model")
      .Default("");
}
