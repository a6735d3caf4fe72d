#include "ModelBuilder.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <fstream>

using namespace llmopt;
using namespace llmopt::testing;

TempDir::TempDir() {
  llvm::SmallString<128> name;
  llvm::sys::fs::createUniqueDirectory("llmopt-import", name);
  path = name.str().str();
}

TempDir::~TempDir() { llvm::sys::fs::remove_directories(path); }

std::string TempDir::write(const std::string &name, const std::string &bytes) const {
  // Truncating what was just written makes some file systems wait for the disk.
  llvm::sys::fs::remove(file(name));
  std::ofstream(file(name), std::ios::binary) << bytes;
  return file(name);
}

ModelBuilder::ModelBuilder(int64_t opset) {
  model.set_ir_version(8);
  model.add_opset_import()->set_version(opset);
  model.mutable_graph()->set_name("test");
}

static void setType(onnx::ValueInfoProto &info, int type, const ModelBuilder::Dims *dims) {
  auto *tensor = info.mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(type);
  if (!dims)
    return;
  auto *shape = tensor->mutable_shape();
  for (const std::string &dim : *dims) {
    int64_t number;
    auto *d = shape->add_dim();
    if (!llvm::StringRef(dim).getAsInteger(10, number))
      d->set_dim_value(number);
    else if (!dim.empty())
      d->set_dim_param(dim);
  }
}

ModelBuilder &ModelBuilder::input(const std::string &name, const Dims &dims, int type) {
  auto *info = model.mutable_graph()->add_input();
  info->set_name(name);
  setType(*info, type, &dims);
  return *this;
}

ModelBuilder &ModelBuilder::output(const std::string &name, int type) {
  auto *info = model.mutable_graph()->add_output();
  info->set_name(name);
  setType(*info, type, nullptr);
  return *this;
}

onnx::NodeProto &ModelBuilder::node(const std::string &op, const std::vector<std::string> &inputs,
                                    const std::vector<std::string> &outputs, const std::string &name) {
  auto *node = model.mutable_graph()->add_node();
  node->set_op_type(op);
  node->set_name(name);
  for (const std::string &i : inputs)
    node->add_input(i);
  for (const std::string &o : outputs)
    node->add_output(o);
  return *node;
}

onnx::TensorProto &ModelBuilder::floats(const std::string &name, const std::vector<int64_t> &dims) {
  auto *tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  int64_t count = 1;
  for (int64_t dim : dims) {
    tensor->add_dims(dim);
    count *= dim;
  }
  tensor->set_raw_data(std::string(count * 4, '\0'));
  return *tensor;
}

ModelBuilder &ModelBuilder::ints(const std::string &name, const std::vector<int64_t> &values) {
  auto *tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::INT64);
  tensor->add_dims(values.size());
  for (int64_t value : values)
    tensor->add_int64_data(value);
  return *this;
}

void llmopt::testing::setInt(onnx::NodeProto &node, const std::string &name, int64_t value) {
  auto *attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

void llmopt::testing::setInts(onnx::NodeProto &node, const std::string &name, const std::vector<int64_t> &values) {
  auto *attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (int64_t value : values)
    attribute->add_ints(value);
}

std::string Imported::text() const { return llvm::join(errors, "\n"); }

std::string Imported::ir() const {
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (module)
    (*module)->print(stream);
  return text;
}

Imported llmopt::testing::importFile(mlir::MLIRContext &context, const std::string &path,
                                     const ONNXImportOptions &options) {
  Imported result;
  auto handler = [&](const ImportMessage &message) {
    EXPECT_EQ(message.text.find('\n'), std::string::npos) << message.text;
    if (message.isError)
      result.errors.push_back(message.text);
  };
  auto module = importONNX(&context, path, options, handler);
  EXPECT_EQ(mlir::failed(module), !result.errors.empty());
  if (mlir::succeeded(module))
    result.module = std::move(*module);
  return result;
}
