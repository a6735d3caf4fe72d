// Products with quantized weights: multiplications per cycle of one thread where they
// are bound by arithmetic, and the share of the bandwidth of a plain read where a few
// rows only stream weights.
// usage: bench-quantized [--asm] [mcpu...]   (default: x86 levels with vectors of 256
// bits and more; --asm prints the kernels)
#include "Harness.h"

#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/Int4.h"
#include "llmopt/CodeGen/CPU/Int8.h"
#include "llmopt/CodeGen/CPU/Link.h"

#include <atomic>
#include <thread>

using namespace llmopt;
using namespace llmopt::cpu;
using namespace llmopt::bench;

/// Cycles per nanosecond, by a chain of multiplications; 0 where it is not known.
static double measureClock() {
#ifdef __x86_64__
  double best = 1e9;
  for (int rep = 0; rep < 200; ++rep) {
    long x = 0;
    double t = now();
    for (int i = 0; i < 2000; ++i)
      asm volatile("imul %0, %0\nimul %0, %0\nimul %0, %0\nimul %0, %0\n" // three cycles each
                   "imul %0, %0\nimul %0, %0\nimul %0, %0\nimul %0, %0"
                   : "+r"(x));
    best = std::min(best, now() - t);
  }
  return 2000 * 8 * 3 / best * 1e-9;
#else
  return 0;
#endif
}

/// Random bytes, or, where scales are among them, floats in [1, 2).
static Buffer filled(size_t size, bool floats) {
  return floats ? Buffer::floats((size + 3) / 4, 1, 2) : Buffer::bytes(size);
}

namespace {
/// One kernel: how it is emitted, and what a call reads.
struct Kernel {
  std::string name;
  std::function<void(KernelBuilder &)> emit;
  SizeFormula tiles, scratch;
  int64_t n, k;
  size_t weightBytes;
  bool floatRows;
};
} // namespace

static Kernel int8Kernel(const TargetInfo &target, int64_t n, int64_t k) {
  GemmInt8Spec s;
  s.name = "kernel";
  s.m = Size::dim(0);
  s.n = n;
  s.k = k;
  s.a = Operand(0);
  s.rowScale = Operand(1);
  s.b = Operand(2);
  s.columnScale = Operand(4);
  s.c = Operand(3);
  return {"int8 x int8",
          [s](KernelBuilder &kb) { emitGemmInt8(kb, s); },
          gemmInt8Tiles(s, target),
          gemmInt8Scratch(s, target),
          n,
          k,
          size_t(n * (k + 4)),
          false};
}

static Kernel int4Kernel(const TargetInfo &target, int64_t n, int64_t k, int64_t group) {
  GemmInt4Spec s;
  s.name = "kernel";
  s.m = Size::dim(0);
  s.n = n;
  s.k = k;
  s.group = group;
  s.a = Operand(0);
  s.rowScale = Operand(1);
  s.b = Operand(2);
  s.c = Operand(3);
  return {"int8 x int4, groups of " + std::to_string(group),
          [s](KernelBuilder &kb) { emitGemmInt4(kb, s); },
          gemmInt4Tiles(s, target),
          gemmInt4Scratch(s, target),
          n,
          k,
          size_t(n * (k / group) * int4BlockBytes(1, group, false)),
          false};
}

static Kernel floatKernel(const TargetInfo &target, int64_t n, int64_t k, int64_t group, bool quantized) {
  GemmSpec s;
  s.name = "kernel";
  s.m = Size::dim(0);
  s.n = s.ldc = n;
  s.k = s.lda = k;
  s.a = Operand(0);
  s.b = Operand(2);
  s.c = Operand(3);
  if (quantized) {
    s.quantizedB = QuantizedB{group, 8, false, {}};
    if (!group)
      s.quantizedB->columnScale = Operand(4);
  }
  size_t bytes = !quantized ? n * k * 4 : group ? n * (k / group) * int4BlockBytes(1, group, false) : n * k;
  std::string name = !quantized ? "f32 x f32" : group ? "f32 x int4, groups of " + std::to_string(group) : "f32 x int8";
  return {name, [s](KernelBuilder &kb) { emitGemm(kb, s); }, gemmTiles(s, target), gemmScratch(s, target), n, k, bytes,
          true};
}

static void benchGemm(const TargetInfo &target, const Kernel &kernel, int64_t m, double clock) {
  KernelLibrary library(target, kernel.emit);
  llmopt_kernel_fn function = library["kernel"];
  int64_t dims[] = {m}, tiles = kernel.tiles.eval(dims);
  Buffer a = filled(m * kernel.k * 4, kernel.floatRows), scales = filled(m * kernel.k, true),
         columns = filled(kernel.n * 4 + 256, true), c = filled(m * kernel.n * 4, true),
         b = filled(kernel.weightBytes + 8192, true), scratch = filled(kernel.scratch.eval(dims), true);
  void *args[] = {a, scales, b, c, columns};
  Times times = timeTiles(function, args, dims, tiles, scratch, 60);
  double macs = double(m) * kernel.n * kernel.k;
  printf("  M=%-4ld N=%-5ld K=%-5ld %-28s best %9.1f us, median %9.1f us, %6.1f GOP/s", m, kernel.n, kernel.k,
         kernel.name.c_str(), times.best() * 1e6, times.median() * 1e6, 2 * macs / times.best() * 1e-9);
  if (clock)
    printf(", %5.1f MAC/cycle (%5.1f by best of each tile)", macs / times.best() * 1e-9 / clock,
           macs / times.bestOfEachTile * 1e-9 / clock);
  printf("\n");
  fflush(stdout);
}

namespace {
/// Two threads that wait for work actively; work(i, thread) for i < count.
class Pair {
public:
  explicit Pair(int threads) : threads(threads) {
    if (threads > 1)
      helper = std::thread([this] {
        pin(1);
        for (int round = 1; !stop; ++round) {
          while (generation.load() < round && !stop)
            ;
          if (!stop)
            take(1);
          ++done;
        }
      });
  }
  ~Pair() {
    stop = true;
    if (helper.joinable())
      helper.join();
  }
  /// Seconds.
  double run(int64_t tasks, const std::function<void(int64_t, int)> &task) {
    count = tasks;
    work = &task;
    next = 0;
    double start = now();
    int finished = ++generation;
    take(0);
    while (threads > 1 && done.load() < finished)
      ;
    return now() - start;
  }

private:
  void take(int thread) {
    for (int64_t i = next++; i < count; i = next++)
      (*work)(i, thread);
  }
  int threads;
  std::thread helper;
  std::atomic<int> generation{0}, done{0};
  std::atomic<bool> stop{false};
  std::atomic<int64_t> next{0};
  int64_t count = 0;
  const std::function<void(int64_t, int)> *work = nullptr;
};
} // namespace

static void benchGemv(const TargetInfo &target, const Kernel &kernel, int64_t m, int cpus) {
  KernelLibrary library(target, kernel.emit);
  llmopt_kernel_fn function = library["kernel"];
  int64_t dims[] = {m}, tiles = kernel.tiles.eval(dims), scratchBytes = kernel.scratch.eval(dims);
  // Weights take turns, so that they come from memory and not from caches. A sample is
  // one product: short, so that some of them run undisturbed.
  const int64_t copies = std::max<int64_t>(2, (int64_t(800) << 20) / kernel.weightBytes);
  Buffer a = filled(m * kernel.k * 4, kernel.floatRows), scales = filled(m * kernel.k, true),
         columns = filled(kernel.n * 4 + 256, true), c = filled(m * kernel.n * 4, true),
         weights = filled(copies * kernel.weightBytes + 8192, true);
  Buffer scratch[] = {filled(scratchBytes, true), filled(scratchBytes, true)};
  static std::atomic<long> sink;
  for (int threads : {1, 2}) {
    if (threads > cpus)
      continue;
    std::vector<double> ours, plain;
    {
      Pair pair(threads);
      for (int64_t i = 0; i < 3 * copies; ++i) {
        char *at = weights.data() + i % copies * kernel.weightBytes;
        auto product = [&](int64_t tile, int thread) {
          void *args[] = {a, scales, at, c, columns};
          function(args, dims, tile, scratch[thread]);
        };
        const int64_t piece = 1 << 18;
        auto read = [&](int64_t tile, int) {
          const long *p = reinterpret_cast<const long *>(at + tile * piece);
          long sum[16] = {};
          for (int64_t j = 0; j < piece / 8; j += 16)
            for (int64_t l = 0; l < 16; ++l)
              sum[l] += p[j + l];
          long total = 0;
          for (long s : sum)
            total += s;
          sink += total;
        };
        if (i / 8 % 2)
          ours.push_back(pair.run(tiles, product));
        else
          plain.push_back(pair.run(kernel.weightBytes / piece, read));
      }
    }
    std::sort(ours.begin(), ours.end());
    std::sort(plain.begin(), plain.end());
    auto rate = [&](const std::vector<double> &times, double part) {
      return kernel.weightBytes / times[size_t(part * (times.size() - 1))] * 1e-9;
    };
    printf(
        "  M=%-4ld N=%-5ld K=%-5ld %-28s %d thread%s GB/s: 2nd percentile %5.1f of %5.1f (%3.0f %%), quartile %5.1f of "
        "%5.1f (%3.0f %%)\n",
        m, kernel.n, kernel.k, kernel.name.c_str(), threads, threads > 1 ? "s" : " ", rate(ours, 0.02),
        rate(plain, 0.02), 100 * rate(ours, 0.02) / rate(plain, 0.02), rate(ours, 0.25), rate(plain, 0.25),
        100 * rate(ours, 0.25) / rate(plain, 0.25));
    fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (auto code = runLinkerChild(argc, argv))
    return *code;
  const int cpus = countCpus();
  pin(0);
  std::vector<std::string> levels(argv + 1, argv + argc);
  auto flag = std::remove(levels.begin(), levels.end(), "--asm");
  bool assembly = flag != levels.end();
  levels.erase(flag, levels.end());
  std::string only = getenv("ONLY") ? getenv("ONLY") : "";
  if (levels.empty())
    levels = {"cascadelake", "x86-64-v3"};
  for (const std::string &level : levels) {
    std::string error;
    auto target = resolveTarget("", level, error);
    if (!target) {
      fprintf(stderr, "%s\n", error.c_str());
      return 2;
    }
    if (!runsOnHost(*target))
      continue;
    auto all = [&](int64_t n, int64_t k) {
      std::vector<Kernel> kernels = {int8Kernel(*target, n, k),
                                     int4Kernel(*target, n, k, 32),
                                     int4Kernel(*target, n, k, 128),
                                     floatKernel(*target, n, k, 0, false),
                                     floatKernel(*target, n, k, 0, true),
                                     floatKernel(*target, n, k, 32, true),
                                     floatKernel(*target, n, k, 128, true)};
      kernels.erase(std::remove_if(kernels.begin(), kernels.end(),
                                   [&](const Kernel &kernel) { return kernel.name.find(only) == std::string::npos; }),
                    kernels.end());
      return kernels;
    };
    if (assembly) {
      for (const Kernel &kernel : all(768, 768)) {
        llvm::SmallVector<char> text = KernelLibrary::compile(*target, Emit::Asm, kernel.emit);
        printf("# %s\n%.*s\n", kernel.name.c_str(), int(text.size()), text.data());
      }
      continue;
    }
    double clock = measureClock();
    printf("%s, %.2f GHz\n", level.c_str(), clock);
    if (!getenv("GEMV"))
      for (auto [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{128, 3072, 768}, {128, 768, 3072}, {16, 768, 768}})
        for (const Kernel &kernel : all(n, k))
          benchGemm(*target, kernel, m, clock);
    if (!getenv("GEMM"))
      for (const Kernel &kernel : all(4096, 4096))
        for (int64_t m : {1, 3})
          benchGemv(*target, kernel, m, cpus);
  }
}
