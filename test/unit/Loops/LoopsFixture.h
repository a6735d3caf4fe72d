// Functions of lm operations, run four ways: by the evaluator, as machine code,
// as printed C++, and as printed CUDA under emulation. Many cases share one
// compilation.
#ifndef LLMOPT_TEST_UNIT_LOOPS_LOOPSFIXTURE_H
#define LLMOPT_TEST_UNIT_LOOPS_LOOPSFIXTURE_H

#include "llmopt/CodeGen/CPU/Compile.h"
#include "llmopt/CodeGen/Loops/Loops.h"
#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Dialect/LM/Eval/RuntimeBytes.h"
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Runtime/abi.h"

#include "mlir/IR/Builders.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

namespace llmopt::loops {

/// How to fill an argument.
enum class Fill { Normal, Positive, Special, Small, Index, Any };

struct Case {
  std::string name;
  mlir::func::FuncOp function;
  std::map<std::string, int64_t> symbols;
  std::vector<Fill> fills;  // Normal for floats, Any for integers, where absent
  int64_t indexBound = 1;   // Fill::Index: [-bound, bound)
  bool emulate = true;      // also as CUDA; slow, a switch per thread and barrier
  bool exact = false;       // bit for bit
  double tolerance = 2e-6;  // of the largest magnitude in the result, and of the element
};

/// Memory that ends where a page that cannot be touched begins.
class Guarded {
public:
  explicit Guarded(size_t size) : size(size) {
    size_t page = 4096;
    mapped = (size + page - 1) / page * page + page;
    base = static_cast<char *>(mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base + mapped - page, page, PROT_NONE);
    data = base + mapped - page - size;
    memset(base, 0x5a, mapped - page);
  }
  ~Guarded() { munmap(base, mapped); }
  Guarded(const Guarded &) = delete;
  /// Whether nothing was written in front.
  bool intact() const { return std::all_of(base, data, [](char c) { return c == 0x5a; }); }
  char *data;
  size_t size;

private:
  char *base;
  size_t mapped;
};

class LoopsFixture : public ::testing::Test {
protected:
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> source;
  std::vector<Case> cases;
  std::vector<mlir::OwningOpRef<mlir::ModuleOp>> parsed;

  LoopsFixture() {
    context.loadDialect<lm::LMDialect, mlir::func::FuncDialect>();
    source = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
  }

  /// `body` is that of a function with arguments %0, %1, .. of `types`; it
  /// returns `results`, e.g. "%r : tensor<2xf32>".
  Case &add(const std::string &types, const std::string &body, const std::string &results,
            std::map<std::string, int64_t> symbols = {}, std::vector<Fill> fills = {}) {
    std::string text = "func.func @f(";
    llvm::SmallVector<llvm::StringRef> list;
    llvm::StringRef(types).split(list, ';', -1, false);
    for (size_t i = 0; i < list.size(); ++i)
      text += (i ? ", %" : "%") + std::to_string(i) + ": " + list[i].str();
    std::string resultTypes = results.substr(results.find(':') + 1);
    text += ") -> (" + resultTypes + ") {\n" + body + "\n return " + results + "\n}\n";
    parsed.push_back(mlir::parseSourceString<mlir::ModuleOp>(text, &context));
    if (!parsed.back()) {
      ADD_FAILURE() << text;
      abort();
    }
    Case c;
    c.name = "case" + std::to_string(cases.size());
    c.function = *parsed.back()->getOps<mlir::func::FuncOp>().begin();
    c.symbols = std::move(symbols);
    c.fills = std::move(fills);
    cases.push_back(std::move(c));
    return cases.back();
  }

  /// One operation; operands are %0, %1, ...
  Case &op(const std::string &operation, const std::string &types, const std::string &result,
           std::map<std::string, int64_t> symbols = {}, std::vector<Fill> fills = {}) {
    std::string list = types;
    std::replace(list.begin(), list.end(), ';', ',');
    return add(types, "%r = " + operation + " : (" + list + ") -> " + result, "%r : " + result, symbols, fills);
  }

  int64_t value(const lm::SymExpr &expr, const Case &c) {
    std::optional<int64_t> v = expr.evaluate([&](llvm::StringRef name) -> std::optional<int64_t> {
      auto it = c.symbols.find(name.str());
      return it == c.symbols.end() ? std::nullopt : std::optional(it->second);
    });
    EXPECT_TRUE(v) << c.name << ": " << expr.str();
    return v.value_or(0);
  }

  llvm::SmallVector<int64_t> dimsOf(mlir::Type type, const Case &c) {
    llvm::SmallVector<int64_t> dims;
    for (const lm::SymExpr &dim : lm::getDims(type))
      dims.push_back(value(dim, c));
    return dims;
  }

  lm::Tensor makeInput(mlir::Type type, const Case &c, std::optional<Fill> fill, std::mt19937 &random) {
    mlir::Type element = mlir::getElementTypeOrSelf(type);
    llvm::SmallVector<int64_t> dims = dimsOf(type, c);
    int64_t count = 1;
    for (int64_t d : dims)
      count *= d;
    if (mlir::isa<mlir::FloatType>(element)) {
      std::vector<double> values(count);
      std::normal_distribution<double> normal;
      const double special[] = {0.0, -0.0, NAN, INFINITY, -INFINITY, 0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, 1e-30, 3e9, -3e9, 1e-40, 127.5, -128.5, 255.5, 90, -100};
      for (double &v : values) {
        v = normal(random);
        if (fill == Fill::Positive)
          v = std::abs(v) + 0.01;
        if (fill == Fill::Special && random() % 2)
          v = special[random() % std::size(special)];
      }
      return llvm::cantFail(lm::Tensor::fromFloats(element, dims, values));
    }
    std::vector<int64_t> values(count);
    for (int64_t &v : values) {
      if (fill == Fill::Index)
        v = static_cast<int64_t>(random() % (2 * c.indexBound)) - c.indexBound;
      else if (fill == Fill::Small || fill == Fill::Positive)
        v = static_cast<int64_t>(random() % 7) + (fill == Fill::Positive ? 1 : -2);
      else
        v = static_cast<int64_t>((uint64_t(random()) << 32 | random()) >> (random() % 64)) * (random() % 2 ? 1 : -1);
      if (element.isInteger(1))
        v = random() % 2;
    }
    return llvm::cantFail(lm::Tensor::fromInts(element, dims, values));
  }

  void compare(const Case &c, const lm::Tensor &expected, const lm::Tensor &got, const std::string &how) {
    ASSERT_EQ(expected.getNumElements(), got.getNumElements());
    int failures = 0;
    double largest = 1e-6;
    if (expected.isFloat())
      for (double v : expected.floats())
        if (std::isfinite(v))
          largest = std::max(largest, std::abs(v));
    double step = expected.getElementType().isF16() ? 2e-3 : expected.getElementType().isBF16() ? 2e-2 : c.tolerance;
    for (int64_t i = 0; i < expected.getNumElements() && failures < 4; ++i) {
      bool same;
      double e = expected.asDouble(i), g = got.asDouble(i);
      if (!expected.isFloat())
        same = expected.ints()[i] == got.ints()[i];
      else if (!std::isfinite(e))
        same = std::isnan(e) ? std::isnan(g) : e == g;
      else if (c.exact)
        same = e == g;
      else // for elementwise cases with special values the largest says nothing
        same = std::abs(e - g) <= step * std::max(std::abs(e), std::min(largest, 16.0));
      if (!same && ++failures)
        ADD_FAILURE() << c.name << " (" << how << ") element " << i << ": expected " << e << ", but got " << g << "\n"
                      << print(c);
    }
  }

  std::string print(const Case &c) {
    std::string text;
    llvm::raw_string_ostream os(text);
    mlir::Operation *op = c.function;
    op->print(os);
    return text;
  }

  void runKernel(const Case &c, const LoopSpec &spec, llmopt_kernel_fn kernel, llvm::ArrayRef<lm::Tensor> inputs,
                 llvm::ArrayRef<lm::Tensor> expected, const std::string &how, std::mt19937 &random) {
    std::vector<std::unique_ptr<Guarded>> buffers;
    std::vector<void *> args;
    for (const lm::Tensor &input : inputs) {
      std::vector<char> bytes = lm::toRuntimeBytes(input);
      buffers.push_back(std::make_unique<Guarded>(bytes.size()));
      memcpy(buffers.back()->data, bytes.data(), bytes.size());
    }
    for (const lm::Tensor &result : expected)
      buffers.push_back(std::make_unique<Guarded>(lm::toRuntimeBytes(result).size()));
    for (auto &buffer : buffers)
      args.push_back(buffer->data);
    std::vector<int64_t> dims;
    for (const lm::SymExpr &dim : spec.dims)
      dims.push_back(value(dim, c));
    size_t scratchBytes = value(spec.scratchBytes, c);
    void *scratch = aligned_alloc(64, std::max<size_t>(64, (scratchBytes + 63) / 64 * 64));
    std::vector<int64_t> tiles(value(spec.tiles, c));
    std::iota(tiles.begin(), tiles.end(), 0);
    std::shuffle(tiles.begin(), tiles.end(), random);
    for (int64_t tile : tiles) {
      memset(scratch, 0xff, std::max<size_t>(64, (scratchBytes + 63) / 64 * 64));
      kernel(args.data(), dims.data(), tile, scratch);
    }
    if (getenv("LLMOPT_TEST_BENCH") && how == "compiled") {
      double best = 1e9;
      for (int rep = 0; rep < 30; ++rep) {
        auto t0 = std::chrono::steady_clock::now();
        for (int64_t tile = 0; tile < (int64_t)tiles.size(); ++tile)
          kernel(args.data(), dims.data(), tile, scratch);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count());
      }
      fprintf(stderr, "BENCH %s tiles %zu: %.1f us\n", c.name.c_str(), tiles.size(), best * 1e6);
    }
    free(scratch);
    for (size_t i = 0; i < expected.size(); ++i) {
      Guarded &buffer = *buffers[inputs.size() + i];
      EXPECT_TRUE(buffer.intact()) << c.name << " wrote in front of result " << i;
      compare(c, expected[i],
              llvm::cantFail(lm::fromRuntimeBytes(expected[i].getElementType(), expected[i].getDims(),
                                                  {buffer.data, buffer.size})),
              how);
    }
  }

  static void *open(const std::string &path) {
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    EXPECT_TRUE(library) << dlerror();
    return library;
  }

  void runAll() {
    std::string error;
    std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", "native", error);
    ASSERT_TRUE(target) << error;
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
    std::string text;
    llvm::raw_string_ostream os(text);
    printTextPreamble(os);
    std::string blocks = "#define LLMOPT_EMULATE\n#include \"llmopt/cuda/grid.cuh\"\n", wrappers;
    llvm::raw_string_ostream blockStream(blocks);
    printTextPreamble(blockStream, TextStyle::Cuda);
    std::vector<LoopSpec> compiled, printed, emulated;
    std::vector<bool> inText;
    for (Case &c : cases) {
      mlir::FailureOr<LoopSpec> a = emitLoopsMLIR(c.function.getBody(), c.name, *module, *target);
      mlir::FailureOr<LoopSpec> b = emitLoopsText(c.function.getBody(), c.name, os);
      mlir::FailureOr<LoopSpec> d = emitLoopsText(c.function.getBody(), c.name + "_block", blockStream, TextStyle::Cuda);
      ASSERT_TRUE(mlir::succeeded(a) && mlir::succeeded(b) && mlir::succeeded(d)) << print(c);
      compiled.push_back(*a);
      printed.push_back(*b);
      emulated.push_back(*d);
      std::optional<int64_t> bytes = d->scratchBytes.getConstant();
      size_t size = llvm::find(d->dims, d->scratchBytes) - d->dims.begin();
      size_t buffers = c.function.getNumArguments() + c.function.getNumResults();
      wrappers += "extern \"C\" void " + c.name +
                  "(void *const *args, const int64_t *dims, int64_t tile, void *scratch) {\n"
                  "  llmopt_emulation::launch(" + c.name + "_block, " + std::to_string(buffers) + ", " +
                  std::to_string(cudaThreads) + ", args, dims, tile, scratch, " +
                  (bytes ? std::to_string(*bytes) : "dims[" + std::to_string(size) + "]") + ");\n}\n";
    }
    std::string directory = "/tmp/llmopt-loops-XXXXXX";
    ASSERT_TRUE(mkdtemp(directory.data()));
    std::string stem = directory + "/kernels";
    std::ofstream(stem + ".cpp") << text;
    std::ofstream(stem + "_blocks.cpp") << blocks << wrappers;
    for (const char *kind : {"", "_blocks"}) {
      std::string command = std::string(LLMOPT_TEST_CXX) +
                            " -std=c++17 -O1 -fPIC -shared -Wall -Wno-unused-variable -Wno-unused-function"
                            " -ffp-contract=on -I" LLMOPT_CUDA_HEADERS " -o " + stem + kind + ".so " + stem + kind + ".cpp";
      ASSERT_EQ(system(command.c_str()), 0) << command;
    }
    llvm::SmallVector<char> bytes;
    std::string dump;
    if (getenv("LLMOPT_TEST_DUMP")) {
      llvm::raw_string_ostream dumpStream(dump);
      module->print(dumpStream);
      std::ofstream(stem + ".mlir") << dump;
    }
    ASSERT_TRUE(mlir::succeeded(cpu::compileModule(*module, *target, {}, bytes)));
    std::ofstream(stem + "_mlir.so", std::ios::binary).write(bytes.data(), bytes.size());
    void *machine = open(stem + "_mlir.so"), *host = open(stem + ".so"), *device = open(stem + "_blocks.so");
    ASSERT_TRUE(machine && host && device);
    std::mt19937 random(7);
    for (auto [i, c] : llvm::enumerate(cases)) {
      llvm::SmallVector<lm::Tensor> inputs;
      for (auto [k, type] : llvm::enumerate(c.function.getArgumentTypes()))
        inputs.push_back(makeInput(type, c, k < c.fills.size() ? std::optional(c.fills[k]) : std::nullopt, random));
      mlir::FailureOr<llvm::SmallVector<lm::Tensor>> expected = lm::evaluate(c.function, inputs);
      if (mlir::failed(expected)) {
        ADD_FAILURE() << "evaluator: " << print(c);
        continue;
      }
      auto kernelOf = [&](void *library) { return reinterpret_cast<llmopt_kernel_fn>(dlsym(library, c.name.c_str())); };
      ASSERT_TRUE(kernelOf(machine) && kernelOf(host) && kernelOf(device));
      if (getenv("LLMOPT_TEST_DUMP"))
        fprintf(stderr, "%s\n", c.name.c_str());
      runKernel(c, compiled[i], kernelOf(machine), inputs, *expected, "compiled", random);
      runKernel(c, printed[i], kernelOf(host), inputs, *expected, "printed", random);
      if (c.emulate)
        runKernel(c, emulated[i], kernelOf(device), inputs, *expected, "in blocks", random);
    }
    for (void *library : {machine, host, device})
      dlclose(library);
    if (!getenv("LLMOPT_TEST_DUMP"))
      for (const char *suffix : {".cpp", ".so", "_mlir.so", "_blocks.cpp", "_blocks.so"})
        unlink((stem + suffix).c_str());
    else
      fprintf(stderr, "kept %s\n", directory.c_str());
    rmdir(directory.c_str());
  }
};

} // namespace llmopt::loops

#endif
