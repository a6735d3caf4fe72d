// Replacing symbols by constants, everywhere in a function.
#include "llmopt/Transforms/Shapes/Passes.h"

#include "llmopt/Dialect/LM/IR/Relation.h"

#include "mlir/IR/AttrTypeSubElements.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

using Substitution = llvm::StringMap<SymExpr>;

SymExpr apply(const Substitution &symbols, const SymExpr &expr) {
  return expr.substitute([&](StringRef name) -> std::optional<SymExpr> {
    auto it = symbols.find(name);
    return it == symbols.end() ? std::nullopt : std::optional(it->second);
  });
}

SmallVector<SymExpr> apply(const Substitution &symbols, ArrayRef<SymExpr> exprs) {
  return llvm::map_to_vector(exprs, [&](const SymExpr &expr) { return apply(symbols, expr); });
}

/// Whether a constraint holds; nullopt where that is open (or the text is something
/// else).
std::optional<bool> decideConstraint(StringRef text, const Substitution &symbols, std::string &rewritten) {
  std::optional<Relation> relation = Relation::parse(text);
  if (!relation)
    return std::nullopt;
  relation->lhs = apply(symbols, relation->lhs);
  relation->rhs = apply(symbols, relation->rhs);
  rewritten = relation->str();
  return relation->holds();
}

LogicalResult substituteConstraints(func::FuncOp function, const Substitution &symbols) {
  auto constraints = function->getAttrOfType<ArrayAttr>("lm.constraints");
  if (!constraints)
    return success();
  SmallVector<Attribute> open;
  for (Attribute constraint : constraints) {
    auto text = dyn_cast<StringAttr>(constraint);
    std::string rewritten = text ? text.str() : "";
    std::optional<bool> holds = text ? decideConstraint(text, symbols, rewritten) : std::nullopt;
    if (holds && !*holds)
      return function.emitError() << "expected shapes with " << constraint << ", but got " << rewritten;
    if (!holds)
      open.push_back(text ? StringAttr::get(function.getContext(), rewritten) : constraint);
  }
  if (open.empty())
    function->removeAttr("lm.constraints");
  else
    function->setAttr("lm.constraints", ArrayAttr::get(function.getContext(), open));
  return success();
}

/// The same in branches and loops, whose constraints may fail: they are checked
/// where a run comes to them.
void substituteInnerConstraints(func::FuncOp function, const Substitution &symbols) {
  function.walk([&](Operation *op) {
    for (StringRef name : {"lm.then_constraints", "lm.else_constraints", "lm.body_constraints"}) {
      auto constraints = op->getAttrOfType<ArrayAttr>(name);
      if (!constraints)
        continue;
      SmallVector<Attribute> open;
      for (auto text : constraints.getAsRange<StringAttr>()) {
        std::string rewritten = text.str();
        if (!decideConstraint(text, symbols, rewritten).value_or(false))
          open.push_back(StringAttr::get(op->getContext(), rewritten));
      }
      op->setAttr(name, ArrayAttr::get(op->getContext(), open));
    }
  });
}

void substituteEverywhere(func::FuncOp function, const Substitution &symbols) {
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](RankedTensorType type) -> std::optional<std::pair<Type, WalkResult>> {
    if (!isa_and_present<DimsAttr>(type.getEncoding()))
      return std::pair<Type, WalkResult>(type, WalkResult::skip());
    return std::pair<Type, WalkResult>(getTensorType(apply(symbols, getDims(type)), type.getElementType()),
                                       WalkResult::skip());
  });
  replacer.addReplacement([&](SymValuesAttr attr) -> std::optional<std::pair<Attribute, WalkResult>> {
    SmallVector<StringAttr> exprs;
    for (const SymExpr &expr : apply(symbols, getExprs(attr)))
      exprs.push_back(StringAttr::get(attr.getContext(), expr.str()));
    return std::pair<Attribute, WalkResult>(SymValuesAttr::get(attr.getContext(), attr.getType(), exprs),
                                            WalkResult::skip());
  });
  replacer.recursivelyReplaceElementsIn(function, /*replaceAttrs=*/true, /*replaceLocs=*/false,
                                        /*replaceTypes=*/true);
  function.walk([](ConstantOp constant) {
    if (auto symbolic = dyn_cast<SymValuesAttr>(constant.getValue()))
      constant.setValueAttr(getSymbolicAttr(cast<RankedTensorType>(symbolic.getType()), getExprs(symbolic)));
  });
}

} // namespace

LogicalResult llmopt::substituteSymbols(func::FuncOp function, const llvm::StringMap<SymExpr> &symbols) {
  if (failed(substituteConstraints(function, symbols)))
    return failure();
  substituteInnerConstraints(function, symbols);
  substituteEverywhere(function, symbols);
  return success();
}

LogicalResult llmopt::pinInputShape(func::FuncOp function, StringRef name, ArrayRef<int64_t> dims) {
  std::optional<unsigned> index;
  SmallVector<std::string> names;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    auto attr = function.getArgAttrOfType<StringAttr>(i, "lm.name");
    names.push_back(attr ? attr.str() : std::to_string(i));
    if (names.back() == name)
      index = i;
  }
  if (!index)
    return function.emitError() << "expected the name of an input (" << llvm::join(names, ", ") << "), but got \""
                                << name << "\"";
  BlockArgument argument = function.getArgument(*index);
  auto type = dyn_cast<RankedTensorType>(argument.getType());
  if (!type || type.getRank() != static_cast<int64_t>(dims.size()))
    return function.emitError() << "expected " << (type ? type.getRank() : 0) << " dimensions for input \"" << name
                                << "\", but got " << dims.size();
  Substitution symbols;
  SmallVector<SymExpr> declared = getDims(type), pinned;
  for (auto [expr, size] : llvm::zip(declared, dims))
    if (std::optional<std::string> symbol = expr.getSymbol())
      symbols.try_emplace(*symbol, size);
  for (auto [i, expr, size] : llvm::enumerate(declared, dims)) {
    std::optional<int64_t> value = apply(symbols, expr).getConstant();
    if (size < 0 || (value && *value != size))
      return function.emitError() << "expected dimension " << i << " of input \"" << name << "\" to be "
                                  << (size < 0 ? "not negative" : std::to_string(*value)) << ", but got " << size;
    pinned.push_back(size);
  }
  if (failed(substituteSymbols(function, symbols)))
    return failure();
  argument.setType(getTensorType(pinned, type.getElementType()));
  function.setType(
      FunctionType::get(function.getContext(), function.getBody().getArgumentTypes(), function.getResultTypes()));
  return success();
}
