#include "Diagnostics.h"

#include "llvm/ADT/StringExtras.h"

using namespace llmopt;
using namespace llmopt::onnx_import;

static constexpr unsigned kMaxErrors = 20;

std::string onnx_import::printable(llvm::StringRef text, size_t limit) {
  std::string shortened;
  if (text.size() > limit) {
    shortened = (text.take_front(limit / 2) + "..." + text.take_back(limit / 2)).str();
    text = shortened;
  }
  std::string result;
  for (unsigned char c : text) {
    if (c >= 0x20 && c < 0x7f) {
      result.push_back(static_cast<char>(c));
      continue;
    }
    result += "\\x";
    result.push_back(llvm::hexdigit(c >> 4));
    result.push_back(llvm::hexdigit(c & 15));
  }
  return result;
}

std::string onnx_import::qualifiedName(llvm::StringRef domain, llvm::StringRef opType) {
  return printable(domain.empty() ? "ai.onnx" : domain, 80) + "." + printable(opType, 80);
}

void Reporter::error(const llvm::Twine &text) {
  if (numErrors++ < kMaxErrors)
    handler({true, file + ": " + printable(text.str(), 1000)});
}

void Reporter::errorOnce(const std::string &text, const llvm::Twine &where) {
  if (reported.insert(text).second)
    error(where + ": " + text);
}

void Reporter::warning(const llvm::Twine &text) { handler({false, file + ": " + printable(text.str(), 1000)}); }

void Reporter::remark(const llvm::Twine &text) {
  handler({false, file + ": " + printable(text.str(), 1000), /*isRemark=*/true});
}

void Reporter::unsupported(llvm::StringRef kind, int64_t opset, llvm::StringRef node, llvm::StringRef remedy) {
  auto it = kinds.find(kind);
  if (it != kinds.end()) {
    ++it->second.count;
    return;
  }
  kindNames.push_back(std::make_unique<std::string>(kind.str()));
  kinds.insert({*kindNames.back(), {opset, node.str(), remedy.str(), 1}});
}

void Reporter::finish() {
  if (!missingFiles.empty()) {
    std::string text = file + ": external data file '" + printable(*missingFiles.begin()) + "'";
    if (missingFiles.size() > 1)
      text += " and " + std::to_string(missingFiles.size() - 1) + " more";
    handler({true, text + (missingFiles.size() > 1 ? " do" : " does") + " not exist beside the model"});
    missingFiles.clear();
  }
  for (auto &[name, kind] : kinds) {
    std::string text = file + ": unsupported operator " + printable(name, 300) + " (opset " +
                       std::to_string(kind.opset) + "), " + std::to_string(kind.count) +
                       (kind.count == 1 ? " node: '" : " nodes, first '") + printable(kind.node) + "'";
    if (!kind.remedy.empty())
      text += "; " + kind.remedy;
    handler({true, text});
  }
  if (numErrors > kMaxErrors)
    handler({true, file + ": and " + std::to_string(numErrors - kMaxErrors) + " more errors"});
  kinds.clear();
}
