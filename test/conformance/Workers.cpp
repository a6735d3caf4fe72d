#include "Workers.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <poll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace llmopt;
using namespace llmopt::conformance;

namespace {
struct Child {
  pid_t pid;
  size_t index;
  std::string said;
};
} // namespace

/// In the child: one outcome as text, then the end.
[[noreturn]] static void work(int fd, unsigned seconds, const std::function<Outcome()> &run) {
  // Of processor time, so that a busy machine fails nothing; a child that sleeps ends, too.
  const itimerval limit{{0, 0}, {static_cast<time_t>(seconds), 0}};
  setitimer(ITIMER_PROF, &limit, nullptr);
  alarm(10 * seconds);
  Outcome outcome = run();
  std::string text = std::string(1, char('0' + outcome.kind)) + (outcome.withConstants ? "c" : "-") + outcome.text;
  for (size_t done = 0; done < text.size();) {
    ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR)
      _exit(1);
    done += n > 0 ? n : 0;
  }
  _exit(0); // nothing to flush, and contexts of LLVM take their time to die
}

static Outcome finish(const Child &child) {
  int status = 0;
  while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGPROF))
    return {Outcome::Wrong, "takes too long", false};
  if (WIFSIGNALED(status))
    return {Outcome::Wrong, std::string("died: ") + strsignal(WTERMSIG(status)), false};
  if (child.said.size() < 2)
    return {Outcome::Wrong, "ended without a word", false};
  return {Outcome::Kind(child.said[0] - '0'), child.said.substr(2), child.said[1] == 'c'};
}

std::vector<Outcome> conformance::runInChildren(size_t count, unsigned width, unsigned seconds,
                                                const std::function<Outcome(size_t)> &run) {
  std::vector<Outcome> outcomes(count);
  std::map<int, Child> running; // by what they write to
  size_t next = 0;
  while (next < count || !running.empty()) {
    while (next < count && running.size() < width) {
      int ends[2];
      if (pipe(ends) != 0) {
        outcomes[next++] = {Outcome::Wrong, "no pipe", false};
        continue;
      }
      pid_t pid = fork();
      if (pid == 0) {
        close(ends[0]);
        work(ends[1], seconds, [&] { return run(next); });
      }
      close(ends[1]);
      if (pid < 0) {
        close(ends[0]);
        outcomes[next++] = {Outcome::Wrong, "no process", false};
        continue;
      }
      running[ends[0]] = {pid, next++, {}};
    }
    std::vector<pollfd> waiting;
    for (auto &[fd, child] : running)
      waiting.push_back({fd, POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), -1) < 0)
      continue; // interrupted
    for (const pollfd &ready : waiting) {
      if (!ready.revents)
        continue;
      char buffer[4096];
      ssize_t n = read(ready.fd, buffer, sizeof(buffer));
      Child &child = running[ready.fd];
      if (n > 0) {
        child.said.append(buffer, n);
      } else if (n == 0 || errno != EINTR) {
        outcomes[child.index] = finish(child);
        close(ready.fd);
        running.erase(ready.fd);
      }
    }
  }
  return outcomes;
}
