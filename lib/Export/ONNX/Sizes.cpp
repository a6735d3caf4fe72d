// Constants, and symbolic sizes as arithmetic on the shapes of inputs.
#include "GraphExporter.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_export;

//===- Constants -------------------------------------------------------------------------===//

Name GraphExporter::constant(ElementsAttr elements, StringRef name) {
  onnx::TensorProto *tensor = root->add_initializer();
  tensor->set_name(unique(name));
  require(getOpsetOf(elements.getElementType()));
  if (llvm::Error problem = fillInline(*tensor, elements))
    error(function, llvm::toString(std::move(problem)));
  return tensor->name();
}

Name GraphExporter::ints(ArrayRef<int64_t> values) {
  Name &name = intVectors[values.vec()];
  if (name.empty()) {
    auto type = RankedTensorType::get({int64_t(values.size())}, IntegerType::get(function.getContext(), 64));
    name = constant(DenseIntElementsAttr::get(type, values), "ints");
  }
  return name;
}

Name GraphExporter::scalar(Type type, double value) {
  std::string key;
  llvm::raw_string_ostream(key) << type << llvm::format(" %a", value);
  Name &name = scalars[key];
  if (!name.empty())
    return name;
  auto tensor = RankedTensorType::get({}, type);
  Attribute element;
  if (auto real = dyn_cast<FloatType>(type)) {
    llvm::APFloat rounded(value);
    bool inexact;
    rounded.convert(real.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &inexact);
    element = FloatAttr::get(type, rounded);
  } else {
    element = IntegerAttr::get(type, llvm::APInt(type.getIntOrFloatBitWidth(), static_cast<int64_t>(value),
                                                 /*isSigned=*/true, /*implicitTrunc=*/true));
  }
  return name = constant(DenseElementsAttr::get(tensor, element), "scalar");
}

bool GraphExporter::isLocal(ArrayRef<SymExpr> exprs) const {
  std::set<std::string> used;
  for (const SymExpr &expr : exprs)
    expr.collectSymbols(used);
  return llvm::any_of(used, [&](const std::string &name) {
    auto it = symbols.find(name);
    return it != symbols.end() && it->second.graph != root;
  });
}

Name GraphExporter::symbolic(lm::ConstantOp constant) {
  std::optional<SmallVector<SymExpr>> contents = lm::getSymbolicValue(constant.getValue());
  if (!contents) {
    error(constant, "expected a constant of numbers or sizes");
    return "";
  }
  // What a region defines is known only there, so each use makes its own.
  bool local = isLocal(*contents);
  onnx::GraphProto *outer = std::exchange(current, local ? current : root);
  lm::NodeInfo caller = std::exchange(origin, {"shape", "", 0, ""});
  auto type = cast<RankedTensorType>(constant.getType());
  Name name = sizes(*contents, constant);
  if (type.getRank() != 1)
    name = addNode("Reshape", {name, ints(type.getShape())}, 1, {}, 14)->output(0);
  if (!type.getElementType().isInteger(64))
    name = addNode("Cast", {name}, 1, {{"to", int64_t(getDataType(type.getElementType()))}}, 13)->output(0);
  current = outer;
  origin = caller;
  if (!local)
    set(constant, name);
  return name;
}

//===- Sizes ---------------------------------------------------------------------------------===//

// An input has the symbol as a dimension, or in one as a sum with known ones.
Name GraphExporter::symbol(StringRef name) {
  auto known = symbols.find(name);
  if (known != symbols.end())
    return known->second.name;
  SymExpr wanted = SymExpr::symbol(name);
  auto dimension = [&](BlockArgument argument, int64_t axis) {
    return addNode("Shape", {get(argument)}, 1, {{"start", axis}, {"end", axis + 1}}, 15)->output(0);
  };
  onnx::GraphProto *outer = std::exchange(current, root);
  llvm::scope_exit restore([&] { current = outer; });
  for (bool inSums : {false, true}) {
    for (BlockArgument argument : function.getArguments()) {
      for (auto [axis, dim] : llvm::enumerate(lm::getDims(argument))) {
        if (!inSums && dim == wanted) {
          Name result = dimension(argument, axis);
          symbols[name] = {result, root};
          return result;
        }
        if (!inSums || dim.isUnknown())
          continue;
        SymExpr others = dim - wanted;
        std::set<std::string> rest, all;
        others.collectSymbols(rest);
        dim.collectSymbols(all);
        if (!all.count(name.str()) || rest.count(name.str()))
          continue;
        symbols[name] = {"", root}; // against sums that need each other
        Name other = size(others, nullptr);
        symbols.erase(name);
        if (other.empty())
          continue;
        Name result = addNode("Sub", {dimension(argument, axis), other}, 1, {}, 14)->output(0);
        symbols[name] = {result, root};
        return result;
      }
    }
  }
  return "";
}

GraphExporter::Term GraphExporter::combine(SymExpr::Op op, const Term &x, const Term &y) {
  auto node = [&](StringRef type, ArrayRef<Name> inputs) { return addNode(type, inputs, 1, {}, 13)->output(0); };
  // Div truncates: what is below zero is made a multiple first.
  bool isPlain = x.expr.lowerBound().value_or(-1) >= 0;
  switch (op) {
  case SymExpr::Op::Add:
    return {x.expr + y.expr, node("Add", {x.name, y.name})};
  case SymExpr::Op::Mul:
    return {x.expr * y.expr, node("Mul", {x.name, y.name})};
  case SymExpr::Op::Min:
    return {SymExpr::min(x.expr, y.expr), node("Min", {x.name, y.name})};
  case SymExpr::Op::Max:
    return {SymExpr::max(x.expr, y.expr), node("Max", {x.name, y.name})};
  case SymExpr::Op::Mod:
    return {SymExpr::mod(x.expr, y.expr), node("Mod", {x.name, y.name})};
  case SymExpr::Op::FloorDiv: {
    Name multiple = isPlain ? x.name : node("Sub", {x.name, node("Mod", {x.name, y.name})});
    return {SymExpr::floorDiv(x.expr, y.expr), node("Div", {multiple, y.name})};
  }
  case SymExpr::Op::CeilDiv: {
    Name multiple = node("Add", {x.name, node("Mod", {node("Neg", {x.name}), y.name})});
    return {SymExpr::ceilDiv(x.expr, y.expr), node("Div", {multiple, y.name})};
  }
  case SymExpr::Op::Const:
  case SymExpr::Op::Symbol:
    break;
  }
  return {};
}

Name GraphExporter::size(const SymExpr &expr, Operation *where) {
  if (std::optional<int64_t> number = expr.getConstant())
    return ints({*number});
  std::string text = expr.str();
  auto known = rootSizes.find(text);
  if (known != rootSizes.end())
    return known->second;
  auto fail = [&]() -> Name {
    if (where)
      error(where, "expected sizes that follow from the shapes of inputs, but got '" + text + "'");
    return "";
  };
  if (expr.isUnknown())
    return fail();

  // Sizes of inputs are computed outside, where all regions see them.
  bool local = isLocal(expr);
  onnx::GraphProto *outer = std::exchange(current, local ? current : root);
  lm::NodeInfo caller = std::exchange(origin, {"shape", "", 0, ""});
  std::vector<SymExpr::Insn> code;
  expr.toPostfix(code);
  SmallVector<Term> stack;
  bool ok = true;
  for (const SymExpr::Insn &insn : code) {
    if (insn.op == SymExpr::Op::Const) {
      stack.push_back({insn.value, ints({insn.value})});
    } else if (insn.op == SymExpr::Op::Symbol) {
      stack.push_back({SymExpr::symbol(insn.symbol), symbol(insn.symbol)});
      ok &= !stack.back().name.empty();
    } else {
      Term y = stack.pop_back_val(), x = stack.pop_back_val();
      stack.push_back(combine(insn.op, x, y));
    }
    if (!ok)
      break;
  }
  current = outer;
  origin = caller;
  if (!ok)
    return fail();
  if (!local)
    rootSizes[text] = stack.back().name;
  return stack.back().name;
}

Name GraphExporter::sizes(ArrayRef<SymExpr> exprs, Operation *where) {
  Ints numbers;
  for (const SymExpr &expr : exprs)
    if (std::optional<int64_t> number = expr.getConstant())
      numbers.push_back(*number);
  if (numbers.size() == exprs.size())
    return ints(numbers);
  if (exprs.size() == 1)
    return size(exprs[0], where);
  Names parts;
  for (const SymExpr &expr : exprs)
    parts.push_back(size(expr, where));
  return addNode("Concat", parts, 1, {{"axis", 0}}, 13)->output(0);
}
