#include "GraphExporter.h"
#include "OpTable.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_export;

/// The version of the file format that came with an operator set.
static int64_t getIRVersion(int64_t opset) {
  return opset <= 18 ? 8 : opset <= 20 ? 9 : opset <= 22 ? 10 : opset == 23 ? 11 : opset == 24 ? 12 : 13;
}

//===- Names and problems ------------------------------------------------------------===//

Name GraphExporter::unique(StringRef text) {
  Name name = text.str();
  for (unsigned i = 1; !taken.insert(name).second; ++i)
    name = (text + "_" + Twine(i)).str();
  return name;
}

void GraphExporter::error(Operation *op, const Twine &text) {
  failed = true;
  std::string message = text.str();
  if (reported.insert(op->getName().getStringRef().str() + message).second)
    op->emitError(message);
}

//===- Values ----------------------------------------------------------------------------===//

Name GraphExporter::get(Value value) {
  auto it = values.find(value);
  if (it != values.end())
    return it->second;
  Operation *def = value.getDefiningOp();
  if (auto weight = dyn_cast_or_null<lm::WeightOp>(def)) {
    addWeight(weight);
  } else if (auto constant = dyn_cast_or_null<lm::ConstantOp>(def)) {
    auto elements = dyn_cast<ElementsAttr>(constant.getValue());
    auto name = dyn_cast<NameLoc>(constant.getLoc());
    if (elements && !isa<lm::SymValuesAttr>(constant.getValue()))
      set(value, this->constant(elements, name ? name.getName().getValue() : "constant"));
    else
      return symbolic(constant);
  } else if (def) {
    addDerived(def);
  }
  return values.lookup(value); // empty behind an error
}

void GraphExporter::addWeight(lm::WeightOp weight) {
  onnx::TensorProto *tensor = root->add_initializer();
  tensor->set_name(unique(weight.getName()));
  require(getOpsetOf(weight.getType().getElementType()));
  if (llvm::Error problem = weights.fill(*tensor, weight))
    error(weight, llvm::toString(std::move(problem)));
  set(weight, tensor->name());
}

// Made where it is read, outside of regions.
void GraphExporter::addDerived(Operation *op) {
  if (!derived.contains(op))
    return; // its operation has failed
  if (!derived.isSmaller(op)) {
    onnx::GraphProto *outer = std::exchange(current, root);
    lm::NodeInfo caller = origin;
    emit(op);
    current = outer;
    origin = caller;
    return;
  }
  onnx::TensorProto *tensor = root->add_initializer();
  tensor->set_name(unique(derived.getName(op)));
  set(op->getResult(0), tensor->name());
  llvm::Expected<lm::Tensor> contents = derived.evaluate(op);
  llvm::Error problem = contents ? weights.fill(*tensor, *contents) : contents.takeError();
  if (problem)
    error(op, llvm::toString(std::move(problem)));
}

void GraphExporter::describe(onnx::ValueInfoProto &info, Type type, const Name &name) {
  info.set_name(name);
  auto *tensor = info.mutable_type()->mutable_tensor_type();
  Type element = cast<RankedTensorType>(type).getElementType();
  require(getOpsetOf(element));
  tensor->set_elem_type(getDataType(element));
  auto *shape = tensor->mutable_shape();
  for (const SymExpr &dim : lm::getDims(type)) {
    auto *entry = shape->add_dim();
    if (std::optional<int64_t> number = dim.getConstant())
      entry->set_dim_value(*number);
    else if (!dim.isUnknown())
      entry->set_dim_param(dim.str());
  }
}

void GraphExporter::addInput(onnx::GraphProto &graph, Value value, const Name &name) {
  describe(*graph.add_input(), value.getType(), name);
  set(value, name);
}

//===- Nodes ---------------------------------------------------------------------------------===//

static void fill(onnx::AttributeProto &proto, const Attr &attr) {
  proto.set_name(attr.name.str());
  if (auto *number = std::get_if<int64_t>(&attr.value)) {
    proto.set_type(onnx::AttributeProto::INT);
    proto.set_i(*number);
  } else if (auto *real = std::get_if<double>(&attr.value)) {
    proto.set_type(onnx::AttributeProto::FLOAT);
    proto.set_f(static_cast<float>(*real));
  } else if (auto *text = std::get_if<std::string>(&attr.value)) {
    proto.set_type(onnx::AttributeProto::STRING);
    proto.set_s(*text);
  } else {
    proto.set_type(onnx::AttributeProto::INTS);
    for (int64_t number : std::get<Ints>(attr.value))
      proto.add_ints(number);
  }
}

// A node of an operation that becomes several is called after what it does.
static std::string nodeName(StringRef origin, StringRef type) {
  StringRef last = origin.rsplit('/').second.empty() ? origin : origin.rsplit('/').second;
  return last.contains(type) ? origin.str() : (origin + "/" + type).str();
}

onnx::NodeProto *GraphExporter::addNode(StringRef type, ArrayRef<Name> inputs, unsigned outputs, ArrayRef<Attr> attrs,
                                        int64_t since) {
  require(since);
  onnx::NodeProto *node = current->add_node();
  node->set_op_type(type.str());
  node->set_name(unique(nodeName(origin.node, type)));
  for (const Name &input : inputs)
    node->add_input(input);
  int least = type == "Loop" ? 2 : 0; // these are there, if only by an empty name
  while (node->input_size() > least && node->input(node->input_size() - 1).empty())
    node->mutable_input()->RemoveLast();
  for (unsigned i = 0; i < outputs; ++i)
    node->add_output(unique(node->name() + "_output_" + std::to_string(i)));
  for (const Attr &attr : attrs)
    fill(*node->add_attribute(), attr);
  if (!origin.module.empty()) {
    // As PyTorch writes it, for those who name modules.
    onnx::StringStringEntryProto *entry = node->add_metadata_props();
    entry->set_key("namespace");
    entry->set_value(": /" + origin.module + ": /" + type.str());
  }
  return node;
}

void GraphExporter::exportOp(Operation *op) {
  if (isa<lm::ConstantOp, lm::WeightOp, lm::YieldOp, func::ReturnOp>(op))
    return; // where they are used
  if (derived.contains(op))
    return;
  emit(op);
}

void GraphExporter::emit(Operation *op) {
  Emitter emitter = OpTable::get().find(op->getName().getStringRef());
  if (!emitter)
    return error(op, op->getName().getStringRef() + " has no ONNX form");
  for (Type type : op->getResultTypes()) {
    Type element = cast<RankedTensorType>(type).getElementType();
    if (getDataType(element) == onnx::TensorProto::UNDEFINED)
      return error(op, op->getName().getStringRef() + " has a result type without ONNX form");
    require(getOpsetOf(element));
  }
  SmallVector<lm::NodeInfo> nodes = lm::getNodes(op->getLoc());
  origin = nodes.empty() ? lm::NodeInfo{op->getName().stripDialect().str(), "", 0, ""} : nodes.front();
  origin.module = lm::getModulePath(op);
  OpWriter writer(*this, op);
  emitter(writer);
}

void GraphExporter::exportBlock(Block &block) {
  for (Operation &op : block)
    exportOp(&op);
}

void GraphExporter::exportRegion(Block &block, onnx::GraphProto &graph) {
  onnx::GraphProto *outer = std::exchange(current, &graph);
  graph.set_name(unique("region"));
  for (BlockArgument argument : block.getArguments())
    addInput(graph, argument, unique("argument"));
  exportBlock(block);
  origin = {"yield", "", 0, ""};
  // Outputs of a subgraph are results of nodes of its own, each with its name.
  for (Value value : block.getTerminator()->getOperands())
    describe(*graph.add_output(), value.getType(), addNode("Identity", {get(value)}, 1, {}, 1)->output(0));
  current = outer;
}

onnx::NodeProto *GraphExporter::addMicrosoftNode(StringRef type, ArrayRef<Name> inputs, ArrayRef<Attr> attrs) {
  usesMicrosoft = true;
  onnx::NodeProto *node = addNode(type, inputs, 1, attrs, kLowestOpset);
  node->set_domain("com.microsoft");
  return node;
}

Name GraphExporter::addTensor(Operation *source, const lm::Tensor &contents, StringRef suffix, Operation *where) {
  auto weight = dyn_cast<lm::WeightOp>(source);
  std::string base = weight ? weight.getName().str() : derived.getName(source);
  onnx::TensorProto *tensor = root->add_initializer();
  tensor->set_name(unique(base + suffix.str()));
  if (llvm::Error problem = weights.fill(*tensor, contents))
    error(where, llvm::toString(std::move(problem)));
  return tensor->name();
}

//===- The function ------------------------------------------------------------------------===//

static void rename(onnx::GraphProto &graph, const llvm::StringMap<Name> &names) {
  auto replace = [&](std::string &text) {
    auto it = names.find(text);
    if (it != names.end())
      text = it->second;
  };
  for (onnx::NodeProto &node : *graph.mutable_node()) {
    llvm::for_each(*node.mutable_input(), replace);
    llvm::for_each(*node.mutable_output(), replace);
    for (onnx::AttributeProto &attribute : *node.mutable_attribute())
      if (attribute.has_g())
        rename(*attribute.mutable_g(), names);
  }
}

// Results take the names of outputs; what is no result of a node, or an output
// already, is copied.
void GraphExporter::addOutputs() {
  Operation *end = function.getBody().front().getTerminator();
  for (Value value : end->getOperands())
    get(value);
  llvm::StringSet<> made;
  for (const onnx::NodeProto &node : root->node())
    for (const std::string &output : node.output())
      made.insert(output);
  llvm::StringMap<Name> renamed;
  for (auto [i, value] : llvm::enumerate(end->getOperands())) {
    Name output = function.getResultAttrOfType<StringAttr>(i, "lm.name").str(), name = get(value);
    describe(*root->add_output(), value.getType(), output);
    if (name == output)
      continue;
    if (made.contains(name) && renamed.try_emplace(name, output).second)
      continue;
    origin = {output, "", 0, ""};
    *addNode("Identity", {name}, 1, {}, 1)->mutable_output(0) = output;
  }
  rename(*root, renamed);
}

void GraphExporter::setOpset() {
  onnx::OperatorSetIdProto *set = model.add_opset_import();
  set->set_domain("");
  set->set_version(opset);
  if (usesMicrosoft) {
    onnx::OperatorSetIdProto *microsoft = model.add_opset_import();
    microsoft->set_domain("com.microsoft");
    microsoft->set_version(1);
  }
  model.set_ir_version(getIRVersion(opset));
}

LogicalResult GraphExporter::run() {
  for (auto [i, argument] : llvm::enumerate(function.getArguments())) {
    auto name = function.getArgAttrOfType<StringAttr>(i, "lm.name");
    if (!name)
      return function.emitError("expected names of inputs");
    taken.insert(name.getValue());
    addInput(*root, argument, name.str());
  }
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    auto name = function.getResultAttrOfType<StringAttr>(i, "lm.name");
    if (!name)
      return function.emitError("expected names of outputs");
    taken.insert(name.getValue());
  }
  exportBlock(function.getBody().front());
  if (!failed)
    addOutputs();
  setOpset();
  return success(!failed);
}
