// model.cu, and what runs it on a CPU.
#include "Names.h"
#include "Sources.h"

#include "llmopt/CodeGen/Loops/Loops.h"

using namespace llmopt;
using namespace llmopt::cuda;
using llvm::raw_ostream;

/// Comments of at most this many characters a line.
static constexpr size_t kColumns = 118;

/// `// text`, broken between words.
static void printComment(llvm::StringRef text, raw_ostream &os) {
  while (!text.empty()) {
    size_t end = text.size();
    if (end > kColumns - 3) {
      end = text.rfind(' ', kColumns - 3);
      if (end == llvm::StringRef::npos || end == 0)
        end = std::min(text.find(' '), text.size());
    }
    os << "// " << text.take_front(end) << "\n";
    text = text.drop_front(end).ltrim();
  }
}

std::string cuda::printKernels(const Sources &sources) {
  std::string text;
  llvm::raw_string_ostream os(text);
  const ModelTables &t = sources.model.tables;
  printComment(toComment(t.name) + ", written by " + t.compiler +
                   ". One function per kernel, one block per tile. Comments name the ONNX nodes that it computes, its "
                   "results, arithmetic and memory traffic over shape symbols.",
               os);
  os << "#include \"llmopt/cuda/flash_attention.cuh\"\n#include \"llmopt/cuda/matmul.cuh\"\n"
        "#include \"llmopt/cuda/narrow_any_rows.cuh\"\n#include \"llmopt/cuda/grid.cuh\"\n#include "
        "\"llmopt/cuda/norm.cuh\"\n\n";
  loops::printTextPreamble(os, loops::TextStyle::Cuda);
  bool first = true;
  for (const CudaKernel &kernel : sources.kernels) {
    os << (first ? "" : "\n");
    first = false;
    for (const std::string &use : kernel.uses)
      printComment(use, os);
    os << llvm::StringRef(kernel.text).rtrim() << "\n";
  }
  return text;
}

std::string cuda::printEmulation(const Sources &sources) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "// The kernels of model.cu on a CPU: for -emulate, and for a driver that stands in for a GPU.\n"
        "#include \"model.cu\"\n\n#ifndef LLMOPT_EMULATE\n#error \"expected -DLLMOPT_EMULATE\"\n#endif\n\n"
        "// What model_tables.cpp calls, a tile at a time.\n";
  for (const CudaKernel &kernel : sources.kernels)
    os << "extern \"C\" void run_" << kernel.name
       << "(void *const *args, const int64_t *dims, int64_t tile, void *scratch) {\n  llmopt_emulation::launch("
       << kernel.name << ", " << kernel.buffers << ", " << kernel.threads << ", args, dims, tile, scratch, "
       << kernel.scratch << ", " << kernel.sharedBytes << ");\n}\n";
  os << "\n// What cuLaunchKernel takes, by name.\n"
        "struct llmopt_emulated_kernel {\n  const char *name;\n"
        "  int buffers, dims, scratch; // parameters\n"
        "  bool (*run)(const unsigned *grid, const unsigned *block, size_t shared_bytes, void *const "
        "*parameters);\n};\n"
        "template <typename... P>\nstatic bool llmopt_run(void (*kernel)(P...), const unsigned *grid, const unsigned "
        "*block, size_t shared_bytes,\n    void *const *parameters) {\n"
        "  return llmopt_emulation::run_grid(kernel, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, "
        "shared_bytes,\n      parameters);\n}\n"
        "static const llmopt_emulated_kernel llmopt_kernels[] = {\n";
  for (const CudaKernel &kernel : sources.kernels)
    os << "    {\"" << kernel.name << "\", " << kernel.buffers << ", " << kernel.dims << ", " << kernel.hasScratch()
       << ",\n        [](const unsigned *grid, const unsigned *block, size_t shared_bytes, void *const *parameters) {\n"
          "          return llmopt_run("
       << kernel.name << ", grid, block, shared_bytes, parameters);\n        }},\n";
  os << "    {nullptr, 0, 0, 0, nullptr},\n};\n\n"
        "// Ends with a kernel without a name.\n"
        "extern \"C\" __attribute__((visibility(\"default\"))) const llmopt_emulated_kernel "
        "*llmopt_emulated_kernels_v1() "
        "{ return llmopt_kernels; }\n"
        "// All memory that kernels may touch, for bounds checks.\n"
        "extern \"C\" __attribute__((visibility(\"default\"))) void llmopt_emulated_ranges_v1(const void *const "
        "*pointers, "
        "const size_t *sizes, size_t count) {\n  llmopt_emulation::unregister_ranges();\n"
        "  for (size_t i = 0; i < count; ++i)\n    llmopt_emulation::register_range(pointers[i], sizes[i]);\n}\n"
        "// Whether a launch may begin before the one in front is done, and which of that memory no kernel writes.\n"
        "extern \"C\" __attribute__((visibility(\"default\"))) void llmopt_emulated_early_v1(int enabled, void "
        "(*change)(int waited),\n    const void *const *constants, const size_t *sizes, size_t count) {\n"
        "  llmopt_emulation::early_launch = {enabled != 0, change};\n"
        "  for (size_t i = 0; i < count; ++i) {\n    llmopt_emulation::unregister_range(constants[i]);\n"
        "    llmopt_emulation::register_range(constants[i], sizes[i], true);\n  }\n}\n"
        "// Why a run returned false, on this thread.\n"
        "extern \"C\" __attribute__((visibility(\"default\"))) const char *llmopt_emulated_error_v1() { return "
        "llmopt_emulation::last_error(); }\n";
  return text;
}
