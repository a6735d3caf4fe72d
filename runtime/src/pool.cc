#include "pool.h"

#include "fp_state.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <ctime>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace llmopt::rt;

namespace {
// Longer than the serial steps inside a transformer layer, shorter than a
// scheduler tick. See docs/runtime.md for what it costs.
constexpr uint64_t spinBudgetNs = 40000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

uint64_t nowNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1000000000u + uint64_t(t.tv_nsec);
}

/// Spins until `condition` holds or `budgetNs` have passed; whether it held.
template <typename Condition> bool spin(uint64_t budgetNs, const Condition &condition) {
  if (condition())
    return true;
  if (budgetNs == 0)
    return false;
  uint64_t end = 0;
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      pause();
      if (condition())
        return true;
    }
    // The clock is read after the first stretch only: most waits are shorter.
    uint64_t now = nowNs();
    if (end == 0)
      end = now + budgetNs;
    else if (now >= end)
      return false;
  }
}

void futexWait(std::atomic<uint32_t> &word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futexWake(std::atomic<uint32_t> &word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

static_assert(sizeof(std::atomic<uint32_t>) == 4 && std::atomic<uint32_t>::is_always_lock_free,
              "a futex is the 32-bit word itself");

uint32_t unclaimed(uint64_t ticket) { return static_cast<uint32_t>(ticket); }
} // namespace

uint32_t llmopt::rt::availableCpus() {
  // Sets larger than cpu_set_t exist on machines of more than 1024 CPUs.
  for (size_t cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set)
      break;
    size_t bytes = CPU_ALLOC_SIZE(cpus);
    int result = sched_getaffinity(0, bytes, set);
    int count = result == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (result == 0)
      return count > 0 ? static_cast<uint32_t>(count) : 1;
    if (errno != EINVAL)
      break;
  }
  return 1;
}

/// Claims tiles of the present step until there is none; how many it did.
uint32_t Pool::claimAndRun(uint32_t thread) {
  uint32_t count = 0;
  uint64_t seen = ticket.load(std::memory_order_acquire);
  while (unclaimed(seen) != 0) {
    if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    // The tile is ours, hence the step cannot end and these cannot change.
    const PreparedStep &step = *current;
    step.kernel(step.args, step.dims, step.tiles - unclaimed(seen), scratchBase + thread * scratchStride);
    ++count;
    seen = ticket.load(std::memory_order_acquire);
  }
  return count;
}

void Pool::runShared(const PreparedStep &step, char *scratch, uint64_t stride) {
  current = &step;
  scratchBase = scratch;
  scratchStride = stride;
  done.store(0, std::memory_order_relaxed);
  uint64_t generation = ticket.load(std::memory_order_relaxed) >> 32;
  // Sequentially consistent, as the load after it: either a worker that is
  // about to sleep sees the ticket, or its flag is seen here.
  ticket.store((generation + 1) << 32 | step.tiles, std::memory_order_seq_cst);
  if (workersSleep.load(std::memory_order_seq_cst)) {
    workersSleep.store(0, std::memory_order_relaxed);
    wakeups.fetch_add(1, std::memory_order_seq_cst);
    futexWake(wakeups, INT_MAX);
  }

  uint32_t own = claimAndRun(0);
  uint32_t others = step.tiles - own;
  auto finished = [&] { return done.load(std::memory_order_acquire) == others; };
  while (!spin(spinNs, finished)) {
    callerSleeps.store(1, std::memory_order_seq_cst);
    uint32_t count = done.load(std::memory_order_seq_cst);
    if (count != others)
      futexWait(done, count);
    callerSleeps.store(0, std::memory_order_relaxed);
  }
}

void Pool::workerLoop(uint32_t thread) {
  auto hasWork = [&] {
    return unclaimed(ticket.load(std::memory_order_acquire)) != 0 || stopping.load(std::memory_order_relaxed);
  };
  for (;;) {
    if (uint32_t count = claimAndRun(thread)) {
      done.fetch_add(count, std::memory_order_seq_cst);
      if (callerSleeps.load(std::memory_order_seq_cst))
        futexWake(done, 1);
    }
    if (spin(spinNs, hasWork)) {
      if (stopping.load(std::memory_order_acquire))
        return;
      continue;
    }
    uint32_t epoch = wakeups.load(std::memory_order_seq_cst);
    workersSleep.store(1, std::memory_order_seq_cst);
    if (unclaimed(ticket.load(std::memory_order_seq_cst)) == 0 && !stopping.load(std::memory_order_seq_cst))
      futexWait(wakeups, epoch);
    if (stopping.load(std::memory_order_acquire))
      return;
  }
}

void *Pool::workerMain(void *argument) {
  Worker *worker = static_cast<Worker *>(argument);
  ScopedFpState state;
  worker->pool->workerLoop(worker->index);
  return nullptr;
}

llmopt_status Pool::start(uint32_t threads, llmopt_error *error) {
  if (threads <= 1)
    return LLMOPT_OK;
  if (!workers.allocate(threads - 1))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for %u threads", threads);
  // With more threads than CPUs whoever spins keeps another from working.
  spinNs = threads <= availableCpus() ? spinBudgetNs : 0;

  // Signals of the host are for its own threads.
  sigset_t all, former;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &former);
  uint32_t started = 0;
  int code = 0;
  for (; started < threads - 1 && code == 0; ++started) {
    workers[started] = {this, started + 1, {}};
    code = pthread_create(&workers[started].thread, nullptr, workerMain, &workers[started]);
  }
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  if (code != 0) {
    stop(started - 1);
    return fail(error, LLMOPT_IO_ERROR, "cannot create thread %u of %u: %s", started, threads, ErrnoText(code).c_str());
  }
  numWorkers = started;
  return LLMOPT_OK;
}

void Pool::stop(uint32_t started) {
  stopping.store(1, std::memory_order_seq_cst);
  wakeups.fetch_add(1, std::memory_order_seq_cst);
  futexWake(wakeups, INT_MAX);
  for (uint32_t i = 0; i < started; ++i)
    pthread_join(workers[i].thread, nullptr);
  stopping.store(0, std::memory_order_relaxed);
}

Pool::~Pool() {
  if (numWorkers)
    stop(numWorkers);
}
