#include "Ledger.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <cmath>

using namespace llmopt;

static std::string formatOr(const char *format, const std::optional<double> &value) {
  if (!value)
    return "-";
  if (std::isinf(*value))
    return "exact";
  char text[32];
  std::snprintf(text, sizeof text, format, *value);
  return text;
}

void Ledger::print(llvm::raw_ostream &os) const {
  size_t width = 5;
  for (const LedgerEntry &entry : layers)
    width = std::max(width, entry.layer.size());
  int w = static_cast<int>(std::min<size_t>(width, 60));
  bool anyMeasured = llvm::any_of(layers, [](const LedgerEntry &entry) { return entry.measured; });
  bool allMeasured =
      llvm::all_of(layers, [](const LedgerEntry &entry) { return entry.measured || entry.floatMicroseconds == 0; });
  os << llvm::format("%-*s %-16s %13s %10s %18s %8s %9s  %s\n", w, "layer", "scheme", "K x N", "KB",
                     !anyMeasured  ? "us estimated"
                     : allMeasured ? "us measured"
                                   : "us, ~ estimated",
                     "SQNR dB", "KL", "why");
  int64_t bytes = 0, floatBytes = 0;
  double time = 0, floatTime = 0;
  for (const LedgerEntry &entry : layers) {
    std::string shape = std::to_string(entry.k) + " x " + std::to_string(entry.n);
    std::string times = entry.floatMicroseconds == 0
                            ? "-"
                            : llvm::formatv("{0}{1:f0} of {2:f0}", anyMeasured && !entry.measured ? "~" : "",
                                            entry.microseconds, entry.floatMicroseconds)
                                  .str();
    os << llvm::format("%-*s %-16s %13s %10.1f %18s %8s %9s  %s\n", w, entry.layer.c_str(), entry.scheme.c_str(),
                       shape.c_str(), entry.bytes / 1e3, times.c_str(), formatOr("%.1f", entry.sqnr).c_str(),
                       formatOr("%.2e", entry.damage).c_str(), entry.reason.c_str());
    if (entry.floatMicroseconds == 0)
      continue; // a table, among the other weights
    bytes += entry.bytes;
    floatBytes += entry.floatBytes;
    time += entry.microseconds;
    floatTime += entry.floatMicroseconds;
  }
  os << llvm::format("linear layers: %.2f MB of %.2f MB, %.0f us of %.0f us (%s); other weights: %.2f MB\n",
                     bytes / 1e6, floatBytes / 1e6, time, floatTime,
                     !anyMeasured  ? "estimated, 128 rows"
                     : allMeasured ? "measured"
                                   : "measured in part",
                     otherBytes / 1e6);
  if (after) {
    os << llvm::format("%s: %.5f, was %.5f", metric.c_str(), *after, before.value_or(NAN));
    if (interval)
      os << llvm::format(" (change %+.5f, 95 %% interval +-%.5f)", *after - before.value_or(NAN), *interval);
    os << llvm::format("; %lld of %lld answers changed", static_cast<long long>(flips),
                       static_cast<long long>(samples));
    if (worstClassLoss)
      os << llvm::format("; worst class %lld: recall %+.5f", static_cast<long long>(worstClass), 0 - *worstClassLoss);
    os << "\n";
  }
  for (const ParetoPoint &point : points) {
    os << (point.chosen ? "* " : "  ") << llvm::format("%10.2f MB", point.bytes / 1e6);
    if (point.seconds)
      os << llvm::format(" %9.2f ms", *point.seconds * 1e3);
    if (point.metric)
      os << llvm::format("  %s %.5f", metric.c_str(), *point.metric);
    os << "  " << point.description << (point.meetsBudget ? "" : "  (over budget)") << "\n";
  }
}

void Ledger::printJSON(llvm::raw_ostream &os) const {
  llvm::json::OStream json(os, 2);
  auto optional = [&](llvm::StringRef key, const std::optional<double> &value) {
    if (value && std::isfinite(*value))
      json.attribute(key, *value);
  };
  json.object([&] {
    json.attributeArray("layers", [&] {
      for (const LedgerEntry &entry : layers)
        json.object([&] {
          json.attribute("layer", entry.layer);
          json.attribute("scheme", entry.scheme);
          json.attributeArray("shape", [&] {
            json.value(entry.k);
            json.value(entry.n);
          });
          json.attribute("bytes", entry.bytes);
          json.attribute("float_bytes", entry.floatBytes);
          json.attribute("microseconds", entry.microseconds);
          json.attribute("float_microseconds", entry.floatMicroseconds);
          json.attribute("time_is", entry.measured ? "measured" : "estimated");
          if (!entry.rows.empty())
            json.attributeArray("rows", [&] {
              for (int64_t rows : entry.rows)
                json.value(rows);
            });
          optional("sqnr_db", entry.sqnr);
          optional("kl", entry.damage);
          if (!entry.reason.empty())
            json.attribute("reason", entry.reason);
        });
    });
    json.attribute("other_bytes", otherBytes);
    if (after)
      json.attributeObject("evaluation", [&] {
        json.attribute("metric", metric);
        optional("before", before);
        optional("after", after);
        optional("interval", interval);
        optional("kl", kl);
        json.attribute("samples", samples);
        json.attribute("flips", flips);
        optional("worst_class_loss", worstClassLoss);
        json.attribute("worst_class", worstClass);
      });
    if (!points.empty())
      json.attributeArray("points", [&] {
        for (const ParetoPoint &point : points)
          json.object([&] {
            json.attribute("description", point.description);
            json.attribute("bytes", point.bytes);
            optional("metric", point.metric);
            optional("seconds", point.seconds);
            json.attribute("meets_budget", point.meetsBudget);
            json.attribute("chosen", point.chosen);
          });
      });
  });
  os << "\n";
}
