// Walks graphs and model-local functions and hands every node to its converter.
#ifndef LLMOPT_IMPORT_ONNX_GRAPHIMPORTER_H
#define LLMOPT_IMPORT_ONNX_GRAPHIMPORTER_H

#include "Diagnostics.h"
#include "ModelFile.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

#include <set>

namespace llmopt::onnx_import {

using lm::SymExpr;

/// The names visible to the nodes of one graph or function body.
struct Scope {
  /// The surrounding graph, whose names a subgraph sees. Null for functions.
  const Scope *parent = nullptr;
  /// A null value is one whose node could not be imported (already reported).
  llvm::StringMap<mlir::Value> values;
  /// Initializers that cannot be read, with the reason; reported when used.
  llvm::StringMap<std::string> broken;
  std::map<std::string, int64_t> opsets;
  /// What nodes of this graph read, their subgraphs included.
  std::set<std::string> read;
  /// Put before node names: the call sites of inlined functions.
  std::string prefix;
  /// The module that calls this function ("encoder.layer.0").
  std::string module;
  unsigned depth = 0;
};

class Node;

class GraphImporter {
public:
  GraphImporter(mlir::MLIRContext *context, ModelFile &file, const ONNXImportOptions &options, Reporter &reporter)
      : context(context), file(file), options(options), reporter(reporter), builder(context) {}

  /// Null after errors, which have been reported.
  mlir::OwningOpRef<mlir::ModuleOp> run();

  //===--- for Node and the converters -------------------------------------===//

  /// Whether the current place is in @main itself, not in a branch or loop.
  bool isInEntry() const { return builder.getInsertionBlock() == entry; }
  /// Imports a subgraph at the current place, its inputs being these; its outputs.
  std::optional<llvm::SmallVector<mlir::Value>> importSubgraph(const onnx::GraphProto &graph, const Scope &parent,
                                                               llvm::ArrayRef<mlir::Value> inputs = {});
  /// Runs `body` with `block` as the current place. What must hold for it to be
  /// right goes to `asked`, and operations that nobody uses are erased.
  void inRegion(mlir::Block &block, std::set<std::string> &asked, llvm::function_ref<void()> body);
  /// A tensor as constant or weight. Null and `error` where it cannot be read.
  /// `isNode`: the tensor of a Constant node, where few elements are a constant.
  mlir::Value makeTensor(const onnx::TensorProto &tensor, llvm::StringRef name, bool isNode, mlir::Location loc,
                         std::string &error);
  /// Notes what must hold for the import to be right ("sequence <= 512").
  void addConstraint(const SymExpr &low, const SymExpr &high) {
    constraints.insert(low.str() + " <= " + high.str());
    slacks.push_back(high - low);
  }
  /// Whether `size` is never negative, by itself or by what has been noted so far.
  bool isNeverNegative(const SymExpr &size) const;
  /// A free name for a size that depends on data ("count_indices").
  std::string nameCount(llvm::StringRef hint);
  /// `symbol` stands for `number` from the current place on, and is at most `size`.
  void addCount(llvm::StringRef symbol, mlir::Value number, const SymExpr &size);
  /// The symbol that stands for the number already, where it can be seen from the
  /// current place; else empty.
  std::string findCount(mlir::Value number) const;
  /// How many sizes depend on data so far, and whether one of the later ones is in
  /// `size`.
  size_t getNumCounts() const { return counts.size(); }
  bool mentionsCountsSince(const SymExpr &size, size_t first) const;
  /// `size` in terms of input dimensions: with every count as large as it can be.
  SymExpr boundCounts(const SymExpr &size) const;

  mlir::MLIRContext *context;
  ModelFile &file;
  const ONNXImportOptions &options;
  Reporter &reporter;
  mlir::OpBuilder builder;
  /// What MLIR said last (verifiers, inference).
  std::string lastDiagnostic;

private:
  // Import.cpp
  bool importInputs(Scope &scope, llvm::SmallVectorImpl<std::string> &argNames);
  bool importOutputs(Scope &scope, mlir::func::FuncOp function, llvm::ArrayRef<std::string> argNames);
  void setModuleAttributes(mlir::ModuleOp module);
  // GraphImporter.cpp
  void addInitializers(const onnx::GraphProto &graph, Scope &scope);
  bool importNodes(const google::protobuf::RepeatedPtrField<onnx::NodeProto> &nodes, Scope &scope);
  void importNode(const onnx::NodeProto &proto, Scope &scope);
  enum class Lookup { Found, Poisoned, Undefined };
  Lookup lookup(llvm::StringRef name, const Scope &scope, mlir::Value &value);
  void defineOutputs(const onnx::NodeProto &proto, Scope &scope, llvm::ArrayRef<mlir::Value> values);
  mlir::Location locationOf(const onnx::NodeProto &proto, const Scope &scope, int64_t version);
  // Functions.cpp
  const onnx::FunctionProto *findFunction(const onnx::NodeProto &proto);
  void inlineFunction(const onnx::FunctionProto &function, Node &node);

  std::set<std::string> constraints;
  std::vector<SymExpr> slacks; // of `constraints` that hold at the current place, each at least 0
  llvm::StringMap<SymExpr> countBounds;
  struct Count {
    std::string symbol;
    mlir::Value number;
    mlir::Block *block; // where it is defined; null once that is done
  };
  std::vector<Count> counts;
  /// Weights by name; `bytes` while they are in a mapped file.
  struct NamedWeight {
    mlir::Value value;
    llvm::ArrayRef<uint8_t> bytes;
  };
  llvm::StringMap<NamedWeight> weights;
  mlir::Block *entry = nullptr; // of @main
  uint64_t numNodes = 0;
};

} // namespace llmopt::onnx_import

#endif
