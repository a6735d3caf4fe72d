// ONNX models as modules of the lm dialect.
//
// The module holds one function, @main. Its arguments and results carry their
// ONNX names (`lm.name`), the module the model's facts (`lm.opset_imports`,
// `lm.ir_version`, `lm.producer`, `lm.model_name`). What must hold of shape
// symbols for the module to be right, beyond what types say, stands in @main's
// `lm.constraints`, an array of strings such as "sequence <= 512". `lm.generation` of
// the module holds what a search around the imported decoder said, by ONNX Runtime's names.
#ifndef LLMOPT_IMPORT_ONNX_IMPORT_H
#define LLMOPT_IMPORT_ONNX_IMPORT_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace llmopt {

struct ONNXImportOptions {
  /// Dimensions of inputs that replace what the model declares, as texts:
  /// {"input_ids": {"1", "128"}} or {"batch", "128"}. Gives a shape to inputs
  /// that declare none.
  std::map<std::string, std::vector<std::string>> inputShapes;
  /// Inputs that are known when compiling; they are no arguments of @main.
  std::map<std::string, mlir::DenseElementsAttr> inputValues;
  /// Of a model that is a search (com.microsoft.BeamSearch and its like): which of
  /// its graphs to import; empty: the decoder.
  std::string subgraph;
  /// Makes every dimension of every input a symbol of its own (for tests).
  bool forgetStaticDims = false;
  /// By input, dimensions that stay numbers all the same; -1 is the last one.
  std::map<std::string, std::set<int64_t>> keptDims;
};

/// One problem (or warning, or remark), as one line without a final newline.
struct ImportMessage {
  bool isError;
  std::string text;
  bool isRemark = false;
};
using ImportMessageHandler = llvm::function_ref<void(const ImportMessage &)>;

/// Imports a model file. Weights stay in their files (`#lm.file`, absolute
/// paths), so they must neither move nor change while the module is in use.
/// On failure at least one error has been handed to `handler`; unsupported
/// operators are all reported, one line per kind.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>> importONNX(mlir::MLIRContext *context, llvm::StringRef path,
                                                              const ONNXImportOptions &options,
                                                              ImportMessageHandler handler);

/// An operator that the importer knows.
struct ONNXOperator {
  std::string domain; ///< empty: ai.onnx
  std::string name;
  std::string versions; ///< of the domain's operator set: "1 to 28", "13 to 28", "1"
};

/// All of them, by domain and name.
std::vector<ONNXOperator> listONNXOperators();

/// The names of a model's inputs, in order; those with an initializer are none.
/// `subgraph` as in ONNXImportOptions.
mlir::FailureOr<std::vector<std::string>> listONNXInputs(llvm::StringRef path, std::string &error,
                                                         llvm::StringRef subgraph = "");

/// Reads one serialized TensorProto (ONNX's test data) of at most 256 MB.
/// Returns null and sets `error` where it is not one of numbers.
mlir::DenseElementsAttr readONNXTensor(mlir::MLIRContext *context, llvm::StringRef path, std::string &error);

} // namespace llmopt

#endif
