#include "Search.h"

#include <algorithm>
#include <tuple>

using namespace llmopt;

static double getCost(const Candidate &c, double lambda, double mu) {
  return lambda * static_cast<double>(c.bytes) * 1e-6 + mu * c.seconds;
}

std::vector<Assignment> llmopt::listHull(llvm::ArrayRef<std::vector<Candidate>> layers, double lambda, double mu) {
  // Per layer the lower convex hull of (cost, damage), cheapest first; then all steps
  // of all layers in the order of damage saved per cost.
  struct Step {
    size_t layer, from, to;
    double slope;
  };
  std::vector<Step> steps;
  Assignment cheapest;
  for (size_t l = 0; l < layers.size(); ++l) {
    const std::vector<Candidate> &candidates = layers[l];
    std::vector<size_t> order(candidates.size());
    for (size_t i = 0; i < order.size(); ++i)
      order[i] = i;
    auto cost = [&](size_t i) { return getCost(candidates[i], lambda, mu); };
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::make_tuple(cost(a), candidates[a].damage, a) < std::make_tuple(cost(b), candidates[b].damage, b);
    });
    std::vector<size_t> hull;
    for (size_t i : order) {
      if (!hull.empty() && candidates[i].damage >= candidates[hull.back()].damage)
        continue; // dearer and no better
      while (hull.size() >= 2) {
        size_t a = hull[hull.size() - 2], b = hull.back();
        double first = (candidates[a].damage - candidates[b].damage) / (cost(b) - cost(a));
        double second = (candidates[b].damage - candidates[i].damage) / (cost(i) - cost(b));
        if (first > second)
          break;
        hull.pop_back();
      }
      hull.push_back(i);
    }
    cheapest.push_back(hull.front());
    for (size_t i = 0; i + 1 < hull.size(); ++i) {
      const Candidate &from = candidates[hull[i]], &to = candidates[hull[i + 1]];
      steps.push_back({l, hull[i], hull[i + 1], (from.damage - to.damage) / (cost(hull[i + 1]) - cost(hull[i]))});
    }
  }
  // Slopes of one layer fall along its hull, so its steps stay in order.
  std::sort(steps.begin(), steps.end(), [](const Step &a, const Step &b) {
    return std::make_tuple(-a.slope, a.layer, a.to) < std::make_tuple(-b.slope, b.layer, b.to);
  });
  std::vector<Assignment> path{cheapest};
  for (const Step &step : steps) {
    Assignment next = path.back();
    next[step.layer] = step.to;
    path.push_back(std::move(next));
  }
  return path;
}
