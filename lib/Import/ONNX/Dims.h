// Dimension names of ONNX as shape symbols.
#ifndef LLMOPT_IMPORT_ONNX_DIMS_H
#define LLMOPT_IMPORT_ONNX_DIMS_H

#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include <map>
#include <set>
#include <string>

namespace llmopt::onnx_import {

/// Gives every `dim_param` one symbol. Symbols are identifiers, are not words of
/// the expression syntax, and differ where the names differ.
class SymbolNames {
public:
  /// Declares a name that stands alone as a dimension of some input; call for all
  /// of them before resolve(), so that expressions can refer to them.
  void declare(llvm::StringRef dimParam);
  /// The symbol of a declared name; for a text such as "past + 1" over declared
  /// names the expression; else a symbol of its own for the whole text.
  lm::SymExpr resolve(llvm::StringRef dimParam);
  /// A symbol for a dimension without a name: "<input>_dim<i>".
  lm::SymExpr unnamed(llvm::StringRef input, unsigned i);

private:
  std::string makeUnique(llvm::StringRef text);

  std::map<std::string, std::string> symbols; // by dim_param
  std::set<std::string> taken;
};

/// Whether `text` is an identifier and no word of the expression syntax.
bool isSymbolName(llvm::StringRef text);

} // namespace llmopt::onnx_import

#endif
