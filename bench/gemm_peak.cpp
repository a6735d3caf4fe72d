// How much of the FMA peak of one thread the generated fp32 GEMM reaches.
// usage: bench-gemm [mcpu...]   (default: every x86 level this CPU has)
#include "Harness.h"

#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/Link.h"
#include "llmopt/CodeGen/CPU/Packing.h"

#include <cstdio>

using namespace llmopt;
using namespace llmopt::cpu;
using namespace llmopt::bench;

/// A kernel of independent FMA chains: 2 * lanes * chains flops per step.
static void emitPeak(KernelBuilder &kb, int64_t chains) {
  kb.beginKernel("peak");
  V x = kb.loadVec(kb.arg(0)), y = kb.loadVec(kb.at(kb.arg(0), kb.lanes()));
  Values sums;
  for (int64_t c = 0; c < chains; ++c)
    sums.push_back(kb.loadVec(kb.at(kb.arg(0), c)));
  sums = kb.loop(kb.i(0), kb.size(Size::dim(0)), 1, sums, [&](V, llvm::ArrayRef<V> s) {
    Values next;
    for (V v : s)
      next.push_back(kb.fma(v, x, y));
    return next;
  });
  for (int64_t c = 0; c < chains; ++c)
    kb.store(sums[c], kb.at(kb.arg(0), c * kb.lanes()));
  kb.finish();
}

static double measurePeak(const TargetInfo &target) {
  const int64_t chains = 12;
  KernelLibrary library(target, [&](KernelBuilder &kb) { emitPeak(kb, chains); });
  llmopt_kernel_fn kernel = library["peak"];
  std::vector<float> data(chains * 16 + 64, 0.5f);
  void *args[] = {data.data()};
  int64_t dims[] = {20000};
  double best = 1e9;
  for (int rep = 0; rep < 400; ++rep) {
    std::fill(data.begin(), data.end(), 0.5f);
    double t = now();
    kernel(args, dims, 0, nullptr);
    best = std::min(best, now() - t);
  }
  return 2.0 * target.lanes * chains * dims[0] / best * 1e-9;
}

struct Shape {
  int64_t m, n, k;
  Activation activation;
};

static void benchLevel(const TargetInfo &target, int64_t mBlock, int64_t nBlock) {
  double peak = measurePeak(target);
  printf("%s (tile %ldx%ld): FMA peak %.1f GFLOP/s\n", target.cpu.c_str(), target.gemmMR, target.gemmNR(), peak);
  const Shape shapes[] = {
      {128, 768, 768, Activation::None},     {128, 3072, 768, Activation::None}, {128, 768, 3072, Activation::None},
      {128, 3072, 768, Activation::GeluErf}, {512, 3072, 768, Activation::None}, {16, 768, 768, Activation::None},
      {4, 768, 768, Activation::None},       {1, 768, 768, Activation::None},    {1, 3072, 768, Activation::None}};
  for (const Shape &s : shapes) {
    GemmSpec spec;
    spec.name = "gemm";
    spec.m = Size::dim(0);
    spec.n = s.n;
    spec.k = s.k;
    spec.a = Operand(0);
    spec.b = Operand(1);
    spec.c = Operand(2);
    spec.bias = Operand(3);
    spec.lda = s.k;
    spec.ldc = s.n;
    spec.activation = s.activation;
    spec.mBlock = mBlock;
    spec.nBlock = nBlock;
    KernelLibrary library(target, [&](KernelBuilder &kb) { emitGemm(kb, spec); });
    llmopt_kernel_fn kernel = library["gemm"];

    PanelLayout layout = PanelLayout::forGemm(target, s.n, s.k);
    Buffer a = Buffer::floats(s.m * s.k), b = Buffer::floats(s.n * s.k), c = Buffer::floats(s.m * s.n),
           bias = Buffer::floats(s.n), packed(layout.bytes());
    auto floats = [](const Buffer &buffer) { return reinterpret_cast<float *>(buffer.data()); };
    packB(layout, floats(b), s.n, 1, floats(packed));
    int64_t dims[] = {s.m};
    Buffer scratch(gemmScratch(spec, target).eval(dims));
    int64_t tiles = gemmTiles(spec, target).eval(dims);
    void *args[] = {a, packed, c, bias};
    double flops = 2.0 * s.m * s.n * s.k;
    Times times = timeTiles(kernel, args, dims, tiles, scratch, flops < 2e7 ? 2000 : 50);
    const double best = times.best(), median = times.median(), quiet = times.bestOfEachTile;
    auto percent = [&](double t) { return 100 * flops / t * 1e-9 / peak; };
    printf("  M=%-4ld N=%-5ld K=%-5ld %-5s tiles %-3ld best %8.1f us %6.1f "
           "GFLOP/s %5.1f %% of peak (median %5.1f %%, best of each tile %5.1f "
           "%%), B %5.1f GB/s\n",
           s.m, s.n, s.k, s.activation == Activation::None ? "" : "gelu", tiles, best * 1e6, flops / best * 1e-9,
           percent(best), percent(median), percent(quiet), 4.0 * s.n * s.k / best * 1e-9);
    fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (auto code = runLinkerChild(argc, argv))
    return *code;
  pin(0);
  int64_t mBlock = getenv("MBLOCK") ? atoll(getenv("MBLOCK")) : 0;
  int64_t nBlock = getenv("NBLOCK") ? atoll(getenv("NBLOCK")) : 0;
  std::vector<std::string> levels(argv + 1, argv + argc);
  if (levels.empty())
    levels = {"x86-64-v4", "x86-64-v3", "x86-64"};
  for (const std::string &level : levels) {
    std::string error;
    auto target = resolveTarget("", level, error);
    if (!target) {
      fprintf(stderr, "%s\n", error.c_str());
      return 2;
    }
    if (getenv("KC"))
      target->gemmKC = atoll(getenv("KC"));
    if (getenv("MR"))
      target->gemmMR = atoll(getenv("MR"));
    if (runsOnHost(*target))
      benchLevel(*target, mBlock, nBlock);
  }
}
