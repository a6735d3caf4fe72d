#include "Dims.h"

#include "llvm/ADT/StringExtras.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using lm::SymExpr;

static bool isReserved(llvm::StringRef text) {
  return text == "floordiv" || text == "ceildiv" || text == "mod" || text == "min" || text == "max";
}

bool onnx_import::isSymbolName(llvm::StringRef text) {
  if (text.empty() || llvm::isDigit(text.front()) || isReserved(text) || text.size() > 64)
    return false;
  return llvm::all_of(text, [](char c) { return llvm::isAlnum(c) || c == '_'; });
}

std::string SymbolNames::makeUnique(llvm::StringRef text) {
  std::string name;
  for (char c : text.take_front(60))
    name.push_back(llvm::isAlnum(c) ? c : '_');
  if (name.empty() || llvm::isDigit(name.front()))
    name.insert(name.begin(), '_');
  if (isReserved(name))
    name.push_back('_');
  std::string unique = name;
  for (unsigned i = 2; !taken.insert(unique).second; ++i)
    unique = name + "_" + std::to_string(i);
  return unique;
}

void SymbolNames::declare(llvm::StringRef dimParam) {
  if (!isSymbolName(dimParam) || symbols.count(dimParam.str()))
    return;
  symbols[dimParam.str()] = makeUnique(dimParam);
}

SymExpr SymbolNames::resolve(llvm::StringRef dimParam) {
  auto it = symbols.find(dimParam.str());
  if (it != symbols.end())
    return SymExpr::symbol(it->second);
  // An expression counts as one only where every name in it is bound elsewhere.
  if (dimParam.size() <= 200) {
    std::optional<SymExpr> expr = SymExpr::parse(dimParam);
    if (expr && !expr->isUnknown() && !expr->getConstant()) {
      std::set<std::string> names;
      expr->collectSymbols(names);
      bool bound = true;
      for (const std::string &name : names)
        bound &= symbols.count(name) && symbols[name] == name;
      std::optional<int64_t> least = expr->lowerBound();
      if (bound && least && *least >= 0)
        return *expr;
    }
  }
  std::string name = makeUnique(dimParam);
  symbols[dimParam.str()] = name;
  return SymExpr::symbol(name);
}

SymExpr SymbolNames::unnamed(llvm::StringRef input, unsigned i) {
  return SymExpr::symbol(makeUnique((input + "_dim" + llvm::Twine(i)).str()));
}
