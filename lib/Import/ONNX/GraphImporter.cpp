// Graphs: initializers, the order of nodes, names and locations.
#include "GraphImporter.h"
#include "DataSizes.h"
#include "Node.h"
#include "OpTable.h"
#include "Scopes.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"

#include <queue>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_import;
using onnx::NodeProto;

static constexpr uint64_t kMaxNodes = 4000000;
static constexpr uint64_t kMaxIntegerConstantBytes = 64 << 10;
static constexpr int64_t kMaxNodeConstantElements = 16;

//===- Tensors -------------------------------------------------------------------===//

Value GraphImporter::makeTensor(const onnx::TensorProto &tensor, StringRef name, bool isNode, Location loc,
                                std::string &error) {
  TensorData data;
  if (!file.readTensor(context, tensor, data, error))
    return {};
  int64_t count = data.type.getNumElements();
  bool isFloat = isa<FloatType>(data.type.getElementType());
  bool isWeight = isFloat ? data.type.getRank() >= 1 && !(isNode && count <= kMaxNodeConstantElements)
                          : data.bytes.size() > kMaxIntegerConstantBytes;
  if (!isWeight)
    return lm::ConstantOp::create(builder, loc, toDense(data));
  Attribute source;
  if (!data.path.empty() && count > 1)
    source = lm::FileAttr::get(context, builder.getStringAttr(data.path), data.offset, data.bytes.size());
  else
    source = toDense(data);
  // Subgraphs repeat what others have: branches of one model, unrolled iterations.
  std::string unique = name.str();
  for (unsigned i = 1;; ++i) {
    auto earlier = weights.find(unique);
    if (earlier == weights.end())
      break;
    const NamedWeight &other = earlier->second;
    if (!other.bytes.empty() && !data.path.empty() && other.value.getType() == data.type && other.bytes == data.bytes)
      return other.value;
    unique = (name + "_" + Twine(i)).str();
  }
  // Weights stand outside of regions, where all of these see them.
  OpBuilder::InsertionGuard guard(builder);
  if (builder.getInsertionBlock() != entry)
    builder.setInsertionPointToStart(entry);
  Value weight = lm::WeightOp::create(builder, loc, data.type, builder.getStringAttr(unique), source);
  weights[unique] = {weight, data.path.empty() ? ArrayRef<uint8_t>() : data.bytes};
  return weight;
}

void GraphImporter::addInitializers(const onnx::GraphProto &graph, Scope &scope) {
  for (const onnx::TensorProto &tensor : graph.initializer()) {
    if (scope.values.contains(tensor.name()) || scope.broken.contains(tensor.name())) {
      reporter.error("initializer '" + printable(tensor.name()) + "' is defined twice");
      continue;
    }
    std::string error;
    Location loc = NameLoc::get(builder.getStringAttr(tensor.name()));
    Value value = makeTensor(tensor, scope.prefix + tensor.name(), false, loc, error);
    if (value)
      scope.values[tensor.name()] = value;
    else
      scope.broken[tensor.name()] = error;
  }
  for (const onnx::SparseTensorProto &sparse : graph.sparse_initializer())
    scope.broken[sparse.values().name()] = "sparse initializers are not supported; save them dense";
}

//===- Names -----------------------------------------------------------------------===//

GraphImporter::Lookup GraphImporter::lookup(StringRef name, const Scope &scope, Value &value) {
  for (const Scope *s = &scope; s; s = s->parent) {
    auto it = s->values.find(name);
    if (it != s->values.end()) {
      value = it->second;
      return value ? Lookup::Found : Lookup::Poisoned;
    }
    auto broken = s->broken.find(name);
    if (broken != s->broken.end()) {
      const std::string &reason = broken->second;
      if (ExternalData::isMissing(reason))
        reporter.missingFile(StringRef(reason).split('\'').second.split('\'').first);
      else
        reporter.errorOnce(reason, "initializer '" + printable(name) + "'");
      return Lookup::Poisoned;
    }
  }
  return Lookup::Undefined;
}

void GraphImporter::defineOutputs(const NodeProto &proto, Scope &scope, ArrayRef<Value> values) {
  for (int i = 0; i < proto.output_size(); ++i)
    if (!proto.output(i).empty())
      scope.values[proto.output(i)] = i < static_cast<int>(values.size()) ? values[i] : Value();
}

Location GraphImporter::locationOf(const NodeProto &proto, const Scope &scope, int64_t version) {
  lm::NodeInfo info;
  info.node = scope.prefix + proto.name();
  if (proto.name().empty())
    info.node += proto.op_type() + (proto.output_size() ? ":" + proto.output(0) : "");
  info.op = (proto.domain().empty() ? "ai.onnx" : proto.domain()) + "." + proto.op_type();
  info.version = version;
  info.module = getModuleScope(proto);
  if (info.module.empty())
    info.module = scope.module;
  return lm::getNodeLocation(context, info);
}

//===- Order -----------------------------------------------------------------------===//

// Names that a node reads, in itself or inside its subgraphs.
static void collectInputs(const NodeProto &node, std::set<std::string> &names) {
  for (const std::string &input : node.input())
    if (!input.empty())
      names.insert(input);
  // What a subgraph makes itself hides the same name outside: optimum's merged
  // decoders name results of `If` as the branches name theirs.
  auto enter = [&](const onnx::GraphProto &graph) {
    std::set<std::string> read;
    for (const NodeProto &inner : graph.node())
      collectInputs(inner, read);
    for (const onnx::ValueInfoProto &output : graph.output())
      read.insert(output.name());
    for (const NodeProto &inner : graph.node())
      for (const std::string &output : inner.output())
        read.erase(output);
    for (const onnx::ValueInfoProto &input : graph.input())
      read.erase(input.name());
    for (const onnx::TensorProto &initializer : graph.initializer())
      read.erase(initializer.name());
    names.insert(read.begin(), read.end());
  };
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g())
      enter(attribute.g());
    for (const onnx::GraphProto &graph : attribute.graphs())
      enter(graph);
  }
}

static bool isConstant(const NodeProto &node) {
  return node.op_type() == "Constant" && (node.domain().empty() || node.domain() == "ai.onnx") &&
         node.output_size() == 1;
}

// Says which constants count, once for all of them: a pass that writes one name
// twice does so in every layer.
static void warnOfRepeatedConstants(Reporter &reporter, const std::set<std::string> &names) {
  static constexpr unsigned kMaxNamed = 4;
  if (names.empty())
    return;
  std::string text;
  unsigned numNamed = 0;
  for (const std::string &name : names) {
    if (numNamed++ == kMaxNamed) {
      text += " and " + std::to_string(names.size() - kMaxNamed) + " more";
      break;
    }
    text += (text.empty() ? "'" : ", '") + printable(name) + "'";
  }
  reporter.warning((names.size() == 1 ? "value " : "values ") + Twine(text) + (names.size() == 1 ? " is" : " are") +
                   " defined by several Constant nodes; the last one is taken, as onnxruntime does");
}

// Imports nodes after what they read; the file's order wherever that allows it.
bool GraphImporter::importNodes(const google::protobuf::RepeatedPtrField<NodeProto> &nodes, Scope &scope) {
  std::map<std::string, int> producer;
  std::vector<bool> isReplaced(nodes.size(), false);
  std::set<std::string> repeated;
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string &output : nodes[i].output()) {
      if (output.empty())
        continue;
      auto [earlier, isNew] = producer.emplace(output, i);
      if (!isNew && isConstant(nodes[i]) && isConstant(nodes[earlier->second])) {
        repeated.insert(output);
        isReplaced[earlier->second] = true;
        earlier->second = i;
        continue;
      }
      if (!isNew || scope.values.contains(output) || scope.broken.contains(output)) {
        reporter.error("value '" + printable(output) + "' is defined twice, again by node '" +
                       printable(nodes[i].name()) + "'");
        return false;
      }
    }
  }
  warnOfRepeatedConstants(reporter, repeated);
  std::vector<std::vector<int>> users(nodes.size());
  std::vector<int> missing(nodes.size(), 0);
  std::priority_queue<int, std::vector<int>, std::greater<int>> ready;
  for (int i = 0; i < nodes.size(); ++i) {
    std::set<std::string> names;
    collectInputs(nodes[i], names);
    scope.read.insert(names.begin(), names.end());
    for (const std::string &name : names) {
      auto it = producer.find(name);
      if (it == producer.end())
        continue;
      users[it->second].push_back(i);
      ++missing[i];
    }
    if (missing[i] == 0)
      ready.push(i);
  }
  int done = 0;
  while (!ready.empty()) {
    int i = ready.top();
    ready.pop();
    ++done;
    if (++numNodes > kMaxNodes) {
      if (numNodes == kMaxNodes + 1)
        reporter.error("the model has more than " + Twine(kMaxNodes) + " nodes with its functions inlined");
      return false;
    }
    if (!isReplaced[i])
      importNode(nodes[i], scope);
    for (int user : users[i])
      if (--missing[user] == 0)
        ready.push(user);
  }
  if (done == nodes.size())
    return true;
  for (int i = 0; i < nodes.size(); ++i) {
    if (missing[i] == 0)
      continue;
    reporter.error("node '" + printable(nodes[i].name()) + "' (" +
                   qualifiedName(nodes[i].domain(), nodes[i].op_type()) + ") is on a cycle, or reads a value from one");
    break;
  }
  return false;
}

//===- Nodes -------------------------------------------------------------------------===//

void GraphImporter::importNode(const NodeProto &proto, Scope &scope) {
  StringRef domain = proto.domain() == "ai.onnx" ? StringRef() : StringRef(proto.domain());
  auto imported = scope.opsets.find(domain.str());
  int64_t version = imported != scope.opsets.end() ? imported->second : domain.empty() ? 0 : 1;
  Node node(*this, proto, scope, version, locationOf(proto, scope, version), {});

  Converter converter = OpTable::get().find(domain, proto.op_type(), version);
  const onnx::FunctionProto *function = converter ? nullptr : findFunction(proto);
  if (domain.empty() && version < 1 && !function) {
    node.error("expected the model to import an operator set of ai.onnx");
  } else if (!converter && !function) {
    reporter.unsupported(qualifiedName(proto.domain(), proto.op_type()), version,
                         scope.prefix + (proto.name().empty() && proto.output_size() ? proto.output(0) : proto.name()),
                         OpTable::get().remedy(domain, proto.op_type()));
    node.failed_ = true;
  }

  // Converters may name what they make after the first output.
  if (proto.output_size() == 0)
    node.error("expected an output, but the node has none");

  for (const std::string &input : proto.input()) {
    Value value;
    if (!input.empty()) {
      switch (lookup(input, scope, value)) {
      case Lookup::Found:
        break;
      case Lookup::Poisoned:
        node.failed_ = true;
        break;
      case Lookup::Undefined:
        node.error("input '" + printable(input) + "' is not defined");
      }
    }
    node.operands.push_back(value);
  }
  if (!node.failed_) {
    if (converter)
      converter(node);
    else
      inlineFunction(*function, node);
  }
  if (node.failed_)
    return defineOutputs(proto, scope, {});
  for (unsigned i = 0; i < node.numOutputs(); ++i)
    if (node.wants(i) && !node.results[i])
      node.unsupported("with output " + Twine(i) + " in use");
  defineOutputs(proto, scope, node.results);
}

void GraphImporter::inRegion(Block &block, std::set<std::string> &asked, llvm::function_ref<void()> body) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&block);
  asked.swap(constraints);
  size_t firstCount = counts.size(), numSlacks = slacks.size();
  body();
  slacks.resize(numSlacks);
  for (size_t i = firstCount; i < counts.size(); ++i)
    counts[i].block = nullptr; // nobody sees them from outside, and the block may not stay
  asked.swap(constraints);
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

bool GraphImporter::isNeverNegative(const SymExpr &size) const {
  auto isAtLeastZero = [](const SymExpr &e) { return e.lowerBound().value_or(-1) >= 0; };
  return isAtLeastZero(size) || llvm::any_of(slacks, [&](const SymExpr &slack) { return isAtLeastZero(size - slack); });
}

std::string GraphImporter::nameCount(StringRef hint) {
  std::set<std::string> taken;
  for (Type type : entry->getArgumentTypes())
    for (const SymExpr &dim : lm::getDims(type))
      dim.collectSymbols(taken);
  std::string name = *SymExpr::symbol(("count_" + hint.take_front(48)).str()).getSymbol(), unique = name;
  for (unsigned i = 2; taken.count(unique) || countBounds.contains(unique); ++i)
    unique = name + "_" + std::to_string(i);
  return unique;
}

void GraphImporter::addCount(StringRef symbol, Value number, const SymExpr &size) {
  countBounds[symbol] = size;
  counts.push_back({symbol.str(), number, builder.getInsertionBlock()});
}

std::string GraphImporter::findCount(Value number) const {
  for (const Count &count : counts) {
    bool isVisible = false;
    for (Block *block = builder.getInsertionBlock(); block && !isVisible;
         block = block->getParentOp() ? block->getParentOp()->getBlock() : nullptr)
      isVisible = block == count.block;
    if (isVisible && isSameNumber(count.number, number))
      return count.symbol;
  }
  return "";
}

bool GraphImporter::mentionsCountsSince(const SymExpr &size, size_t first) const {
  std::set<std::string> symbols;
  if (!size.isUnknown())
    size.collectSymbols(symbols);
  for (size_t i = first; i < counts.size(); ++i)
    if (symbols.count(counts[i].symbol))
      return true;
  return false;
}

SymExpr GraphImporter::boundCounts(const SymExpr &size) const {
  return size.upperBound([&](StringRef name) -> std::optional<SymExpr> {
    auto it = countBounds.find(name);
    return it == countBounds.end() ? std::nullopt : std::optional(it->second);
  });
}

std::optional<SmallVector<Value>> GraphImporter::importSubgraph(const onnx::GraphProto &graph, const Scope &parent,
                                                                ArrayRef<Value> inputs) {
  Scope scope;
  for (auto [input, value] : llvm::zip(graph.input(), inputs))
    scope.values[input.name()] = value;
  scope.parent = &parent;
  scope.opsets = parent.opsets;
  scope.prefix = parent.prefix;
  scope.module = parent.module;
  scope.depth = parent.depth;
  addInitializers(graph, scope);
  if (!importNodes(graph.node(), scope))
    return std::nullopt;
  SmallVector<Value> results;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    Value value;
    if (lookup(output.name(), scope, value) == Lookup::Undefined)
      reporter.error("subgraph output '" + printable(output.name()) + "' is not defined");
    if (!value)
      return std::nullopt;
    results.push_back(value);
  }
  return results;
}
