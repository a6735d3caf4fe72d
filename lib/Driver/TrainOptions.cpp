#include "llmopt/Driver/TrainOptions.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

#include <cmath>

using namespace llmopt;
using llvm::StringRef;

static bool fail(std::string &error, const llvm::Twine &message) {
  error = message.str();
  return false;
}

const char *HeadOptions::getLoss() const {
  StringRef name = kind;
  return name == "span"         ? "span"
         : name == "multilabel" ? "bce"
         : name == "regression" ? "mse"
         : name == "embedding"  ? "contrastive"
                                : "cross_entropy";
}

bool llmopt::parseHead(StringRef text, TrainOptions &options, std::string &error) {
  HeadOptions head;
  auto [first, rest] = text.split(',');
  auto [kind, count] = first.split(':');
  head.kind = kind.str();
  bool isCounted = llvm::is_contained({"sequence", "token", "multilabel"}, kind);
  bool good = isCounted              ? !count.getAsInteger(10, head.count)
              : kind == "regression" ? count.empty() || !count.getAsInteger(10, head.count)
                                     : llvm::is_contained({"span", "embedding"}, kind) && count.empty();
  if (!rest.empty()) {
    head.pool = rest.str();
    good = good && kind != "token" && kind != "span" && rest.consume_front("pool:") &&
           llvm::is_contained({"cls", "mean", "first"}, rest);
    head.pool = rest.str();
  }
  if (!good || head.count < 1)
    return fail(error, "expected -head=sequence:<n>|multilabel:<n>|regression[:<n>]|embedding[,pool:cls|mean|first], "
                       "token:<n> or span, but got " +
                           text);
  options.head = std::move(head);
  return true;
}

bool llmopt::parseLoRA(StringRef text, TrainOptions &options, std::string &error) {
  LoRAOptions lora;
  llvm::SmallVector<StringRef> parts;
  text.split(parts, ',');
  bool good = true;
  for (StringRef part : parts) {
    auto [key, value] = part.split(':');
    if (key == "r")
      good = !value.getAsInteger(10, lora.rank) && lora.rank > 0;
    else if (key == "alpha")
      good = !value.getAsDouble(lora.alpha) && lora.alpha > 0 && std::isfinite(lora.alpha);
    else if (key == "rs" && (value == "on" || value == "off"))
      lora.rs = value == "on";
    else if (key == "targets")
      for (StringRef glob : llvm::split(value, '+'))
        glob.empty() ? void() : lora.targets.push_back(glob.str());
    else
      good = false;
    if (!good)
      break;
  }
  if (!good || lora.targets.empty())
    return fail(error, "expected -lora=r:<n>,alpha:<x>,targets:<glob>+..,rs:on|off with targets, but got " + text);
  options.lora = std::move(lora);
  return true;
}

bool llmopt::parseDropout(StringRef text, TrainOptions &options, std::string &error) {
  double p;
  if (text.getAsDouble(p) || !(p >= 0 && p < 1))
    return fail(error, "expected a -dropout from 0 to below 1, but got " + text);
  options.dropout = p;
  return true;
}

bool llmopt::parseSeed(StringRef text, TrainOptions &options, std::string &error) {
  uint64_t seed;
  if (text.getAsInteger(10, seed))
    return fail(error, "expected an integer of 64 bits as -seed, but got " + text);
  options.seed = seed;
  return true;
}
