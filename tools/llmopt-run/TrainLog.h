// What training tells: a line that moves on a terminal, JSON lines, TensorBoard events.
#ifndef LLMOPT_RUN_TRAINLOG_H
#define LLMOPT_RUN_TRAINLOG_H

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace llmopt::run {

using Values = std::vector<std::pair<std::string, double>>;

/// {"a":1,"b":null}: numbers that JSON does not have are null.
std::string toJSON(const Values &values);

class TrainLog {
public:
  /// Paths may be "". With `append`, files go on where they ended. Throws a Failure.
  TrainLog(const std::string &jsonLines, const std::string &tensorboard, bool append);

  /// One object per line; scalars under "<tag>/<name>".
  void write(const std::string &tag, uint64_t step, const Values &values);
  /// Shown on a terminal only, in place of the line before.
  void progress(const std::string &line);
  void clearProgress();

private:
  struct Close {
    void operator()(std::FILE *file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;
  void writeEvent(const std::string &event);

  File lines, events;
  std::string linesPath, eventsPath;
  bool isTerminal;
  size_t shown = 0;
};

} // namespace llmopt::run

#endif
