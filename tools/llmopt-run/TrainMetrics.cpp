#include "TrainMetrics.h"

#include <algorithm>
#include <cmath>

using namespace llmopt::run;

namespace {

constexpr int64_t kIgnored = -100;

int64_t best(const float *values, uint64_t count, uint64_t stride = 1) {
  uint64_t at = 0;
  for (uint64_t i = 1; i < count; ++i)
    if (values[i * stride] > values[at * stride])
      at = i;
  return int64_t(at);
}

uint64_t elements(const llmopt_tensor_type &type, uint32_t first, uint32_t end) {
  uint64_t n = 1;
  for (uint32_t d = first; d < end; ++d)
    n *= uint64_t(type.dims[d]);
  return n;
}

} // namespace

std::vector<Chunk> llmopt::run::findChunks(const std::vector<std::string> &tags) {
  std::vector<Chunk> chunks;
  bool open = false;
  for (size_t i = 0; i <= tags.size(); ++i) {
    bool isChunk = i < tags.size() && tags[i].size() > 2 && tags[i][1] == '-';
    std::string type = isChunk ? tags[i].substr(2) : "";
    bool continues = isChunk && open && tags[i][0] == 'I' && chunks.back().type == type;
    if (continues) {
      chunks.back().end = i + 1;
      continue;
    }
    open = isChunk;
    if (isChunk)
      chunks.push_back({type, i, i + 1});
  }
  return chunks;
}

Metrics::Metrics(std::string loss, std::vector<std::string> classNames)
    : loss(std::move(loss)), names(std::move(classNames)) {}

void Metrics::addClass(int64_t predicted, int64_t wanted) {
  ++confusion[{predicted, wanted}];
  ++total;
  right += predicted == wanted;
}

void Metrics::addEntities(const std::vector<std::string> &predicted, const std::vector<std::string> &wanted) {
  std::vector<Chunk> given = findChunks(predicted), gold = findChunks(wanted);
  for (const Chunk &chunk : given) {
    ++entities[chunk.type].predicted;
    entities[chunk.type].right += std::find(gold.begin(), gold.end(), chunk) != gold.end();
  }
  for (const Chunk &chunk : gold)
    ++entities[chunk.type].wanted;
}

/// Logits [.., C] beside labels [..]; with a shift the prediction of a position is that of
/// the label behind it.
void Metrics::addClasses(const llmopt_tensor_type &type, const float *output, const int64_t *labels, uint64_t shift) {
  const uint64_t classes = uint64_t(type.dims[type.rank - 1]), sequences = uint64_t(type.dims[0]);
  const uint64_t length = elements(type, 1, type.rank - 1);
  perToken = type.rank > 2;
  const bool hasEntities = perToken && !shift && std::any_of(names.begin(), names.end(), [](const std::string &n) {
                             return n.size() > 2 && n[1] == '-';
                           });
  auto nameOf = [&](int64_t label) { return size_t(label) < names.size() ? names[size_t(label)] : std::string("O"); };
  for (uint64_t s = 0; s < sequences; ++s) {
    std::vector<std::string> predicted, wanted;
    for (uint64_t i = 0; i + shift < length; ++i) {
      int64_t label = labels[s * length + i + shift];
      if (label == kIgnored)
        continue;
      int64_t guess = best(output + (s * length + i) * classes, classes);
      if (loss == "causal") { // a confusion matrix of a vocabulary says nothing
        ++total;
        right += guess == label;
        continue;
      }
      addClass(guess, label);
      if (hasEntities) {
        predicted.push_back(nameOf(guess));
        wanted.push_back(nameOf(label));
      }
    }
    if (hasEntities)
      addEntities(predicted, wanted);
  }
}

void Metrics::add(const llmopt_tensor_type &type, const float *output, const std::vector<const char *> &labels,
                  double sum, double weight) {
  lossSum += sum;
  lossWeight += weight;
  const uint64_t count = elements(type, 0, type.rank), width = type.rank ? uint64_t(type.dims[type.rank - 1]) : 1;
  if (labels.empty())
    return;
  const auto *integers = reinterpret_cast<const int64_t *>(labels[0]);
  const auto *reals = reinterpret_cast<const float *>(labels[0]);
  if (loss == "cross_entropy" || loss == "causal")
    return addClasses(type, output, integers, loss == "causal" ? 1 : 0);
  if (loss == "span") {
    const uint64_t length = uint64_t(type.dims[1]);
    const auto *ends = reinterpret_cast<const int64_t *>(labels[1]);
    for (int64_t b = 0; b < type.dims[0]; ++b) {
      if (integers[b] == kIgnored || ends[b] == kIgnored)
        continue;
      const float *logits = output + uint64_t(b) * length * 2;
      int64_t first = best(logits, length, 2), end = best(logits + 1, length, 2);
      int64_t common = std::min(end, ends[b]) - std::max(first, integers[b]) + 1;
      int64_t together = std::max<int64_t>(end - first + 1, 0) + ends[b] - integers[b] + 1;
      overlap += common > 0 ? 2.0 * double(common) / double(together) : 0;
      exactRows += first == integers[b] && end == ends[b];
      ++rows;
    }
    return;
  }
  if (loss == "kl") {
    for (uint64_t i = 0; i + width <= count; i += width) {
      ++total;
      right += best(output + i, width) == best(reals + i, width);
    }
    return;
  }
  if (loss == "bce") {
    for (uint64_t i = 0; i + width <= count; i += width, ++rows) {
      bool exact = true;
      for (uint64_t c = 0; c < width; ++c) {
        bool guess = output[i + c] > 0, label = reals[i + c] > 0.5f;
        Hits &hits = perLabel[int64_t(c)];
        hits.predicted += guess;
        hits.wanted += label;
        hits.right += guess && label;
        exact &= guess == label;
      }
      exactRows += exact;
    }
    return;
  }
  for (uint64_t i = 0; i < count; ++i) {
    double x = output[i], y = reals[i];
    const double terms[] = {1, x, y, x * x, y * y, x * y, std::fabs(x - y)};
    for (size_t k = 0; k < moments.size(); ++k)
      moments[k] += terms[k];
  }
}

std::vector<std::pair<std::string, double>> Metrics::finish() const {
  std::vector<std::pair<std::string, double>> result;
  const double mean = lossWeight > 0 ? lossSum / lossWeight : 0;
  result.emplace_back("loss", mean);
  auto share = [](uint64_t part, uint64_t whole) { return whole ? double(part) / double(whole) : 0; };
  if (loss == "causal") {
    result.emplace_back("perplexity", std::exp(mean));
    result.emplace_back("accuracy", share(right, total));
  } else if (loss == "cross_entropy") {
    std::map<int64_t, Hits> classes;
    for (const auto &[pair, n] : confusion) {
      classes[pair.first].predicted += n;
      classes[pair.second].wanted += n;
      if (pair.first == pair.second)
        classes[pair.first].right += n;
    }
    double precision = 0, recall = 0, f1 = 0, crossed = 0, predictedSquares = 0, wantedSquares = 0;
    for (const auto &[label, hits] : classes) {
      precision += hits.precision();
      recall += hits.recall();
      f1 += hits.f1();
      crossed += double(hits.predicted) * double(hits.wanted);
      predictedSquares += double(hits.predicted) * double(hits.predicted);
      wantedSquares += double(hits.wanted) * double(hits.wanted);
    }
    const double n = double(total), k = classes.empty() ? 1 : double(classes.size());
    const double spread = std::sqrt((n * n - predictedSquares) * (n * n - wantedSquares));
    result.emplace_back("accuracy", share(right, total)); // micro precision, recall and F1 of one label each
    result.emplace_back("precision_macro", precision / k);
    result.emplace_back("recall_macro", recall / k);
    result.emplace_back("f1_macro", f1 / k);
    result.emplace_back("mcc", spread > 0 ? (double(right) * n - crossed) / spread : 0);
    if (classes.size() == 2 && classes.count(1))
      result.emplace_back("f1", classes[1].f1());
    if (!entities.empty()) {
      Hits all;
      double macro = 0;
      for (const auto &[type, hits] : entities) {
        all.right += hits.right;
        all.predicted += hits.predicted;
        all.wanted += hits.wanted;
        macro += hits.f1();
      }
      result.emplace_back("entity_f1", all.f1());
      result.emplace_back("entity_precision", all.precision());
      result.emplace_back("entity_recall", all.recall());
      result.emplace_back("entity_f1_macro", macro / double(entities.size()));
      for (const auto &[type, hits] : entities)
        result.emplace_back("entity_f1." + type, hits.f1());
    }
  } else if (loss == "bce") {
    Hits all;
    double macro = 0;
    for (const auto &[label, hits] : perLabel) {
      all.right += hits.right;
      all.predicted += hits.predicted;
      all.wanted += hits.wanted;
      macro += hits.f1();
    }
    result.emplace_back("f1_micro", all.f1());
    result.emplace_back("f1_macro", perLabel.empty() ? 0 : macro / double(perLabel.size()));
    result.emplace_back("exact", share(exactRows, rows));
  } else if (loss == "mse") {
    const auto &[n, x, y, xx, yy, xy, distance] = moments;
    const double spread = std::sqrt((n * xx - x * x) * (n * yy - y * y));
    result.emplace_back("mse", n > 0 ? (xx - 2 * xy + yy) / n : 0);
    result.emplace_back("mae", n > 0 ? distance / n : 0);
    result.emplace_back("pearson", spread > 0 ? (n * xy - x * y) / spread : 0);
  } else if (loss == "span") {
    result.emplace_back("exact", share(exactRows, rows));
    result.emplace_back("f1", rows ? overlap / double(rows) : 0);
  } else if (loss == "kl") {
    result.emplace_back("agreement", share(right, total));
  }
  return result;
}

std::string Metrics::mainMetric() const {
  if (loss == "cross_entropy")
    return entities.empty() ? "accuracy" : "entity_f1";
  if (loss == "bce")
    return "f1_micro";
  if (loss == "span")
    return "f1";
  return "loss";
}

bool Metrics::isHigherBetter(const std::string &metric) {
  return metric != "loss" && metric != "perplexity" && metric != "mse" && metric != "mae";
}
