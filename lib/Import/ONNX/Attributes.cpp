// Attributes of a node, and small integer operands that used to be attributes.
#include "Node.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using onnx::AttributeProto;

const AttributeProto *Node::attr(llvm::StringRef name) const {
  for (const AttributeProto &attribute : proto.attribute())
    if (attribute.name() == name)
      return &attribute;
  return nullptr;
}

// Old files leave the type out; then the field that is set decides.
static bool hasKind(const AttributeProto &attribute, AttributeProto::AttributeType type, bool isSet) {
  return attribute.type() == type || (attribute.type() == AttributeProto::UNDEFINED && isSet);
}

int64_t Node::intAttr(llvm::StringRef name, int64_t fallback) {
  const AttributeProto *a = attr(name);
  if (!a)
    return fallback;
  if (!hasKind(*a, AttributeProto::INT, a->has_i())) {
    error("expected attribute '" + name + "' to be an integer");
    return fallback;
  }
  return a->i();
}

double Node::floatAttr(llvm::StringRef name, double fallback) {
  const AttributeProto *a = attr(name);
  if (!a)
    return fallback;
  if (!hasKind(*a, AttributeProto::FLOAT, a->has_f())) {
    error("expected attribute '" + name + "' to be a float");
    return fallback;
  }
  return a->f();
}

std::string Node::stringAttr(llvm::StringRef name, llvm::StringRef fallback) {
  const AttributeProto *a = attr(name);
  if (!a)
    return fallback.str();
  if (!hasKind(*a, AttributeProto::STRING, a->has_s())) {
    error("expected attribute '" + name + "' to be a string");
    return fallback.str();
  }
  return a->s();
}

std::optional<Ints> Node::intsAttr(llvm::StringRef name) {
  const AttributeProto *a = attr(name);
  if (!a)
    return std::nullopt;
  if (!hasKind(*a, AttributeProto::INTS, true)) {
    error("expected attribute '" + name + "' to be a list of integers");
    return std::nullopt;
  }
  return Ints(a->ints().begin(), a->ints().end());
}

std::optional<Ints> Node::intsFrom(unsigned i, llvm::StringRef name) {
  if (has(i)) {
    Ints result = constants(operands[i], "input '" + name + "'");
    return failed_ ? std::nullopt : std::optional<Ints>(result);
  }
  return intsAttr(name);
}
