// Small models made in memory, files in a directory of their own, and imports
// that collect what is said.
#ifndef LLMOPT_TEST_UNIT_IMPORT_MODELBUILDER_H
#define LLMOPT_TEST_UNIT_IMPORT_MODELBUILDER_H

#include "llmopt/Import/ONNX/Import.h"

#include "onnx-ml.pb.h"

#include <gtest/gtest.h>

namespace llmopt::testing {

/// A directory that is removed with its contents.
class TempDir {
public:
  TempDir();
  ~TempDir();
  std::string file(const std::string &name) const { return path + "/" + name; }
  /// Writes a file and returns its path.
  std::string write(const std::string &name, const std::string &bytes) const;
  std::string path;
};

/// Builds a ModelProto. Types are numbers of onnx::TensorProto::DataType.
class ModelBuilder {
public:
  ModelBuilder(int64_t opset = 17);
  using Dims = std::vector<std::string>;
  ModelBuilder &input(const std::string &name, const Dims &dims, int type = onnx::TensorProto::FLOAT);
  ModelBuilder &output(const std::string &name, int type = onnx::TensorProto::FLOAT);
  onnx::NodeProto &node(const std::string &op, const std::vector<std::string> &inputs,
                        const std::vector<std::string> &outputs, const std::string &name = "");
  /// Zeros in raw_data.
  onnx::TensorProto &floats(const std::string &name, const std::vector<int64_t> &dims);
  ModelBuilder &ints(const std::string &name, const std::vector<int64_t> &values);
  std::string bytes() const { return model.SerializeAsString(); }

  onnx::ModelProto model;
};

void setInt(onnx::NodeProto &node, const std::string &name, int64_t value);
void setInts(onnx::NodeProto &node, const std::string &name, const std::vector<int64_t> &values);

/// What an import gave.
struct Imported {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<std::string> errors;
  /// All errors, one per line.
  std::string text() const;
  /// The printed module.
  std::string ir() const;
};

Imported importFile(mlir::MLIRContext &context, const std::string &path, const ONNXImportOptions &options = {});

} // namespace llmopt::testing

#endif
