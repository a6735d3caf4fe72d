// Which converter imports which operator. To add one: write a `void (Node &)` in
// the file of its family and name it in that file's add...Ops().
#ifndef LLMOPT_IMPORT_ONNX_OPTABLE_H
#define LLMOPT_IMPORT_ONNX_OPTABLE_H

#include "Node.h"

#include "llmopt/Import/ONNX/Import.h"

namespace llmopt::onnx_import {

constexpr llvm::StringLiteral kOnnx = "";
constexpr llvm::StringLiteral kMicrosoft = "com.microsoft";
/// The newest operator set of ai.onnx that the converters have been checked with.
constexpr int64_t kNewestOpset = 28;

using Converter = void (*)(Node &);

class OpTable {
public:
  static const OpTable &get();

  /// `since` and `until` are versions of the domain's operator set, inclusive.
  void add(llvm::StringRef domain, llvm::StringRef op, Converter converter, int64_t since = 1,
           int64_t until = INT64_MAX);
  /// Null where there is none.
  Converter find(llvm::StringRef domain, llvm::StringRef op, int64_t version) const;
  /// The nearest thing that works instead of an operator, or empty.
  llvm::StringRef remedy(llvm::StringRef domain, llvm::StringRef op) const;
  /// Every operator, sorted.
  std::vector<ONNXOperator> list() const;

private:
  struct Entry {
    Converter converter;
    int64_t since, until;
  };
  llvm::StringMap<llvm::SmallVector<Entry, 1>> entries; // by "domain:op"
};

void addActivationOps(OpTable &table);
void addAttentionOps(OpTable &table);
void addBitOps(OpTable &table);
void addConstantOps(OpTable &table);
void addContribAttentionOps(OpTable &table);
void addContribOps(OpTable &table);
void addContribQuantOps(OpTable &table);
void addControlOps(OpTable &table);
void addConvOps(OpTable &table);
void addConvTransposeOps(OpTable &table);
void addEinsumOps(OpTable &table);
void addElementwiseOps(OpTable &table);
void addExpertOps(OpTable &table);
void addGatherOps(OpTable &table);
void addGroupQueryOps(OpTable &table);
void addGridOps(OpTable &table);
void addIndexOps(OpTable &table);
void addLinearAlgebraOps(OpTable &table);
void addLossOps(OpTable &table);
void addMatmulOps(OpTable &table);
void addNormOps(OpTable &table);
void addQLinearOps(OpTable &table);
void addPoolOps(OpTable &table);
void addPositionBiasOps(OpTable &table);
void addQuantOps(OpTable &table);
void addRandomOps(OpTable &table);
void addRecurrentOps(OpTable &table);
void addReduceOps(OpTable &table);
void addResizeOps(OpTable &table);
void addSelectOps(OpTable &table);
void addShapeOps(OpTable &table);
void addSignalOps(OpTable &table);
void addSliceOps(OpTable &table);
void addStatefulOps(OpTable &table);

/// Ops/UnsupportedOps.cpp
llvm::StringRef getRemedy(llvm::StringRef domain, llvm::StringRef op);

} // namespace llmopt::onnx_import

#endif
