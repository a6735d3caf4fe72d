#include "TrainLog.h"

#include "Failure.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <sys/stat.h>
#include <unistd.h>

using namespace llmopt::run;

namespace {

/// CRC-32C (Castagnoli), masked as TFRecord files do.
uint32_t maskedCrc(const std::string &bytes) {
  uint32_t crc = ~0u;
  for (unsigned char c : bytes) {
    crc ^= c;
    for (int bit = 0; bit < 8; ++bit)
      crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1)));
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

void appendFixed(std::string &out, const void *bytes, size_t size) {
  out.append(static_cast<const char *>(bytes), size);
}

void appendVarint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

/// A field of protobuf with a length: strings and messages.
void appendBytes(std::string &out, uint32_t field, const std::string &bytes) {
  appendVarint(out, field << 3 | 2);
  appendVarint(out, bytes.size());
  out += bytes;
}

double wallTime() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

/// Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
std::string beginEvent(uint64_t step) {
  std::string event;
  double time = wallTime();
  appendVarint(event, 1 << 3 | 1);
  appendFixed(event, &time, sizeof(time));
  appendVarint(event, 2 << 3 | 0);
  appendVarint(event, step);
  return event;
}

std::FILE *openFile(const std::string &path, bool append) {
  std::FILE *file = std::fopen(path.c_str(), append ? "ab" : "wb");
  if (!file)
    throw Failure{Environment, path + ": cannot be written: " + std::strerror(errno)};
  return file;
}

} // namespace

std::string llmopt::run::toJSON(const Values &values) {
  std::string text = "{";
  char number[40];
  for (const auto &[name, value] : values) {
    std::snprintf(number, sizeof(number), "%.9g", value);
    text += (text.size() > 1 ? ",\"" : "\"") + name + "\":" + (std::isfinite(value) ? number : "null");
  }
  return text + "}";
}

TrainLog::TrainLog(const std::string &jsonLines, const std::string &tensorboard, bool append)
    : linesPath(jsonLines), isTerminal(isatty(STDERR_FILENO)) {
  if (!jsonLines.empty())
    lines.reset(openFile(jsonLines, append));
  if (tensorboard.empty())
    return;
  if (mkdir(tensorboard.c_str(), 0777) != 0 && errno != EEXIST)
    throw Failure{Environment, tensorboard + ": cannot be made: " + std::strerror(errno)};
  char name[64];
  std::snprintf(name, sizeof(name), "/events.out.tfevents.%lld.llmopt.%ld", static_cast<long long>(std::time(nullptr)),
                static_cast<long>(getpid()));
  eventsPath = tensorboard + name;
  events.reset(openFile(eventsPath, false));
  std::string event = beginEvent(0);
  appendBytes(event, 3, "brain.Event:2");
  writeEvent(event);
}

/// A record: length, its CRC, data, its CRC.
void TrainLog::writeEvent(const std::string &event) {
  std::string length, record;
  uint64_t size = event.size();
  appendFixed(length, &size, sizeof(size));
  uint32_t lengthCrc = maskedCrc(length), dataCrc = maskedCrc(event);
  record = length;
  appendFixed(record, &lengthCrc, sizeof(lengthCrc));
  record += event;
  appendFixed(record, &dataCrc, sizeof(dataCrc));
  if (std::fwrite(record.data(), 1, record.size(), events.get()) != record.size() || std::fflush(events.get()) != 0)
    throw Failure{Environment, eventsPath + ": cannot be written: " + std::strerror(errno)};
}

void TrainLog::write(const std::string &tag, uint64_t step, const Values &values) {
  if (lines) {
    std::string text = toJSON(values);
    text = "{\"kind\":\"" + tag + "\",\"step\":" + std::to_string(step) + (values.empty() ? "" : ",") + text.substr(1) +
           "\n";
    if (std::fputs(text.c_str(), lines.get()) < 0 || std::fflush(lines.get()) != 0)
      throw Failure{Environment, linesPath + ": cannot be written: " + std::strerror(errno)};
  }
  if (!events)
    return;
  // Summary { repeated Value value = 1 }, Value { string tag = 1; float simple_value = 2 }
  std::string summary, event = beginEvent(step);
  for (const auto &[name, value] : values) {
    std::string entry;
    appendBytes(entry, 1, tag + "/" + name);
    float single = static_cast<float>(value);
    appendVarint(entry, 2 << 3 | 5);
    appendFixed(entry, &single, sizeof(single));
    appendBytes(summary, 1, entry);
  }
  appendBytes(event, 5, summary);
  writeEvent(event);
}

void TrainLog::progress(const std::string &line) {
  if (!isTerminal)
    return;
  size_t size = line.size();
  std::fprintf(stderr, "\r%s%*s", line.c_str(), size < shown ? int(shown - size) : 0, "");
  std::fflush(stderr);
  shown = size;
}

void TrainLog::clearProgress() {
  if (shown)
    std::fprintf(stderr, "\r%*s\r", int(shown), "");
  shown = 0;
}
