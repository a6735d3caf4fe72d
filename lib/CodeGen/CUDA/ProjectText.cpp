// What stands around the kernels in a project: C header, build, instructions.
#include "Names.h"
#include "Sources.h"

#include "llmopt/CodeGen/Plan/Tables.h"

#include "llvm/ADT/STLExtras.h"

using namespace llmopt;
using namespace llmopt::cuda;

std::vector<std::string> cuda::getCodeOptions(const Sources &sources) {
  std::vector<std::string> options;
  for (const std::string &arch : sources.architectures) {
    bool newest = arch == sources.architectures.back();
    options.push_back("-gencode=arch=compute_" + arch +
                      ",code=" + (newest ? "[sm_" + arch + ",compute_" + arch + "]" : "sm_" + arch));
  }
  return options;
}

std::string cuda::getArchitectureList(const Sources &sources) {
  std::string list;
  for (const std::string &arch : sources.architectures)
    list += "sm_" + arch + ",";
  return list + "compute_" + sources.architectures.back();
}

/// "i64[batch, sequence]", from the expressions of the tables.
static std::string typeText(const ModelTables &t, const ModelTables::Tensor &tensor) {
  std::string text = getDTypeName(tensor.dtype);
  text += "[";
  for (size_t d = 0; d < tensor.dims.size(); ++d) {
    const llmopt_expr &e = t.exprs[tensor.dims[d]];
    const llmopt_expr_insn &insn = t.exprCode[e.first];
    text += d ? ", " : "";
    if (e.count == 1 && insn.op == LLMOPT_EXPR_CONST)
      text += std::to_string(insn.value);
    else
      text += e.count == 1 && insn.op == LLMOPT_EXPR_SYMBOL ? t.symbols[insn.value] : "..";
  }
  return text + "]";
}

std::string cuda::printHeader(const Sources &sources) {
  const ModelTables &t = sources.model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "/* " << toComment(t.name) << ": what model.so exports, the same as a model compiled for a CPU.\n *\n"
     << " * Load it with llmopt_model_load (llmopt/runtime.h), or link it and give the\n"
     << " * descriptor to llmopt_model_create. Sessions run it on the first device that the\n"
     << " * CUDA driver shows; inputs and outputs are memory of the host, unless the\n"
     << " * session's options say otherwise.\n *\n";
  auto list = [&](const char *what, llvm::ArrayRef<ModelTables::Tensor> tensors) {
    for (auto [i, tensor] : llvm::enumerate(tensors))
      os << " *   " << what << " " << i << ": " << toComment(tensor.name) << " " << toComment(typeText(t, tensor))
         << "\n";
  };
  list("input", t.inputs);
  list("output", t.outputs);
  os << " */\n#ifndef LLMOPT_MODEL_H\n#define LLMOPT_MODEL_H\n\n#include \"llmopt/Runtime/abi.h\"\n\n#ifdef "
        "__cplusplus\nextern \"C\" {\n#endif\n\n__attribute__((visibility(\"default\"))) const llmopt_model_desc *"
     << sources.symbolPrefix << "llmopt_model_v1(void);\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
  return text;
}

std::string cuda::printCMake(const Sources &sources) {
  std::string options;
  for (const std::string &option : getCodeOptions(sources))
    options += "\n  \"" + option + "\"";
  return R"(# model.so beside model.weights: device code by nvcc, tables by the host's compiler.
#   cmake -B build && cmake --build build
#   cmake -B build-cpu -DEMULATE=ON && cmake --build build-cpu    (no GPU, no nvcc)
cmake_minimum_required(VERSION 3.20)
project(model LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 17)
option(EMULATE "Compile the kernels for the CPU: correct, slow, without a GPU" OFF)
set(ARCHITECTURES)" +
         options + R"(
  CACHE STRING "what nvcc compiles for")

if(EMULATE)
  add_library(model SHARED model_tables.cpp model_emulation.cpp)
  target_compile_definitions(model PRIVATE LLMOPT_EMULATE)
  target_compile_options(model PRIVATE -O2 -w -ffp-contract=on)
  set(name model-emulated)
  configure_file(model.weights ${CMAKE_CURRENT_SOURCE_DIR}/model-emulated.weights COPYONLY)
else()
  find_program(NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin REQUIRED)
  set(image ${CMAKE_CURRENT_BINARY_DIR}/model.fatbin)
  file(GLOB_RECURSE headers ${CMAKE_CURRENT_SOURCE_DIR}/llmopt/*)
  add_custom_command(OUTPUT ${image}
    COMMAND ${NVCC} -std=c++17 -O3 -fatbin ${ARCHITECTURES} -I${CMAKE_CURRENT_SOURCE_DIR}
            -o ${image} ${CMAKE_CURRENT_SOURCE_DIR}/model.cu
    DEPENDS model.cu ${headers} VERBATIM)
  add_library(model SHARED model_tables.cpp ${image})
  set_source_files_properties(model_tables.cpp PROPERTIES OBJECT_DEPENDS ${image})
  target_compile_definitions(model PRIVATE LLMOPT_IMAGE="${image}")
  target_link_options(model PRIVATE -nostdlib)
  set(name model)
endif()
target_include_directories(model PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
set_target_properties(model PROPERTIES PREFIX "" SUFFIX ".so" OUTPUT_NAME ${name} CXX_VISIBILITY_PRESET hidden
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
)";
}

/// A product with an epilogue, to show how one is changed; null where there is none.
static const CudaKernel *findExample(const Sources &sources) {
  for (const CudaKernel &kernel : sources.kernels)
    if (llvm::StringRef(kernel.text).contains("llmopt::GemmEpilogue<"))
      return &kernel;
  return nullptr;
}

std::string cuda::printReadme(const Sources &sources) {
  const ModelTables &t = sources.model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "# " << toComment(t.name) << " as CUDA\n\n"
     << "| file | |\n| --- | --- |\n"
     << "| `model.cu` | " << sources.kernels.size() << " kernels; each says which ONNX nodes it computes |\n"
     << "| `model_tables.cpp` | the launch list (" << t.steps.size() << " steps), sizes and memory plan, as data |\n"
     << "| `model.weights` | packed weights, " << t.weightsSize << " bytes |\n"
     << "| `model.h` | what `model.so` exports; inputs and outputs |\n"
     << "| `llmopt/cuda/` | the header library that the kernels instantiate |\n"
     << "| `model_emulation.cpp` | the same kernels on a CPU |\n"
     << "| `CMakeLists.txt` | builds `model.so` for " << getArchitectureList(sources) << " |\n\n"
     << "## Build and run\n\n```\ncmake -B build && cmake --build build     # needs nvcc; writes model.so here\n"
     << "llmopt-run model.so --info                  # inputs, outputs, steps\n";
  std::string shape;
  for (size_t s = 0; s + t.dataSymbols.size() < t.symbols.size(); ++s)
    if (s != t.pastSymbol && s != t.capacitySymbol)
      shape += (shape.empty() ? "" : ",") + t.symbols[s] + "=" + (s == 0 ? "1" : "16");
  os << "llmopt-run model.so --bench" << (shape.empty() ? "" : " --shape " + toComment(shape))
     << "   # needs the NVIDIA driver\n"
     << "llmopt-run model.so --input in.npz --output out.npz\n```\n\n"
     << "Without a GPU, `cmake -B build-cpu -DEMULATE=ON && cmake --build build-cpu` writes `model-emulated.so`, "
        "which\n"
     << "runs the same kernels on the CPU: slow, and right.\n\n";
  os << "## Change a kernel\n\n"
     << "Every kernel is one function of `model.cu`, under a comment with its ONNX nodes and shapes; its body calls "
        "the\n"
     << "header library. It starts as many blocks as its row of `steps` in `model_tables.cpp` has tiles.\n\n";
  if (const CudaKernel *example = findExample(sources))
    os << "What a matrix product does with its sums is its epilogue. Take `" << example->name << "`:\n\n"
       << "1. For another activation change `llmopt::Activation::` in its `using Epilogue` (`llmopt/cuda/common.cuh` "
          "has\n"
       << "   the list).\n"
       << "2. For anything else copy `struct GemmEpilogue` of `llmopt/cuda/epilogue.cuh` under a new name into "
          "`model.cu`\n"
       << "   (in `namespace llmopt`), change what it stores, and name it in `using Epilogue`: it gets runs of sums "
          "with\n"
       << "   their row and first column.\n"
       << "3. Run the emulated build and compare outputs: `llmopt-run model-emulated.so --input in.npz --output "
          "out.npz`.\n"
       << "4. `cmake --build build`. `model.weights` and the tables stay as they are, as long as parameters, block "
          "size\n"
       << "   and tiles do.\n\n";
  os << "Parameters of a kernel are its buffers in the order of the step's arguments, then its sizes, then scratch "
        "memory\n"
        "if it has any.\n";
  return text;
}
