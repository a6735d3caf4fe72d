// What the user asked for of training.
#ifndef LLMOPT_DRIVER_TRAINOPTIONS_H
#define LLMOPT_DRIVER_TRAINOPTIONS_H

#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace llmopt {

struct HeadOptions {
  std::string kind; ///< sequence, token, span, multilabel, regression or embedding
  int64_t count = 1;
  std::string pool = "cls";
  /// The loss that fits.
  const char *getLoss() const;
};

struct LoRAOptions {
  int64_t rank = 8;
  double alpha = 16;
  bool rs = false;
  std::vector<std::string> targets; ///< globs
};

struct TrainOptions {
  std::optional<HeadOptions> head;
  std::optional<LoRAOptions> lora;
  std::optional<double> dropout; ///< default probability
  std::optional<uint64_t> seed;  ///< of new weights

  bool any() const { return head || lora || dropout || seed; }
};

/// Each takes what stands behind the `=` of its option; the error says what was
/// expected.
bool parseHead(llvm::StringRef text, TrainOptions &options, std::string &error);
bool parseLoRA(llvm::StringRef text, TrainOptions &options, std::string &error);
bool parseDropout(llvm::StringRef text, TrainOptions &options, std::string &error);
bool parseSeed(llvm::StringRef text, TrainOptions &options, std::string &error);

} // namespace llmopt

#endif
