#include "Searches.h"

#include "Diagnostics.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::onnx_import;

/// The inputs of the operator that are numbers, by name; empty names are others.
static llvm::ArrayRef<const char *> getNumberInputs(llvm::StringRef op) {
  static const char *const beams[] = {
      "", "max_length", "min_length", "num_beams", "num_return_sequences", "length_penalty", "repetition_penalty"};
  static const char *const greedy[] = {"", "max_length", "min_length", "repetition_penalty"};
  return op.contains("Beam") ? llvm::ArrayRef(beams) : llvm::ArrayRef(greedy);
}

static bool isSearch(const onnx::NodeProto &node) {
  auto isGraph = [](const onnx::AttributeProto &attribute) { return attribute.has_g(); };
  return node.domain() == "com.microsoft" && llvm::any_of(node.attribute(), isGraph) &&
         llvm::StringSwitch<bool>(node.op_type())
             .Cases({"BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"}, true)
             .Default(false);
}

/// Its one number; nullopt for anything else.
static std::optional<double> readNumber(mlir::MLIRContext *context, ModelFile &file, const onnx::TensorProto &tensor) {
  TensorData data;
  std::string ignored;
  if (!file.readTensor(context, tensor, data, ignored) || data.type.getNumElements() != 1)
    return std::nullopt;
  mlir::DenseElementsAttr dense = toDense(data);
  if (auto ints = llvm::dyn_cast<mlir::DenseIntElementsAttr>(dense))
    return static_cast<double>((*ints.begin()).getSExtValue());
  auto floats = llvm::dyn_cast<mlir::DenseFPElementsAttr>(dense);
  if (!floats)
    return std::nullopt;
  llvm::APFloat value = *floats.begin();
  bool lost = false;
  value.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &lost);
  return value.convertToDouble();
}

static mlir::DictionaryAttr readSettings(mlir::MLIRContext *context, ModelFile &file, const onnx::NodeProto &node,
                                         const onnx::GraphProto &graph) {
  mlir::Builder builder(context);
  mlir::NamedAttrList settings;
  auto add = [&](llvm::StringRef name, double value) {
    if (!std::isfinite(value))
      return;
    bool isInteger = value == std::floor(value) && std::fabs(value) < 1e15;
    settings.set(name, isInteger ? mlir::Attribute(builder.getI64IntegerAttr(static_cast<int64_t>(value)))
                                 : builder.getF64FloatAttr(value));
  };
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    bool known = llvm::StringSwitch<bool>(attribute.name())
                     .Cases({"eos_token_id", "pad_token_id", "decoder_start_token_id", "vocab_size"}, true)
                     .Cases({"no_repeat_ngram_size", "temperature", "top_p"}, true)
                     .Default(false);
    if (known)
      add(attribute.name(),
          attribute.type() == onnx::AttributeProto::FLOAT ? attribute.f() : static_cast<double>(attribute.i()));
  }
  llvm::ArrayRef<const char *> names = getNumberInputs(node.op_type());
  for (int i = 0; i < node.input_size() && i < static_cast<int>(names.size()); ++i)
    for (const onnx::TensorProto &tensor : graph.initializer())
      if (*names[i] && !node.input(i).empty() && tensor.name() == node.input(i))
        if (std::optional<double> value = readNumber(context, file, tensor))
          add(names[i], *value);
  return settings.getDictionary(context);
}

bool onnx_import::unwrapSearch(mlir::MLIRContext *context, ModelFile &file, llvm::StringRef subgraph,
                               UnwrappedSearch &search, std::string &error) {
  onnx::GraphProto &graph = *file.mutableModel().mutable_graph();
  auto node = llvm::find_if(graph.node(), isSearch);
  if (node == graph.node().end()) {
    if (!subgraph.empty())
      error = "-subgraph=" + printable(subgraph) +
              ": expected a model that is a BeamSearch, GreedySearch, Sampling or "
              "WhisperBeamSearch, but there is no such node";
    return subgraph.empty();
  }
  llvm::StringRef wanted = subgraph.empty() ? "decoder" : subgraph;
  const onnx::GraphProto *chosen = nullptr;
  llvm::SmallVector<std::string> names;
  for (const onnx::AttributeProto &attribute : node->attribute())
    if (attribute.has_g()) {
      names.push_back(printable(attribute.name()));
      if (attribute.name() == wanted)
        chosen = &attribute.g();
    }
  if (!chosen) {
    llvm::sort(names);
    error = "expected -subgraph=" + llvm::join(names, " or ") + ", a graph of " + node->op_type() + ", but got '" +
            printable(wanted) + "'";
    return false;
  }
  search = {node->op_type(), wanted.str(), readSettings(context, file, *node, graph)};
  // Weights that the graphs of a model share stand around them.
  onnx::GraphProto unwrapped = *chosen;
  std::set<std::string> own;
  for (const onnx::TensorProto &tensor : unwrapped.initializer())
    own.insert(tensor.name());
  for (const onnx::ValueInfoProto &input : unwrapped.input())
    own.insert(input.name());
  for (const onnx::NodeProto &inner : unwrapped.node())
    own.insert(inner.output().begin(), inner.output().end());
  for (const onnx::TensorProto &tensor : graph.initializer())
    if (!own.count(tensor.name()))
      *unwrapped.add_initializer() = tensor;
  graph = std::move(unwrapped);
  return true;
}
