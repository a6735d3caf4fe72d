#include "NameGlobs.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/GlobPattern.h"

#include <set>

using namespace mlir;
using llvm::ArrayRef;
using llvm::StringRef;

/// How far a name is from `plain`: as a whole, or the nearest of its parts.
static unsigned getDistance(StringRef plain, StringRef name) {
  if (name.contains(plain))
    return 0;
  unsigned least = plain.edit_distance(name);
  SmallVector<StringRef> parts;
  name.split(parts, '.');
  for (StringRef part : parts)
    least = std::min(least, plain.edit_distance(part));
  return least;
}

/// Names that share the most letters with what nobody has, the closest first.
static std::string nearest(StringRef wanted, ArrayRef<std::vector<std::string>> candidates) {
  std::set<std::pair<unsigned, StringRef>> byDistance;
  std::string plain;
  llvm::copy_if(wanted, std::back_inserter(plain), [](char c) { return c != '*' && c != '?'; });
  for (const std::vector<std::string> &names : candidates)
    for (StringRef name : names)
      byDistance.insert({getDistance(plain, name), name});
  std::string text;
  size_t count = 0;
  for (auto &[distance, name] : byDistance)
    if (count++ < 3)
      text += (text.empty() ? "" : ", ") + name.str();
  return text;
}

FailureOr<llvm::BitVector> llmopt::matchGlobs(Operation *op, StringRef option, StringRef what,
                                              ArrayRef<std::string> globs,
                                              ArrayRef<std::vector<std::string>> candidates) {
  llvm::BitVector selected(candidates.size());
  for (const std::string &glob : globs) {
    llvm::Expected<llvm::GlobPattern> pattern = llvm::GlobPattern::create(glob);
    if (!pattern)
      return op->emitError() << option << ": " << glob << ": " << llvm::toString(pattern.takeError());
    bool any = false;
    for (auto [i, names] : llvm::enumerate(candidates))
      if (llvm::any_of(names, [&](const std::string &name) { return pattern->match(name); })) {
        selected.set(i);
        any = true;
      }
    if (!any)
      return op->emitError() << option << ": no " << what << " matches '" << glob << "'; near names are "
                             << nearest(glob, candidates);
  }
  return selected;
}
