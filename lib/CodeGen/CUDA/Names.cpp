#include "Names.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

using namespace llmopt;

std::string cuda::toIdentifier(llvm::StringRef name) {
  std::string text;
  bool changed = false;
  for (char c : name) {
    bool fits = llvm::isAlnum(c) || c == '_';
    // Separators at the ends carry no meaning; elsewhere one underscore does.
    if (!fits && (text.empty() || text.back() == '_')) {
      changed |= !text.empty() || c != '/';
      continue;
    }
    changed |= !fits;
    text += fits ? c : '_';
  }
  if (text.empty() || !llvm::isAlpha(text.front()))
    text = "n_" + text;
  if (text.size() > 40) {
    text.resize(40);
    changed = true;
  }
  if (changed) {
    llvm::raw_string_ostream os(text);
    os << llvm::format("_%06x", static_cast<unsigned>(llvm::xxh3_64bits(name) & 0xffffff));
  }
  return text;
}

std::string cuda::toComment(llvm::StringRef text) {
  std::string result;
  for (char c : text) {
    if (c == '/' && !result.empty() && result.back() == '*')
      result += ' ';
    result += llvm::isPrint(c) && c != '\\' && c != '?' ? c : '.';
  }
  return result;
}

std::string cuda::toLiteral(llvm::StringRef text) {
  std::string result;
  llvm::raw_string_ostream os(result);
  os << '"';
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char c = text[i];
    // Compilers promise little beyond 64 KB in one literal; pieces join anyway.
    if (i > 0 && i % 1024 == 0)
      os << "\"\n    \"";
    if (c == '"' || c == '\\')
      os << '\\' << static_cast<char>(c);
    else if (llvm::isPrint(c) && c != '?')
      os << static_cast<char>(c);
    else
      os << llvm::format("\\%03o", c);
  }
  os << '"';
  return result;
}
