// What the importer says to people: one printable line per problem, and one
// line per kind of unsupported operator, however often it occurs.
#ifndef LLMOPT_IMPORT_ONNX_DIAGNOSTICS_H
#define LLMOPT_IMPORT_ONNX_DIAGNOSTICS_H

#include "llmopt/Import/ONNX/Import.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/Twine.h"

#include <memory>
#include <set>

namespace llmopt::onnx_import {

/// `text` on one line: control characters and bytes that are not ASCII escaped,
/// shortened in the middle beyond `limit` characters.
std::string printable(llvm::StringRef text, size_t limit = 200);

/// "ai.onnx.MatMul" for domain "" and "ai.onnx", else "domain.op".
std::string qualifiedName(llvm::StringRef domain, llvm::StringRef opType);

class Reporter {
public:
  Reporter(std::string file, ImportMessageHandler handler) : file(std::move(file)), handler(handler) {}

  /// "<file>: <text>". Beyond 20 errors they are only counted.
  void error(const llvm::Twine &text);
  /// "<where>: <text>", unless `text` has been reported so before: one line for
  /// a missing file, not one for each of its tensors.
  void errorOnce(const std::string &text, const llvm::Twine &where);
  void warning(const llvm::Twine &text);
  void remark(const llvm::Twine &text);
  /// Notes one more node of an unsupported kind. `kind` is what is unsupported
  /// ("ai.onnx.TopK"), `remedy` the nearest thing that works, or empty.
  void unsupported(llvm::StringRef kind, int64_t opset, llvm::StringRef node, llvm::StringRef remedy);
  /// Notes a file of external data that is missing; they share one line.
  void missingFile(llvm::StringRef name) { missingFiles.insert(name.str()); }
  /// Reports what has been noted. Call once, at the end.
  void finish();

  bool hasErrors() const { return numErrors != 0 || !kinds.empty() || !missingFiles.empty(); }

private:
  struct Kind {
    int64_t opset;
    std::string node, remedy;
    unsigned count;
  };
  std::string file;
  ImportMessageHandler handler;
  unsigned numErrors = 0;
  std::set<std::string> reported, missingFiles;
  llvm::MapVector<llvm::StringRef, Kind> kinds;
  std::vector<std::unique_ptr<std::string>> kindNames;
};

} // namespace llmopt::onnx_import

#endif
