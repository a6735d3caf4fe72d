// What comes out of the compiler: exports, imports, tables, register
// allocation.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace llmopt;
using namespace llmopt::cpu;

namespace {

class CompileTest : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(CompileTest);

void emitFillAndCopy(KernelBuilder &kb) {
  kb.beginKernel("fill");
  kb.loop(kb.i(0), kb.size(Size::dim(0)), 1, [&](V i) {
    kb.store(kb.f(0), kb.at(kb.arg(0), i));
    kb.store(kb.load(kb.at(kb.arg(1), i)), kb.at(kb.arg(2), i));
  });
  kb.finish();
}

ModelTables someTables() {
  ModelTables t;
  for (size_t i = 0; i < t.buildId.size(); ++i)
    t.buildId[i] = i;
  t.name = "tiny";
  t.compiler = "llmopt test";
  t.target = "x86_64";
  t.cpuFeatures = "avx2,fma";
  t.metadata = "{}";
  t.symbols = {"batch", "sequence"};
  t.inputs = {{"x", LLMOPT_F32, {0, 1}, 0}};
  t.outputs = {{"y", LLMOPT_I64, {0}, 1}};
  t.buffers.resize(3);
  t.buffers[0].kind = LLMOPT_BUFFER_INPUT;
  t.buffers[0].index = 0;
  t.buffers[1].kind = LLMOPT_BUFFER_OUTPUT;
  t.buffers[2].kind = LLMOPT_BUFFER_CONSTANT;
  t.buffers[2].data = {1, 2, 3, 250};
  t.buffers[2].firstStep = 4;
  t.buffers[2].lastStep = 9;
  t.steps = {{"first node", "fill", {0, 2, 1}, {1}, 2},
             {"second", "fill", {2}, {0, 1}, 1}};
  t.weights = {{"w", LLMOPT_I8, {3, 5}, 256, 15, false, ""},
               {"p", LLMOPT_F32, {7}, 512, 28, true, "pack w"}};
  t.exprs = {{0, 1}, {1, 3}, {0, 1}};
  t.exprCode = {{LLMOPT_EXPR_SYMBOL, 1},
                {LLMOPT_EXPR_CONST, -7},
                {LLMOPT_EXPR_SYMBOL, 0},
                {LLMOPT_EXPR_MUL, 0}};
  t.scratchBytes = 2;
  t.weightsSize = 1024;
  return t;
}

/// Names of defined and undefined dynamic symbols.
void dynamicSymbols(llvm::ArrayRef<char> library,
                    std::vector<std::string> &defined,
                    std::vector<std::string> &undefined) {
  auto object = llvm::cantFail(
      llvm::object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(
          llvm::StringRef(library.data(), library.size()), "library")));
  for (auto symbol : llvm::cast<llvm::object::ELFObjectFileBase>(*object)
                         .getDynamicSymbolIterators()) {
    std::string name = llvm::cantFail(symbol.getName()).str();
    if (name.empty())
      continue;
    bool isUndefined = llvm::cantFail(symbol.getFlags()) &
                       llvm::object::SymbolRef::SF_Undefined;
    (isUndefined ? undefined : defined).push_back(name);
  }
}

TEST_P(CompileTest, ExportsTheModelAloneAndImportsNothing) {
  ModelTables tables = someTables();
  auto emit = [&](KernelBuilder &kb) {
    emitFillAndCopy(kb);
    GemmSpec spec;
    spec.name = "gemm";
    spec.m = Size::dim(0);
    spec.n = spec.k = spec.lda = spec.ldc = 64;
    spec.a = Operand(0);
    spec.b = Operand(1);
    spec.c = Operand(2);
    spec.activation = Activation::GeluErf;
    emitGemm(kb, spec);
  };
  auto library =
      KernelLibrary::compile(target, Emit::SharedLibrary, emit, &tables);
  std::vector<std::string> defined, undefined;
  dynamicSymbols(library, defined, undefined);
  EXPECT_EQ(defined, std::vector<std::string>{"llmopt_model_v1"});
  EXPECT_TRUE(undefined.empty()) << undefined.front();

  auto again =
      KernelLibrary::compile(target, Emit::SharedLibrary, emit, &tables);
  EXPECT_TRUE(library == again) << "same input, other bytes";

  int fd = memfd_create("model", MFD_CLOEXEC);
  ASSERT_EQ(write(fd, library.data(), library.size()), (ssize_t)library.size());
  void *handle =
      dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(), RTLD_NOW);
  close(fd);
  ASSERT_TRUE(handle) << dlerror();
  auto *m =
      reinterpret_cast<llmopt_model_fn>(dlsym(handle, LLMOPT_MODEL_SYMBOL))();
  EXPECT_EQ(m->struct_size, sizeof(llmopt_model_desc));
  EXPECT_EQ(m->abi_version, LLMOPT_ABI_VERSION);
  EXPECT_EQ(m->build_id[15], 15);
  EXPECT_STREQ(m->name, "tiny");
  EXPECT_STREQ(m->cpu_features, "avx2,fma");
  EXPECT_STREQ(m->metadata, "{}");
  ASSERT_EQ(m->num_symbols, 2u);
  EXPECT_STREQ(m->symbols[1], "sequence");
  ASSERT_EQ(m->num_inputs, 1u);
  EXPECT_STREQ(m->inputs[0].name, "x");
  EXPECT_EQ(m->inputs[0].rank, 2u);
  EXPECT_EQ(m->inputs[0].dims[1], 1u);
  EXPECT_EQ(m->outputs[0].buffer, 1u);
  ASSERT_EQ(m->num_buffers, 3u);
  EXPECT_EQ(m->buffers[2].kind, (uint32_t)LLMOPT_BUFFER_CONSTANT);
  EXPECT_EQ(m->buffers[2].last_step, 9u);
  EXPECT_EQ(static_cast<const uint8_t *>(m->buffers[2].data)[3], 250);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(m->buffers[2].data) % 64, 0u);
  EXPECT_EQ(m->buffers[0].data, nullptr);
  ASSERT_EQ(m->num_steps, 2u);
  EXPECT_STREQ(m->steps[0].name, "first node");
  EXPECT_EQ(m->steps[1].first_arg, 3u);
  EXPECT_EQ(m->steps[1].num_dims, 2u);
  EXPECT_EQ(m->steps[1].tiles, 1u);
  EXPECT_EQ(m->num_step_args, 4u);
  EXPECT_EQ(m->step_args[1], 2u);
  EXPECT_EQ(m->step_dims[2], 1u);
  ASSERT_EQ(m->num_weights, 2u);
  EXPECT_EQ(m->weights[0].recipe, nullptr);
  EXPECT_STREQ(m->weights[1].recipe, "pack w");
  EXPECT_EQ(m->weights[0].dims[1], 5);
  EXPECT_EQ(m->weights[1].offset, 512u);
  EXPECT_EQ(m->exprs[1].count, 3u);
  EXPECT_EQ(m->expr_code[1].value, -7);
  EXPECT_EQ(m->expr_code[3].op, LLMOPT_EXPR_MUL);
  EXPECT_EQ(m->scratch_bytes, 2u);
  EXPECT_EQ(m->weights_size, 1024u);
  float a[3] = {1, 2, 3}, b[3] = {4, 5, 6}, c[3] = {};
  void *args[] = {a, b, c};
  int64_t dims[] = {3};
  m->steps[0].kernel(args, dims, 0, nullptr);
  EXPECT_EQ(a[2], 0);
  EXPECT_EQ(c[1], 5);
  dlclose(handle);
}

TEST_P(CompileTest, PrefixAndMissingKernel) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  ModelTables tables = someTables();
  CompileOptions options;
  options.tables = &tables;
  options.symbolPrefix = "other_";
  llvm::SmallVector<char> bytes;
  {
    mlir::OwningOpRef<mlir::ModuleOp> module =
        mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
    KernelBuilder kb(*module, target);
    emitFillAndCopy(kb);
    ASSERT_TRUE(
        mlir::succeeded(compileModule(*module, target, options, bytes)));
    std::vector<std::string> defined, undefined;
    dynamicSymbols(bytes, defined, undefined);
    EXPECT_EQ(defined, std::vector<std::string>{"other_llmopt_model_v1"});
  }
  tables.steps[1].kernel = "nowhere";
  mlir::OwningOpRef<mlir::ModuleOp> module =
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
  KernelBuilder kb(*module, target);
  emitFillAndCopy(kb);
  std::string message;
  mlir::ScopedDiagnosticHandler handler(
      &context, [&](mlir::Diagnostic &d) { message = d.str(); });
  EXPECT_TRUE(mlir::failed(compileModule(*module, target, options, bytes)));
  EXPECT_NE(message.find("'nowhere'"), std::string::npos) << message;
}

/// The lines of every loop that is innermost: between a label and a jump back
/// to it, with no other label between.
std::vector<std::string> innermostLoops(llvm::StringRef assembly) {
  std::vector<std::string> loops;
  std::string label, body;
  llvm::SmallVector<llvm::StringRef> lines;
  assembly.split(lines, '\n');
  for (llvm::StringRef line : lines) {
    if (line.starts_with(".LBB")) {
      label = line.take_until([](char c) { return c == ':'; }).str();
      body.clear();
    } else {
      llvm::StringRef code = line.split('#').first.trim();
      body += line.str() + "\n";
      if (!label.empty() && (code.starts_with("j") || code.starts_with("b")) &&
          code.ends_with(label))
        loops.push_back(body);
    }
  }
  return loops;
}

void checkNoSpills(const TargetInfo &target, const char *multiplyAdd,
                   const char *stack) {
  auto text = KernelLibrary::compile(target, Emit::Asm, [](KernelBuilder &kb) {
    GemmSpec spec;
    spec.name = "gemm";
    spec.m = Size::dim(0);
    spec.n = spec.k = spec.lda = spec.ldc = 768;
    spec.a = Operand(0);
    spec.b = Operand(1);
    spec.c = Operand(2);
    emitGemm(kb, spec);
  });
  int64_t kernels = 0;
  for (const std::string &loop :
       innermostLoops(llvm::StringRef(text.data(), text.size()))) {
    llvm::StringRef body(loop);
    if (body.count(multiplyAdd) == 0)
      continue;
    ++kernels;
    EXPECT_EQ(body.count(stack), 0u) << "stack access in the inner loop:\n"
                                     << loop;
  }
  EXPECT_EQ(kernels, target.gemmMR) << "one inner loop per row count";
}

TEST_P(CompileTest, MicroKernelsDoNotSpill) {
  checkNoSpills(target, target.hasFma ? "vfmadd" : "mulps", "%rsp");
}

TEST(CompileTest, MicroKernelsDoNotSpillOnAArch64) {
  std::string error;
  auto target = resolveTarget("aarch64-unknown-linux-gnu", "generic", error);
  ASSERT_TRUE(target) << error;
  checkNoSpills(*target, "fmla", "[sp");
}

TEST_P(CompileTest, ScalarLoopsVectorise) {
  auto emit = [](KernelBuilder &kb) {
    kb.beginKernel("map");
    kb.loop(kb.i(0), kb.size(Size::dim(0)), 1, [&](V i) {
      V x = kb.load(kb.at(kb.arg(0), i));
      kb.store(emitTanh(kb, x) + emitExp(kb, x), kb.at(kb.arg(1), i));
    });
    kb.finish();
  };
  auto text = KernelLibrary::compile(target, Emit::Asm, emit);
  llvm::StringRef assembly(text.data(), text.size());
  EXPECT_NE(assembly.find(target.isa == Isa::Baseline ? "divps" : "vdivps"),
            llvm::StringRef::npos);
  auto ir = KernelLibrary::compile(target, Emit::Llvm, emit);
  EXPECT_NE(llvm::StringRef(ir.data(), ir.size()).find("define"),
            llvm::StringRef::npos);
  auto archive = KernelLibrary::compile(target, Emit::Archive, emit);
  EXPECT_EQ(llvm::StringRef(archive.data(), 7), "!<arch>");
  auto object = KernelLibrary::compile(target, Emit::Object, emit);
  EXPECT_EQ(llvm::StringRef(object.data(), 4), "\x7f"
                                               "ELF");
}

TEST(TargetInfoTest, Levels) {
  std::string error;
  auto haswell = resolveTarget("x86_64-linux-gnu", "haswell", error);
  ASSERT_TRUE(haswell);
  EXPECT_EQ(haswell->isa, Isa::Avx2);
  EXPECT_EQ(haswell->cpu, "x86-64-v3");
  EXPECT_NE(haswell->requiredFeatures.find("fma"), std::string::npos);
  auto skylake = resolveTarget("x86_64-linux-gnu", "skylake-avx512", error);
  ASSERT_TRUE(skylake);
  EXPECT_EQ(skylake->isa, Isa::Avx512);
  EXPECT_EQ(skylake->requiredFeatures.find("vnni"), std::string::npos);
  auto icelake = resolveTarget("x86_64-linux-gnu", "icelake-server", error);
  ASSERT_TRUE(icelake);
  EXPECT_NE(icelake->requiredFeatures.find("avx512vnni"), std::string::npos);
  auto native = resolveTarget("", "native", error);
  ASSERT_TRUE(native) << error;
  EXPECT_TRUE(runsOnHost(*native));
  EXPECT_FALSE(resolveTarget("x86_64-linux-gnu", "pentium9", error));
  EXPECT_NE(error.find("pentium9"), std::string::npos);
  EXPECT_FALSE(resolveTarget("sparc-sun-solaris", "", error));
}

} // namespace
