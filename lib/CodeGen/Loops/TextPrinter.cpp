// From the tree of statements to text: names, precedence, types.
#include "TextBuilder.h"

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/Operation.h"

using namespace llmopt;
using namespace llmopt::loops;

/// Longer expressions get a name of their own.
static constexpr size_t kMaxExpression = 72;
/// Index sums that are repeated rather than named.
static constexpr size_t kMaxRepeated = 20;

enum Precedence { Primary = 0, Unary = 1, Product = 2, Sum = 3, Comparison = 5, Equality = 6, BitAnd = 7, BitXor = 8, BitOr = 9, LogicalAnd = 10, LogicalOr = 11, Conditional = 12 };

void TextBuilder::use(int32_t id, Statements *where) {
  Node &node = nodes[id];
  ++node.uses;
  if (node.home && node.home != where)
    node.usedElsewhere = true;
  if (node.uses == 1)
    for (int32_t operand : node.operands)
      use(operand, node.home);
}

/// Uses by statements; operands of nodes count once, where the node stands.
void TextBuilder::countUses(Statements &statements) {
  for (Statement &statement : statements.list) {
    if (statement.kind != Statement::Define && statement.node >= 0)
      use(statement.node, &statements);
    if (statement.offset >= 0)
      use(statement.offset, &statements);
    for (int32_t id : statement.mentioned)
      use(id, &statements);
    if (statement.body)
      countUses(*statement.body);
    if (statement.otherwise)
      countUses(*statement.otherwise);
  }
}

std::string TextBuilder::text(int32_t node, int precedence) {
  Expression e = render(node);
  return e.precedence > precedence ? "(" + e.text + ")" : e.text;
}

TextBuilder::Expression TextBuilder::render(int32_t id, bool define) {
  Node &node = nodes[id];
  if (!node.name.empty() && !define)
    return {node.name, Primary};
  switch (node.kind) {
  case Node::Leaf:
    return {node.text, node.text[0] == '-' ? Unary : Primary};
  case Node::Load: {
    std::string element = node.text + "[" + text(node.operands[0]) + "]";
    if (node.memory == Elem::Bool)
      return {element + " != 0", Equality};
    if (node.memory == Elem::F16)
      return {"llmopt_from_f16(" + element + ")", Primary};
    if (node.memory == Elem::BF16)
      return {"llmopt_from_bf16(" + element + ")", Primary};
    return {element, Primary};
  }
  case Node::Operation:
    return renderOp(node);
  }
  return {};
}

TextBuilder::Expression TextBuilder::renderOp(const Node &node) {
  Elem from = nodes[node.operands[node.op == Opcode::Select ? 1 : 0]].elem;
  bool real = isFloat(from), isDouble = from == Elem::F64;
  std::string type = typeName(node.elem).str();
  auto in = [&](unsigned i, int precedence = 100) { return text(node.operands[i], precedence); };
  auto binary = [&](const char *symbol, int precedence) -> Expression {
    return {in(0, precedence) + " " + symbol + " " + in(1, precedence - 1), precedence};
  };
  // Integers wrap, which signed C arithmetic does not.
  auto wrapping = [&](const char *symbol, int precedence) -> Expression {
    if (real || from == Elem::U32 || from == Elem::U64)
      return binary(symbol, precedence);
    if (bitWidth(from) < 32)
      return {"(" + type + ")(" + binary(symbol, precedence).text + ")", Unary};
    std::string u = bitWidth(from) == 32 ? "(uint32_t)" : "(uint64_t)";
    return {"(" + type + ")(" + u + in(0, Unary) + " " + symbol + " " + u + in(1, Unary) + ")", Unary};
  };
  auto call = [&](std::string function) -> Expression {
    std::string arguments = in(0);
    for (size_t i = 1; i < node.operands.size(); ++i)
      arguments += ", " + in(i);
    return {function + "(" + arguments + ")", Primary};
  };
  auto math = [&](const char *function) { return call(std::string(function) + (isDouble ? "" : "f")); };
  bool logical = from == Elem::Bool;
  switch (node.op) {
  case Opcode::Add:
    return wrapping("+", Sum);
  case Opcode::Sub:
    return wrapping("-", Sum);
  case Opcode::Mul:
    return wrapping("*", Product);
  case Opcode::Div:
    return bitWidth(from) < 32 ? Expression{"(" + type + ")(" + binary("/", Product).text + ")", Unary}
                               : binary("/", Product);
  case Opcode::Rem:
    return bitWidth(from) < 32 ? Expression{"(" + type + ")(" + binary("%", Product).text + ")", Unary}
                               : binary("%", Product);
  case Opcode::IAdd:
    // x + -1 * y reads better as x - y.
    if (const Node &right = nodes[node.operands[1]];
        right.name.empty() && right.kind == Node::Operation && right.op == Opcode::IMul) {
      if (nodes[right.operands[1]].text == "-1")
        return {in(0, Sum) + " - " + text(right.operands[0], Product), Sum};
      if (nodes[right.operands[0]].text == "-1")
        return {in(0, Sum) + " - " + text(right.operands[1], Product), Sum};
    } else if (right.kind == Node::Leaf && right.text.size() > 1 && right.text[0] == '-') {
      return {in(0, Sum) + " - " + right.text.substr(1), Sum};
    }
    return binary("+", Sum);
  case Opcode::IMul:
    return binary("*", Product);
  case Opcode::IDiv:
    return binary("/", Product);
  case Opcode::IRem:
    return binary("%", Product);
  case Opcode::And:
    return logical ? binary("&&", LogicalAnd) : binary("&", BitAnd);
  case Opcode::Or:
    return logical ? binary("||", LogicalOr) : binary("|", BitOr);
  case Opcode::Xor:
    return logical ? binary("!=", Equality) : binary("^", BitXor);
  case Opcode::ShiftLeft:
    return {"(" + type + ")((uint64_t)" + in(0, Unary) + " << " + in(1, Unary) + ")", Unary};
  case Opcode::ShiftRight:
    return {"(" + type + ")(" + in(0, Unary) + " >> " + in(1, Unary) + ")", Unary};
  case Opcode::Not:
    return {"!" + in(0, Unary), Unary};
  case Opcode::Neg:
    if (real)
      return {"-" + in(0, Primary), Unary};
    return {"(" + type + ")(0 - (uint64_t)" + in(0, Unary) + ")", Unary};
  case Opcode::Min:
    return call(real ? "llmopt_min" : "llmopt_min<" + type + ">");
  case Opcode::Max:
    return call(real ? "llmopt_max" : "llmopt_max<" + type + ">");
  case Opcode::Eq:
    return binary("==", Equality);
  case Opcode::Ne:
    return binary("!=", Equality);
  case Opcode::Lt:
    return binary("<", Comparison);
  case Opcode::Le:
    return binary("<=", Comparison);
  case Opcode::Gt:
    return binary(">", Comparison);
  case Opcode::Ge:
    return binary(">=", Comparison);
  case Opcode::Select:
    return {in(0, LogicalOr) + " ? " + in(1, LogicalOr) + " : " + in(2, LogicalOr), Conditional};
  case Opcode::Cast:
  case Opcode::Truncate:
    return {"(" + type + ")" + in(0, Unary), Unary};
  case Opcode::ToBits:
    return call("llmopt_to_bits");
  case Opcode::FromBits:
    return call("llmopt_from_bits");
  case Opcode::RoundF16:
    return {"llmopt_from_f16(llmopt_to_f16(" + in(0) + "))", Primary};
  case Opcode::RoundBF16:
    return {"llmopt_from_bf16(llmopt_to_bf16(" + in(0) + "))", Primary};
  case Opcode::Fma:
    return math("fma");
  case Opcode::Abs:
    return math("fabs");
  case Opcode::Sqrt:
    return math("sqrt");
  case Opcode::Floor:
    return math("floor");
  case Opcode::Ceil:
    return math("ceil");
  case Opcode::Round:
    return math("rint");
  case Opcode::Trunc:
    return math("trunc");
  case Opcode::Exp:
  case Opcode::ExpNonPositive:
    return math("exp");
  case Opcode::Log:
    return math("log");
  case Opcode::Sin:
    return math("sin");
  case Opcode::Cos:
    return math("cos");
  case Opcode::Erf:
    return math("erf");
  case Opcode::Tanh:
    return math("tanh");
  case Opcode::Sigmoid:
    return call("llmopt_sigmoid");
  case Opcode::Pow:
    return math("pow");
  case Opcode::Atan:
    return math("atan");
  }
  return {};
}

static std::string replaceMentioned(std::string text, ArrayRef<std::string> values) {
  for (auto [i, value] : llvm::enumerate(values)) {
    std::string mark = "%" + std::to_string(i);
    size_t at = text.find(mark);
    if (at != std::string::npos)
      text.replace(at, mark.size(), value);
  }
  return text;
}

void TextBuilder::printStatements(Statements &statements, llvm::raw_ostream &os) {
  std::string indent(statements.depth * 2, ' ');
  for (Statement &statement : statements.list) {
    SmallVector<std::string> mentioned;
    // The end of a loop stands beside a comparison.
    bool isLoop = statement.kind == Statement::Open && llvm::StringRef(statement.text).starts_with("for");
    for (int32_t id : statement.mentioned)
      mentioned.push_back(isLoop ? text(id, Sum) : text(id));
    switch (statement.kind) {
    case Statement::Define: {
      Node &node = nodes[statement.node];
      if (node.uses == 0)
        break;
      std::string value = render(statement.node, true).text;
      bool isIndex = node.op == Opcode::IAdd || node.op == Opcode::IMul;
      bool repeat = node.kind == Node::Operation && isIndex && value.size() <= kMaxRepeated;
      bool once = node.uses == 1 && !node.usedElsewhere && !node.keep && value.size() <= kMaxExpression;
      if (repeat || once)
        break;
      node.name = "v" + std::to_string(valueNames++);
      os << indent << "const " << typeName(node.elem) << " " << node.name << " = "
         << value << ";\n";
      break;
    }
    case Statement::Assign:
      os << indent << statement.text << " = " << text(statement.node) << ";\n";
      break;
    case Statement::Store: {
      std::string value = text(statement.node);
      if (statement.memory == Elem::F16)
        value = "llmopt_to_f16(" + value + ")";
      else if (statement.memory == Elem::BF16)
        value = "llmopt_to_bf16(" + value + ")";
      os << indent << statement.text << "[" << text(statement.offset) << "] = " << value << ";\n";
      break;
    }
    case Statement::Raw:
      os << indent << replaceMentioned(statement.text, mentioned) << "\n";
      break;
    case Statement::Open: {
      os << indent << replaceMentioned(statement.text, mentioned) << " {\n";
      printStatements(*statement.body, os);
      bool empty = true;
      if (statement.otherwise)
        for (Statement &other : statement.otherwise->list)
          empty &= other.kind == Statement::Define && nodes[other.node].uses == 0;
      if (!empty) {
        os << indent << "} else {\n";
        printStatements(*statement.otherwise, os);
      }
      os << indent << "}\n";
      break;
    }
    }
  }
}

static std::string shapeText(mlir::Type type) {
  std::string text = "[";
  for (const SymExpr &dim : lm::getDims(type))
    text += (text.size() > 1 ? ", " : "") + dim.str();
  return text + "]";
}

void TextBuilder::print(const LoopSpec &spec, llvm::raw_ostream &os) {
  countUses(root);
  for (const auto &[type, offset] : scratchArrays)
    use(offset, &root);
  bool cuda = style == TextStyle::Cuda;
  mlir::Operation *terminator = block.getTerminator();

  os << "//";
  for (mlir::Operation &op : block.without_terminator())
    if (!mlir::isa<lm::ConstantOp>(op))
      os << " " << op.getName().stripDialect();
  os << "\n";
  struct Parameter {
    std::string name, type, shape;
    bool input;
  };
  SmallVector<Parameter> parameters;
  auto add = [&](std::string name, mlir::Type type, bool input) {
    Elem elem = *elemOf(mlir::cast<mlir::RankedTensorType>(type).getElementType());
    parameters.push_back({name, (llvm::Twine(input ? "const " : "") + memoryTypeName(elem) + " *").str(),
                          shapeText(type), input});
  };
  for (mlir::BlockArgument argument : block.getArguments())
    add("x" + std::to_string(argument.getArgNumber()), argument.getType(), true);
  for (auto [i, type] : llvm::enumerate(terminator->getOperandTypes()))
    add("y" + std::to_string(i), type, false);
  for (const std::string &table : tables)
    os << "// clang-format off\n" << table << "\n// clang-format on\n";
  if (cuda) {
    os << "extern \"C\" __global__ void __launch_bounds__(" << cudaThreads << ") " << name << "(";
    std::string separator = "\n    ";
    for (const Parameter &p : parameters) {
      os << separator << p.type << p.name << " /* " << p.shape << " */";
      separator = ",\n    ";
    }
    for (auto [i, expr] : llvm::enumerate(spec.dims)) {
      os << separator << "int64_t d" << i << " /* " << expr.str() << " */";
      separator = ",\n    ";
    }
    if (!spec.scratchBytes.isConstant(0))
      os << separator << "char *all_scratch";
    os << ") {\n  llmopt::grid_dependency_wait();\n  llmopt::grid_dependents_launch();\n"
          "  const int64_t tile = blockIdx.x;\n";
    for (const std::string &line : shared)
      os << "  __shared__ " << line << "[" << cudaThreads << "];\n";
  } else {
    os << "extern \"C\" void " << name << "(void *const *args, const int64_t *dims, int64_t tile, void *scratch) {\n";
    for (auto [i, p] : llvm::enumerate(parameters))
      os << "  " << p.type << p.name << " = (" << p.type << ")args[" << i << "]; // " << p.shape << "\n";
    for (auto [i, expr] : llvm::enumerate(spec.dims))
      os << "  const int64_t d" << i << " = dims[" << i << "]; // " << expr.str() << "\n";
  }
  if (!scratchArrays.empty() && cuda) {
    // The bytes of one block are known to the host only: it passes them as the last size.
    std::optional<int64_t> bytes = spec.scratchBytes.getConstant();
    size_t i = llvm::find(spec.dims, spec.scratchBytes) - spec.dims.begin();
    os << "  char *scratch = all_scratch + tile * " << (bytes ? std::to_string(*bytes) : "d" + std::to_string(i))
       << ";\n";
  }
  for (auto [i, array] : llvm::enumerate(scratchArrays))
    os << "  " << array.first << " *s" << i << " = (" << array.first << " *)((char *)scratch + " << text(array.second, Sum)
       << ");\n";
  if (!cuda && spec.tiles.isConstant(1))
    os << "  (void)tile;\n";
  printStatements(root, os);
  os << "}\n\n";
}
