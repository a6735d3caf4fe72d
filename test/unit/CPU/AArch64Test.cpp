// NEON kernels: cross-compiled, linked into a C program that holds plain f64
// references (aarch64_driver.c), and run under qemu-user.
#include "KernelLibrary.h"

#include "llmopt/CodeGen/CPU/Attention.h"
#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/Int4.h"
#include "llmopt/CodeGen/CPU/Int8.h"
#include "llmopt/CodeGen/CPU/Rows.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Program.h"

#include <fstream>
#include <gtest/gtest.h>

using namespace llmopt;
using namespace llmopt::cpu;

TEST(AArch64Test, NeonKernelsUnderQemu) {
  auto gcc = llvm::sys::findProgramByName("aarch64-linux-gnu-gcc");
  auto qemu = llvm::sys::findProgramByName("qemu-aarch64");
  if (!gcc || !qemu)
    GTEST_SKIP() << "needs aarch64-linux-gnu-gcc and qemu-aarch64";
  std::string error;
  auto target = resolveTarget("aarch64-unknown-linux-gnu", "generic", error);
  ASSERT_TRUE(target) << error;

  GemmSpec gemm;
  gemm.name = "gemm";
  gemm.m = Size::dim(0);
  gemm.n = gemm.ldc = 100;
  gemm.k = gemm.lda = 500;
  gemm.a = Operand(0);
  gemm.b = Operand(1);
  gemm.c = Operand(2);
  gemm.bias = Operand(3);
  gemm.activation = Activation::GeluErf;

  GemmSpec matmul; // C = A B^T, nothing packed
  matmul.name = "matmul";
  matmul.packedB = false;
  matmul.transB = true;
  matmul.m = Size::dim(0);
  matmul.n = matmul.ldc = Size::dim(1);
  matmul.k = matmul.lda = matmul.ldb = Size::dim(2);
  matmul.a = Operand(0);
  matmul.b = Operand(1);
  matmul.c = Operand(2);

  AttentionSpec attention;
  attention.name = "attention";
  attention.batch = 1;
  attention.queryLength = attention.keyLength = Size::dim(0);
  attention.heads = 2;
  attention.headDim = 64;
  attention.q = {Operand(0, 0), 0, 384, 64};
  attention.k = {Operand(0, 128), 0, 384, 64};
  attention.v = {Operand(0, 256), 0, 384, 64};
  attention.out = {Operand(1), 0, 128, 64};
  attention.scale = 0.125;
  attention.maskKind = AttentionSpec::Mask::Additive;
  attention.mask = Operand(2);
  attention.causal = true;

  NormSpec norm;
  norm.name = "norm";
  norm.rows = Size::dim(0);
  norm.width = 101;
  norm.x = Operand(0);
  norm.out = Operand(1);

  GemmInt8Spec int8;
  int8.name = "gemm_int8";
  int8.m = Size::dim(0);
  int8.n = 37;
  int8.k = 301;
  int8.a = Operand(0);
  int8.rowScale = Operand(1);
  int8.b = Operand(2);
  int8.columnScale = Operand(3);
  int8.c = Operand(4);

  QuantizeRowsSpec quantize;
  quantize.name = "quantize_rows";
  quantize.rows = Size::dim(0);
  quantize.width = 301;
  quantize.x = Operand(0);
  quantize.q = Operand(1);
  quantize.scale = Operand(2);

  GemmInt4Spec int4;
  int4.name = "gemm_int4";
  int4.m = Size::dim(0);
  int4.n = 37;
  int4.k = 128;
  int4.group = 64;
  int4.a = Operand(0);
  int4.rowScale = Operand(1);
  int4.b = Operand(2);
  int4.c = Operand(3);

  GemmSpec floatInt4;
  floatInt4.name = "gemm_float_int4";
  floatInt4.m = Size::dim(0);
  floatInt4.n = floatInt4.ldc = 37;
  floatInt4.k = floatInt4.lda = 128;
  floatInt4.a = Operand(0);
  floatInt4.b = Operand(1);
  floatInt4.c = Operand(2);
  floatInt4.quantizedB = QuantizedB{64, 8, false, {}};

  auto object =
      KernelLibrary::compile(*target, Emit::Object, [&](KernelBuilder &kb) {
        emitGemm(kb, gemm);
        emitGemm(kb, matmul);
        emitAttention(kb, attention);
        emitNorm(kb, norm);
        emitGemmInt8(kb, int8);
        emitQuantizeRows(kb, quantize);
        emitGemmInt4(kb, int4);
        emitGemm(kb, floatInt4);
        kb.beginKernel("tanh_map");
        kb.forVectors(kb.size(Size::dim(0)), [&](V i, V mask) {
          V x = kb.loadMaybeMasked(kb.at(kb.arg(0), i), mask);
          kb.storeMaybeMasked(emitTanh(kb, x), kb.at(kb.arg(1), i), mask);
        });
        kb.finish();
      });

  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("llmopt-aarch64", folder));
  std::string base = folder.str().str();
  std::ofstream(base + "/kernels.o", std::ios::binary)
      .write(object.data(), object.size());
  {
    // Tiles and scratch sizes, as the plan would pass them on.
    std::ofstream header(base + "/formulas.h");
    header << "#include <stdint.h>\n";
    auto function = [&](const char *name, const SizeFormula &f) {
      header << "static int64_t " << name << "(const int64_t *d) { return "
             << f.constant << " + " << f.scale;
      for (const SizeFormula::Factor &x : f.factors) {
        std::string size = x.size.isDim
                               ? "d[" + std::to_string(x.size.value) + "]"
                               : std::to_string(x.size.value);
        header << " * ((" << size << " + " << x.block - 1 << ") / " << x.block
               << ")";
      }
      header << "; }\n";
    };
    function("gemm_tiles", gemmTiles(gemm, *target));
    function("gemm_scratch", gemmScratch(gemm, *target));
    function("matmul_tiles", gemmTiles(matmul, *target));
    function("matmul_scratch", gemmScratch(matmul, *target));
    function("attention_tiles", attentionTiles(attention, *target));
    function("attention_scratch", attentionScratch(attention, *target));
    function("norm_tiles", normTiles(norm));
    function("int8_tiles", gemmInt8Tiles(int8, *target));
    function("int8_scratch", gemmInt8Scratch(int8, *target));
    function("quantize_tiles", quantizeRowsTiles(quantize));
    function("int4_tiles", gemmInt4Tiles(int4, *target));
    function("int4_scratch", gemmInt4Scratch(int4, *target));
    function("float_int4_tiles", gemmTiles(floatInt4, *target));
    function("float_int4_scratch", gemmScratch(floatInt4, *target));
    header << "enum { INT8_NR = " << gemmInt8NR(*target) << " };\n";
    header << "enum { NR = " << target->gemmNR() << " };\n";
  }
  std::string program = base + "/driver";
  auto run = [](llvm::StringRef tool, std::vector<std::string> words) {
    std::vector<llvm::StringRef> args(words.begin(), words.end());
    return llvm::sys::ExecuteAndWait(tool, args);
  };
  EXPECT_EQ(
      run(*gcc, {*gcc, "-O1", "-static", "-I", base, LLMOPT_AARCH64_DRIVER,
                 base + "/kernels.o", "-o", program, "-lm"}),
      0);
  EXPECT_EQ(run(*qemu, {*qemu, program}), 0) << "see the driver's messages";
  llvm::sys::fs::remove_directories(folder);
}
