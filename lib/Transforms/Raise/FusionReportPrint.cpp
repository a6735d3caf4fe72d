// Printing and checking a fusion report.
#include "llmopt/Transforms/FusionReport.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llmopt;
using llvm::StringRef;

static std::vector<FusionKind> getAllKinds() {
  std::vector<FusionKind> kinds;
  for (unsigned i = 0; i < kNumFusionKinds; ++i)
    kinds.push_back(static_cast<FusionKind>(i));
  return kinds;
}

/// Misses with one reason are one line: twelve layers rarely differ.
static void printMisses(const FusionReport &report, FusionKind kind, llvm::raw_ostream &os) {
  std::vector<const FusionSite *> reasons;
  for (const FusionSite &site : report.sites) {
    if (site.kind != kind || site.passed)
      continue;
    auto same = [&](const FusionSite *other) { return other->detail == site.detail; };
    if (llvm::none_of(reasons, same))
      reasons.push_back(&site);
  }
  for (const FusionSite *reason : reasons) {
    unsigned count = llvm::count_if(report.sites, [&](const FusionSite &site) {
      return site.kind == kind && !site.passed && site.detail == reason->detail;
    });
    os << "  missed " << getFusionKindName(kind) << " at " << reason->node;
    if (count > 1)
      os << " and " << count - 1 << " more";
    os << ": " << reason->detail << '\n';
    if (!reason->suggestion.empty())
      os << "    " << reason->suggestion << '\n';
  }
}

void llmopt::printFusionTable(const FusionReport &report, llvm::raw_ostream &os) {
  os << llvm::formatv("{0,-12}{1,8}{2,8}\n", "fusion", "passed", "missed");
  for (FusionKind kind : getAllKinds())
    if (report.countPassed(kind) || report.countMissed(kind))
      os << llvm::formatv("{0,-12}{1,8}{2,8}\n", getFusionKindName(kind), report.countPassed(kind),
                          report.countMissed(kind));
  for (FusionKind kind : getAllKinds())
    printMisses(report, kind, os);
}

void llmopt::printFusionJSON(const FusionReport &report, llvm::raw_ostream &os) {
  llvm::json::OStream json(os, 2);
  json.object([&] {
    json.attributeObject("fusions", [&] {
      for (FusionKind kind : getAllKinds())
        json.attributeObject(getFusionKindName(kind), [&] {
          json.attribute("passed", report.countPassed(kind));
          json.attribute("missed", report.countMissed(kind));
        });
    });
    json.attributeArray("sites", [&] {
      for (const FusionSite &site : report.sites)
        json.object([&] {
          json.attribute("kind", getFusionKindName(site.kind));
          json.attribute("passed", site.passed);
          json.attribute("node", llvm::json::fixUTF8(site.node));
          json.attribute("detail", llvm::json::fixUTF8(site.detail));
          if (!site.suggestion.empty())
            json.attribute("suggestion", llvm::json::fixUTF8(site.suggestion));
        });
    });
  });
  os << '\n';
}

llvm::Expected<std::vector<FusionRequirement>> llmopt::parseFusionRequirements(StringRef text) {
  std::vector<FusionRequirement> requirements;
  llvm::SmallVector<StringRef> parts;
  text.split(parts, ',');
  for (StringRef part : parts) {
    auto [name, number] = part.split(':');
    std::optional<FusionKind> kind = parseFusionKind(name);
    unsigned count = 0;
    if (!kind) {
      std::string names;
      for (FusionKind known : getAllKinds())
        names += (names.empty() ? "" : ", ") + getFusionKindName(known).str();
      return llvm::createStringError(llvm::formatv("expected one of {0}, but got '{1}'", names, name));
    }
    if (number.getAsInteger(10, count))
      return llvm::createStringError(llvm::formatv("expected {0}:COUNT, but got '{1}'", name, part));
    for (const FusionRequirement &other : requirements)
      if (other.kind == *kind)
        return llvm::createStringError(llvm::formatv("expected every kind once, but got '{0}' twice", name));
    requirements.push_back({*kind, count});
  }
  return requirements;
}

std::vector<std::string> llmopt::checkFusionRequirements(const FusionReport &report,
                                                         llvm::ArrayRef<FusionRequirement> requirements) {
  std::vector<std::string> differences;
  for (const FusionRequirement &requirement : requirements) {
    unsigned count = report.countPassed(requirement.kind);
    if (count == requirement.count)
      continue;
    std::string text = llvm::formatv("expected {0} {1} fusions, but got {2}", requirement.count,
                                     getFusionKindName(requirement.kind), count);
    for (const FusionSite &site : report.sites)
      if (site.kind == requirement.kind && !site.passed) {
        text += llvm::formatv(" (first missed: {0}: {1})", site.node, site.detail);
        break;
      }
    differences.push_back(text);
  }
  return differences;
}
