#include "llmopt/Execution/Metrics.h"

#include "llmopt/Runtime/abi.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <cstring>

using namespace llmopt;
using llvm::ArrayRef;
using llvm::StringRef;

static constexpr std::pair<Metric, const char *> kNames[] = {
    {Metric::Accuracy, "accuracy"},     {Metric::F1, "f1"}, {Metric::Cosine, "cosine"},
    {Metric::Perplexity, "perplexity"}, {Metric::KL, "kl"}, {Metric::Top1, "top1"}};

std::optional<Metric> llmopt::parseMetric(StringRef name) {
  for (auto [metric, text] : kNames)
    if (name == text)
      return metric;
  return std::nullopt;
}

StringRef llmopt::getMetricName(Metric metric) {
  return llvm::find_if(kNames, [&](auto &pair) { return pair.first == metric; })->second;
}

std::string llmopt::getMetricNames() {
  std::string names;
  for (auto [metric, text] : kNames)
    names += (names.empty() ? "" : ", ") + std::string(text);
  return names;
}

bool llmopt::needsLabels(Metric metric) { return metric == Metric::Accuracy || metric == Metric::F1; }

int llmopt::getDirection(Metric metric) { return metric == Metric::Perplexity || metric == Metric::KL ? -1 : 1; }

void Answers::append(const Answers &more) {
  width = more.width;
  rows += more.rows;
  values.insert(values.end(), more.values.begin(), more.values.end());
  keep.insert(keep.end(), more.keep.begin(), more.keep.end());
}

Answers Answers::slice(int64_t first, int64_t count) const {
  Answers part;
  part.rows = count;
  part.width = width;
  part.isPerToken = isPerToken;
  part.values.assign(values.begin() + first * width, values.begin() + (first + count) * width);
  if (!keep.empty())
    part.keep.assign(keep.begin() + first, keep.begin() + first + count);
  return part;
}

llvm::Expected<Answers> llmopt::getAnswers(ArrayRef<NamedArray> outputs, ArrayRef<NamedArray> inputs, StringRef mask) {
  for (const NamedArray &output : outputs) {
    if (output.dtype != LLMOPT_F32 || output.dims.size() < 2 || output.dims.size() > 3)
      continue;
    Answers answers;
    answers.width = output.dims.back();
    answers.rows = countElements(output) / std::max<int64_t>(1, answers.width);
    answers.values.resize(countElements(output));
    std::memcpy(answers.values.data(), output.data.data(), output.data.size());
    answers.isPerToken = output.dims.size() == 3;
    if (output.dims[0] != inputs.front().dims[0])
      return llvm::createStringError("output '" + output.name + "': expected a dimension of samples first");
    if (answers.isPerToken)
      for (const NamedArray &input : inputs)
        if (input.name == mask && countElements(input) == answers.rows)
          for (int64_t i = 0; i < answers.rows; ++i)
            answers.keep.push_back(getElement(input, i) != 0);
    return answers;
  }
  return llvm::createStringError("expected an output of f32 [N, C] or [N, S, C] to evaluate");
}

llvm::Expected<std::vector<int64_t>> llmopt::getNextTokens(ArrayRef<NamedArray> inputs, const Answers &answers) {
  std::vector<int64_t> labels;
  for (const NamedArray &input : inputs)
    if (input.name == "input_ids" && input.dims.size() == 2 && countElements(input) == answers.rows)
      for (int64_t i = 0, length = input.dims[1]; i < answers.rows; ++i) {
        bool hasNext = (i + 1) % length != 0 && (answers.keep.empty() || (answers.keep[i] && answers.keep[i + 1]));
        labels.push_back(hasNext ? static_cast<int64_t>(getElement(input, i + 1)) : -100);
      }
  if (labels.empty())
    return llvm::createStringError("expected an input 'input_ids' [N, S] and logits [N, S, V] for perplexity");
  for (int64_t label : labels)
    if (label != -100 && (label < 0 || label >= answers.width))
      return llvm::createStringError("expected ids in [0, " + llvm::Twine(answers.width) + "), but got " +
                                     llvm::Twine(label));
  return labels;
}

llvm::Expected<std::vector<int64_t>> llmopt::readLabels(const Dataset &data, Metric metric, int64_t rows,
                                                        int64_t width) {
  std::vector<int64_t> labels;
  if (!needsLabels(metric))
    return labels;
  const NamedArray *array = data.find("labels");
  if (!array)
    array = data.find("label");
  if (!array) {
    std::string names;
    for (const std::string &name : data.getExtraNames())
      names += (names.empty() ? "" : ", ") + name;
    return llvm::createStringError("expected an array 'labels' for " + getMetricName(metric) +
                                   (names.empty() ? "" : ", but got " + names));
  }
  for (int64_t i = 0, count = countElements(*array); i < count; ++i)
    labels.push_back(static_cast<int64_t>(getElement(*array, i)));
  // Samples that a fixed batch left over do not run.
  labels.resize(std::min<size_t>(labels.size(), rows));
  if (static_cast<int64_t>(labels.size()) != rows)
    return llvm::createStringError("expected " + llvm::Twine(rows) + " labels, but got " + llvm::Twine(labels.size()));
  for (int64_t label : labels)
    if (label != -100 && (label < 0 || label >= width))
      return llvm::createStringError("expected labels in [0, " + llvm::Twine(width) + "), but got " +
                                     llvm::Twine(label));
  return labels;
}

static int64_t argmax(const float *row, int64_t width) { return std::max_element(row, row + width) - row; }

/// log softmax of a row.
static std::vector<double> logSoftmax(const float *row, int64_t width) {
  double largest = *std::max_element(row, row + width), sum = 0;
  for (int64_t i = 0; i < width; ++i)
    sum += std::exp(row[i] - largest);
  std::vector<double> result(width);
  for (int64_t i = 0; i < width; ++i)
    result[i] = row[i] - largest - std::log(sum);
  return result;
}

static double cosine(const float *a, const float *b, int64_t width) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < width; ++i) {
    ab += double(a[i]) * b[i];
    aa += double(a[i]) * a[i];
    bb += double(b[i]) * b[i];
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : aa == bb;
}

double Comparer::getMeanF1() const {
  double sum = 0;
  int64_t present = 0;
  for (const Counts &c : classes)
    if (c.label || c.predicted) {
      sum += 2.0 * c.right / static_cast<double>(c.label + c.predicted);
      ++present;
    }
  return present ? sum / static_cast<double>(present) : 0;
}

Comparer::Comparer(Metric metric, int64_t width) : metric(metric), classes(needsLabels(metric) ? width : 0) {}

void Comparer::add(const Answers &answers, const Answers &original, ArrayRef<int64_t> labels) {
  int64_t width = answers.width;
  for (int64_t r = 0; r < answers.rows; ++r) {
    if (!answers.keep.empty() && !answers.keep[r])
      continue;
    const float *now = &answers.values[r * width], *before = &original.values[r * width];
    int64_t choice = argmax(now, width), originalChoice = argmax(before, width);
    ++rows;
    flips += choice != originalChoice;
    cosines += cosine(now, before, width);
    std::vector<double> p = logSoftmax(before, width), q = logSoftmax(now, width);
    for (int64_t i = 0; i < width; ++i)
      kl += std::exp(p[i]) * (p[i] - q[i]);
    if (labels.empty() || labels[r] == -100)
      continue;
    int64_t label = labels[r];
    ++labelled;
    likelihood += q[label];
    right += choice == label;
    onlyNow += choice == label && originalChoice != label;
    onlyBefore += choice != label && originalChoice == label;
    if (!classes.empty()) {
      ++classes[label].label;
      ++classes[choice].predicted;
      classes[label].right += choice == label;
      classes[label].originalRight += originalChoice == label;
    }
  }
}

Comparison Comparer::finish() const {
  Comparison result;
  result.rows = rows;
  result.flips = flips;
  double seen = static_cast<double>(std::max<int64_t>(1, rows));
  double count = static_cast<double>(std::max<int64_t>(1, labelled));
  result.kl = kl / seen;
  result.cosine = cosines / seen;
  // McNemar: only samples that changed sides carry variance.
  double change = (onlyNow - onlyBefore) / count;
  result.interval = 1.96 * std::sqrt(std::max(0.0, (onlyNow + onlyBefore) / count - change * change) / count);
  for (auto [i, c] : llvm::enumerate(classes))
    if (c.label) {
      double loss = static_cast<double>(c.originalRight - c.right) / static_cast<double>(c.label);
      if (result.worstClass < 0 || loss > result.worstClassLoss) {
        result.worstClassLoss = loss;
        result.worstClass = static_cast<int64_t>(i);
      }
    }
  switch (metric) {
  case Metric::Accuracy:
    result.value = right / count;
    break;
  case Metric::F1:
    result.value = getMeanF1();
    break;
  case Metric::Cosine:
    result.value = result.cosine;
    break;
  case Metric::Perplexity:
    result.value = std::exp(-likelihood / count);
    break;
  case Metric::KL:
    result.value = result.kl;
    break;
  case Metric::Top1:
    result.value = 1 - static_cast<double>(flips) / seen;
    break;
  }
  return result;
}
