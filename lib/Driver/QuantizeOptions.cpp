#include "llmopt/Driver/QuantizeOptions.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/Twine.h"

using namespace llmopt;
using llvm::StringRef;

static bool fail(std::string &error, const llvm::Twine &message) {
  error = message.str();
  return false;
}

/// Calls `apply(key, value)` for every `key:value` of a list.
template <typename Apply> static bool forEachPair(StringRef text, Apply apply) {
  llvm::SmallVector<StringRef> parts;
  text.split(parts, ',');
  for (StringRef part : parts) {
    auto [key, value] = part.split(':');
    if (!apply(key, value))
      return false;
  }
  return true;
}

/// Keys that both formats have.
static bool parseCommon(StringRef key, StringRef value, QuantizeOptions &options) {
  if (key == "mode" && (value == "fake" || value == "integer"))
    return options.fake = value == "fake", true;
  if (key != "embeddings" || (value != "int8" && value != "float"))
    return false;
  options.embeddings = value == "int8";
  return true;
}

bool llmopt::parseQuantizeInt8(StringRef text, QuantizeOptions &options, std::string &error) {
  options.int8 = true;
  if (text.empty())
    return true;
  return forEachPair(text, [&](StringRef key, StringRef value) {
    if (key == "inputs" && (value == "dynamic" || value == "static" || value == "float")) {
      options.staticInputs = value == "static";
      options.int8WeightsOnly = value == "float";
      return true;
    }
    if (key == "smooth" && !value.getAsDouble(options.smooth) && options.smooth > 0 && options.smooth < 1)
      return true;
    if (key == "bias" && (value == "corrected" || value == "kept"))
      return options.biasCorrection = value == "corrected", true;
    if (parseCommon(key, value, options))
      return true;
    return fail(error, "expected -quantize-int8=inputs:dynamic|static|float,smooth:<0..1>,bias:corrected|kept,"
                       "embeddings:int8|float,mode:integer|fake, but got " +
                           key + ":" + value);
  });
}

bool llmopt::parseQuantizeInt4(StringRef text, QuantizeOptions &options, std::string &error) {
  options.int4 = true;
  if (text.empty())
    return true;
  return forEachPair(text, [&](StringRef key, StringRef value) {
    if (key == "group" && !value.getAsInteger(10, options.group) &&
        (options.group == 32 || options.group == 64 || options.group == 128))
      return true;
    if (key == "inputs" && (value == "int8" || value == "float"))
      return options.weightsOnly = value == "float", true;
    if (key == "zero" && (value == "symmetric" || value == "asymmetric"))
      return options.asymmetric = value == "asymmetric", true;
    if (key == "method") {
      options.method = llvm::StringSwitch<std::optional<WeightMethod>>(value)
                           .Case("nearest", WeightMethod::Nearest)
                           .Case("gptq", WeightMethod::GPTQ)
                           .Case("awq", WeightMethod::AWQ)
                           .Default(std::nullopt);
      if (options.method)
        return true;
    }
    if (parseCommon(key, value, options))
      return true;
    return fail(error, "expected -quantize-int4=group:32|64|128,method:nearest|gptq|awq,inputs:int8|float,"
                       "zero:symmetric|asymmetric,embeddings:int8|float,mode:integer|fake, but got " +
                           key + ":" + value);
  });
}

bool llmopt::parseCalib(StringRef text, QuantizeOptions &options, std::string &error) {
  auto [path, rest] = text.split(',');
  options.calib = path.str();
  if (path.empty())
    return fail(error, "expected -calib=<data.npz|folder of .npy|data.jsonl>");
  if (rest.empty())
    return true;
  return forEachPair(rest, [&](StringRef key, StringRef value) {
    if (key == "range") {
      std::optional<RangeMethod> method = parseRangeMethod(value);
      if (method)
        return options.range = *method, true;
    }
    if (key == "mask" && !value.empty())
      return options.mask = value.str(), true;
    if (key == "samples" && !value.getAsInteger(10, options.calibSamples) && options.calibSamples > 0)
      return true;
    return fail(error, "expected -calib=<data>,range:minmax|average|percentile|entropy|mse,mask:<input>,samples:<n>, "
                       "but got " +
                           key + ":" + value);
  });
}

bool llmopt::parseTune(StringRef text, QuantizeOptions &options, std::string &error) {
  options.tune = true;
  if (text.empty())
    return true;
  return forEachPair(text, [&](StringRef key, StringRef value) {
    std::vector<int64_t> sizes;
    llvm::SmallVector<StringRef> parts;
    value.split(parts, '+');
    bool good = !key.empty();
    for (StringRef part : parts) {
      int64_t size = 0;
      good &= !part.getAsInteger(10, size) && size > 0;
      sizes.push_back(size);
    }
    if (!good)
      return fail(error, "expected -tune=<size>:<n>+<n>,.., e.g. batch:1,sequence:16+128, but got " + text);
    options.tuneSizes.emplace_back(key.str(), std::move(sizes));
    return true;
  });
}

bool llmopt::parseMetrics(StringRef text, QuantizeOptions &options, std::string &error) {
  llvm::SmallVector<StringRef> names;
  text.split(names, ',');
  for (StringRef name : names) {
    std::optional<Metric> metric = parseMetric(name);
    if (!metric)
      return fail(error, "expected -metric=" + getMetricNames() + ", but got " + name);
    options.metrics.push_back(*metric);
  }
  return true;
}

/// "0.5pt" or "0.5%" as a part of 1.
static bool parsePart(StringRef text, double &part, bool &relative) {
  relative = text.consume_back("%");
  if (!relative && !text.consume_back("pt"))
    return false;
  if (text.getAsDouble(part) || part < 0)
    return false;
  part /= 100;
  return true;
}

bool llmopt::parseAccuracyBudget(StringRef text, QuantizeOptions &options, std::string &error) {
  llvm::SmallVector<StringRef> parts;
  text.split(parts, ',');
  for (StringRef part : parts) {
    double value;
    bool relative, ofClass = part.consume_front("worst-class:");
    if (!parsePart(part, value, relative) || (ofClass && relative))
      return fail(error, "expected -accuracy-budget=<x>pt|<x>%,worst-class:<x>pt, but got " + text);
    if (ofClass) {
      options.classBudget = value;
    } else {
      options.accuracyBudget = value;
      options.relativeBudget = relative;
    }
  }
  return true;
}

bool llmopt::parseMaxSize(StringRef text, QuantizeOptions &options, std::string &error) {
  StringRef number = text;
  double unit = number.consume_back("GB") ? 1e9 : number.consume_back("MB") ? 1e6 : number.consume_back("KB") ? 1e3 : 1;
  double value;
  if (number.getAsDouble(value) || value <= 0)
    return fail(error, "expected -max-size=<x>MB, KB or GB, but got " + text);
  options.maxSize = static_cast<int64_t>(value * unit);
  return true;
}

bool llmopt::parseDuration(StringRef option, StringRef text, double &seconds, std::string &error) {
  StringRef number = text;
  double unit = number.consume_back("us") ? 1e-6 : number.consume_back("ms") ? 1e-3 : number.consume_back("s") ? 1 : 0;
  if (unit == 0 || number.getAsDouble(seconds) || seconds <= 0)
    return fail(error, "expected " + option + "=<x>us, ms or s, but got " + text);
  seconds *= unit;
  return true;
}

bool llmopt::checkQuantizeOptions(const QuantizeOptions &options, std::string &error) {
  bool needsData = options.staticInputs || options.smooth > 0 || options.biasCorrection ||
                   (options.method && *options.method != WeightMethod::Nearest);
  if (needsData && options.calib.empty())
    return fail(error, "expected -calib=<data>: static inputs, smooth, bias:corrected, gptq and awq need data");
  if (options.fake && options.method.value_or(WeightMethod::Nearest) != WeightMethod::Nearest)
    return fail(error, "expected method:nearest with mode:fake: weights that were solved do not follow training");
  if (options.fake && (options.asymmetric || options.smooth > 0 || options.biasCorrection))
    return fail(error, "expected no zero:asymmetric, smooth or bias:corrected with mode:fake");
  if (options.fake && options.hasBudget())
    return fail(error, "expected no budget with mode:fake: choose layers with -quantize-include and -quantize-exclude");
  if (!options.calib.empty() && !options.any())
    return fail(error, "expected -quantize-int8 or -quantize-int4 with -calib");
  if ((options.tune || !options.tuneFile.empty()) && (!options.any() || options.fake))
    return fail(error, "expected -quantize-int8 or -quantize-int4 in integers with -tune: times choose formats");
  if (options.hasBudget() && !options.any())
    return fail(error, "expected -quantize-int8 or -quantize-int4 with a budget");
  if ((options.accuracyBudget || options.classBudget) && options.eval.empty())
    return fail(error, "expected -eval=<data> with -accuracy-budget");
  if (options.classBudget && !options.metrics.empty() && options.metrics.front() != Metric::Accuracy)
    return fail(error, "expected -metric=accuracy with worst-class");
  return true;
}
