// Times of the attention and row kernels, one thread.
// usage: bench-kernels [mcpu...]   (default: x86 levels with vectors of 256
// bits and more)
#include "Harness.h"

#include "llmopt/CodeGen/CPU/Attention.h"
#include "llmopt/CodeGen/CPU/Link.h"
#include "llmopt/CodeGen/CPU/Rows.h"

using namespace llmopt;
using namespace llmopt::cpu;
using namespace llmopt::bench;

static Buffer filled(size_t count) { return Buffer::floats(count); }

static void time(const TargetInfo &target, const char *what, const std::function<void(KernelBuilder &)> &emit,
                 std::vector<void *> args, std::vector<int64_t> dims, int64_t tiles, int64_t scratchBytes, double flops,
                 double bytes) {
  KernelLibrary library(target, emit);
  llmopt_kernel_fn kernel = library["kernel"];
  Times times = timeTiles(kernel, args.data(), dims.data(), tiles, Buffer(scratchBytes), 200);
  printf("  %-44s %4ld tiles, best %8.1f us, median %8.1f us", what, tiles, times.best() * 1e6, times.median() * 1e6);
  if (flops)
    printf(", %6.1f GFLOP/s", flops / times.best() * 1e-9);
  if (bytes)
    printf(", %5.1f GB/s", bytes / times.best() * 1e-9);
  printf("\n");
  fflush(stdout);
}

static void attention(const TargetInfo &target, const char *what, int64_t sq, int64_t sk, bool mask, bool causal) {
  AttentionSpec s;
  s.name = "kernel";
  s.batch = 1;
  s.queryLength = Size::dim(0);
  s.keyLength = Size::dim(1);
  s.heads = 12;
  s.headDim = 64;
  s.q = {Operand(0), 0, 2304, 64};
  s.k = {Operand(0, 768), 0, 2304, 64};
  s.v = {Operand(0, 1536), 0, 2304, 64};
  s.out = {Operand(1), 0, 768, 64};
  s.scale = 0.125;
  if (mask) {
    s.maskKind = AttentionSpec::Mask::Additive;
    s.mask = Operand(2);
  }
  s.causal = causal;
  auto qkv = filled(std::max(sq, sk) * 2304), out = filled(sq * 768), maskData = filled(sk);
  std::vector<int64_t> dims = {sq, sk};
  time(
      target, what, [&](KernelBuilder &kb) { emitAttention(kb, s); }, {qkv, out, maskData}, dims,
      attentionTiles(s, target).eval(dims.data()), attentionScratch(s, target).eval(dims.data()),
      4.0 * 12 * 64 * sq * sk, 0);
}

int main(int argc, char **argv) {
  if (auto code = runLinkerChild(argc, argv))
    return *code;
  pin(0);
  std::vector<std::string> levels(argv + 1, argv + argc);
  if (levels.empty())
    levels = {"x86-64-v4", "x86-64-v3"};
  for (const std::string &level : levels) {
    std::string error;
    auto target = resolveTarget("", level, error);
    if (!target) {
      fprintf(stderr, "%s\n", error.c_str());
      return 2;
    }
    if (!runsOnHost(*target))
      continue;
    printf("%s\n", target->cpu.c_str());
    attention(*target, "attention 12x64, S 128, key mask", 128, 128, true, false);
    attention(*target, "attention 12x64, S 128", 128, 128, false, false);
    attention(*target, "attention 12x64, S 128, causal", 128, 128, false, true);
    attention(*target, "attention 12x64, S 512, key mask", 512, 512, true, false);
    attention(*target, "attention 12x64, 1 query, 512 keys", 1, 512, false, false);

    const int64_t rows = 128, width = 768;
    auto x = filled(rows * width), skip = filled(rows * width), out = filled(rows * width), scale = filled(width),
         bias = filled(width);
    std::vector<int64_t> dims = {rows, width};
    NormSpec norm;
    norm.name = "kernel";
    norm.rows = Size::dim(0);
    norm.width = width;
    norm.x = Operand(0);
    norm.residual = Operand(1);
    norm.out = Operand(2);
    norm.scale = Operand(3);
    norm.bias = Operand(4);
    std::vector<void *> args = {x, skip, out, scale, bias};
    time(
        *target, "layer_norm(x + residual), 128 x 768", [&](KernelBuilder &kb) { emitNorm(kb, norm); }, args, dims,
        normTiles(norm).eval(dims.data()), 0, 0, 12.0 * rows * width);
    norm.rms = true;
    norm.residual = norm.bias = Operand();
    time(
        *target, "rms_norm(x), 128 x 768", [&](KernelBuilder &kb) { emitNorm(kb, norm); }, args, dims,
        normTiles(norm).eval(dims.data()), 0, 0, 8.0 * rows * width);
    SoftmaxSpec softmax;
    softmax.name = "kernel";
    softmax.rows = Size::dim(0);
    softmax.width = softmax.ldx = softmax.ldOut = Size::dim(1);
    softmax.x = Operand(0);
    softmax.out = Operand(2);
    time(
        *target, "softmax, 128 x 768", [&](KernelBuilder &kb) { emitSoftmax(kb, softmax); }, args, dims,
        softmaxTiles(softmax).eval(dims.data()), 0, 0, 8.0 * rows * width);
    EmbeddingSpec embed;
    embed.name = "kernel";
    embed.rows = Size::dim(0);
    embed.width = width;
    embed.norm = EmbeddingSpec::Norm::Layer;
    std::vector<int64_t> ids(rows);
    for (int64_t r = 0; r < rows; ++r)
      ids[r] = r * 211 % 30522;
    auto words = filled(30522 * width), positions = filled(512 * width);
    EmbeddingSpec::Table word, position;
    word.table = Operand(0);
    word.tableRows = 30522;
    word.ids = Operand(1);
    position.table = Operand(2);
    position.tableRows = 512;
    position.period = 128;
    embed.tables = {word, position};
    embed.out = Operand(3);
    time(
        *target, "embed + layer_norm, 128 x 768", [&](KernelBuilder &kb) { emitEmbedding(kb, embed); },
        {words, ids.data(), positions, out}, dims, embeddingTiles(embed).eval(dims.data()), 0, 0, 12.0 * rows * width);
  }
}
