// Models that are a search over a decoder (com.microsoft.BeamSearch and its like):
// what is imported is the decoder, and a loop outside searches.
#ifndef LLMOPT_IMPORT_ONNX_SEARCHES_H
#define LLMOPT_IMPORT_ONNX_SEARCHES_H

#include "ModelFile.h"

#include "mlir/IR/BuiltinAttributes.h"

namespace llmopt::onnx_import {

struct UnwrappedSearch {
  std::string op;       ///< "BeamSearch"; empty: the model is none
  std::string subgraph; ///< "decoder"
  /// What the node says about the search: numbers by ONNX Runtime's names.
  mlir::DictionaryAttr settings;
};

/// Puts the graph that attribute `subgraph` (empty: the decoder) of the search holds
/// in the place of the model's graph, with the initializers around it. Returns false
/// and sets `error` where there is none of this name, or `subgraph` names one of a
/// model that is no search.
bool unwrapSearch(mlir::MLIRContext *context, ModelFile &file, llvm::StringRef subgraph, UnwrappedSearch &search,
                  std::string &error);

} // namespace llmopt::onnx_import

#endif
