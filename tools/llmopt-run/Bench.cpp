// Measuring: warm up, run for a number of runs and a span of time, report the
// median, which a disturbed run does not move.
#include "Reports.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace llmopt::run;

namespace {
using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void printProfile(llmopt_model *model, const BoundSession &session) {
  uint32_t steps = infoOf(model).num_steps;
  std::vector<llmopt_step_profile> profiles(steps);
  double total = 0;
  llmopt_error error;
  for (uint32_t s = 0; s < steps; ++s) {
    profiles[s] = {};
    profiles[s].struct_size = sizeof(profiles[s]);
    check(llmopt_session_get_profile(session.get(), s, &profiles[s], &error), error);
    total += double(profiles[s].total_ns);
  }
  std::printf("  step   tiles      mean us   share  name\n");
  for (uint32_t s = 0; s < steps; ++s) {
    const llmopt_step_profile &p = profiles[s];
    double runs = p.runs ? double(p.runs) : 1;
    std::printf("%6u  %6lld  %11.2f  %5.1f%%  %s%s%s\n", s, static_cast<long long>(p.tiles),
                double(p.total_ns) / runs / 1000, total > 0 ? 100 * double(p.total_ns) / total : 0, p.name,
                *p.provider ? ", by " : "", p.provider);
  }
}
} // namespace

void llmopt::run::measure(llmopt_model *model, const Options &options, BoundSession &session) {
  // At least two: the first run touches all memory for the first time.
  Clock::time_point start = Clock::now();
  for (int i = 0; i < 2 || secondsSince(start) < options.warmupSeconds; ++i)
    session.run();
  llmopt_session_reset_profile(session.get());

  std::vector<double> ms;
  start = Clock::now();
  uint32_t minRuns = std::max(options.minRuns, 1u);
  while (ms.size() < minRuns || secondsSince(start) < options.minSeconds) {
    Clock::time_point before = Clock::now();
    session.run();
    ms.push_back(secondsSince(before) * 1000);
  }
  std::sort(ms.begin(), ms.end());
  size_t n = ms.size();
  double median = (ms[(n - 1) / 2] + ms[n / 2]) / 2;
  uint32_t threads = session.info().num_threads;
  bool synthetic = options.inputs.empty();

  if (options.json) {
    std::printf("{\"median_ms\": %.6f, \"min_ms\": %.6f, \"max_ms\": %.6f, "
                "\"runs\": %zu, \"threads\": %u, \"inputs\": \"%s\"}\n",
                median, ms.front(), ms.back(), n, threads, synthetic ? "synthetic" : "files");
    return;
  }
  for (const Tensor &tensor : session.inputs)
    std::printf("input    %s: %s\n", tensor.name.c_str(), format(tensor.type).c_str());
  if (synthetic)
    std::printf("inputs   %s\n", syntheticText);
  if (*infoOf(model).architectures)
    std::printf("device   the first CUDA device%s%s\n", options.noGraphs ? ", without graphs" : "",
                options.noOverlap ? ", without overlap" : "");
  else
    std::printf("threads  %u\n", threads);
  std::printf("runs     %zu\nmedian   %.4f ms\nmin      %.4f ms\n"
              "max      %.4f ms\n",
              n, median, ms.front(), ms.back());
  if (options.profile)
    printProfile(model, session);
}
