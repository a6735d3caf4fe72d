// model_tables.cpp: the tables of Runtime/abi.h as C++ text.
#include "Names.h"
#include "Sources.h"

#include "llvm/ADT/STLExtras.h"

using namespace llmopt;
using namespace llmopt::cuda;
using llvm::raw_ostream;

namespace {

/// static const TYPE NAME[] = {...}; C++ has no empty arrays, so those get one
/// zero element that no count covers.
template <typename Range, typename Print>
void printArray(raw_ostream &os, const char *type, const char *name, const Range &items, Print print) {
  os << "static const " << type << " " << name << "[] = {";
  for (const auto &item : items) {
    os << "\n    ";
    print(item);
    os << ",";
  }
  os << (items.empty() ? "{}" : "\n") << "};\n";
}

void printIndices(raw_ostream &os, const char *name, const std::vector<uint32_t> &items) {
  os << "static const uint32_t " << name << "[] = {";
  for (auto [i, item] : llvm::enumerate(items))
    os << (i % 16 == 0 ? "\n    " : " ") << item << "u,";
  os << (items.empty() ? "0" : "\n") << "};\n";
}

template <typename Dims> void printDims(raw_ostream &os, const Dims &dims) {
  os << "{";
  llvm::interleaveComma(dims, os);
  os << "}";
}

void printTensors(raw_ostream &os, const char *name, const std::vector<ModelTables::Tensor> &tensors) {
  printArray(os, "llmopt_tensor_desc", name, tensors, [&](const ModelTables::Tensor &t) {
    os << "{" << cuda::toLiteral(t.name) << ", " << t.dtype << ", " << t.dims.size() << ", ";
    printDims(os, t.dims);
    os << ", " << t.buffer << "}";
  });
}

void printBuffers(raw_ostream &os, const std::vector<ModelTables::Buffer> &buffers) {
  for (auto [i, b] : llvm::enumerate(buffers)) {
    if (b.kind != LLMOPT_BUFFER_CONSTANT)
      continue;
    os << "alignas(64) static const unsigned char constant" << i << "[] = {";
    for (auto [j, byte] : llvm::enumerate(b.data))
      os << (j % 32 == 0 ? "\n    " : "") << unsigned(byte) << ",";
    os << (b.data.empty() ? "0" : "\n") << "};\n";
  }
  size_t index = 0;
  printArray(os, "llmopt_buffer", "buffers", buffers, [&](const ModelTables::Buffer &b) {
    os << "{" << b.kind << ", " << b.index << "u, " << b.size << "u, " << b.offset << "u, " << b.firstStep << ", "
       << b.lastStep << ", ";
    if (b.kind == LLMOPT_BUFFER_CONSTANT)
      os << "constant" << index;
    else
      os << "nullptr";
    os << "}";
    ++index;
  });
}

} // namespace

/// Declarations of what steps run: functions of model_emulation.cpp, or device code.
static void printCode(const Sources &sources, raw_ostream &os) {
  os << "#ifdef LLMOPT_EMULATE\n#define LLMOPT_RUN(kernel) run_##kernel\n#define LLMOPT_DEVICE nullptr\nextern \"C\" "
        "{\n";
  for (const CudaKernel &kernel : sources.kernels)
    os << "void run_" << kernel.name << "(void *const *args, const int64_t *dims, int64_t tile, void *scratch);\n";
  os << "}\n#else\n#define LLMOPT_RUN(kernel) nullptr\n#define LLMOPT_DEVICE &device\n"
        "// The fat binary of model.cu; LLMOPT_IMAGE is its path.\n"
        "asm(\".section .rodata\\n.balign 64\\nllmopt_image:\\n.incbin \\\"\" LLMOPT_IMAGE "
        "\"\\\"\\nllmopt_image_end:\\n.byte 0\\n.previous\");\n"
        "extern \"C\" __attribute__((visibility(\"hidden\"))) const unsigned char llmopt_image[], "
        "llmopt_image_end[];\n#endif\n\n";
}

/// How the kernels are started, and which step runs which.
static void printDevice(const Sources &sources, raw_ostream &os) {
  os << "#ifndef LLMOPT_EMULATE\n";
  llvm::StringMap<size_t> indices;
  for (auto [i, kernel] : llvm::enumerate(sources.kernels))
    indices[kernel.name] = i;
  printArray(os, "llmopt_device_kernel", "device_kernels", sources.kernels, [&](const CudaKernel &kernel) {
    os << "{\"" << kernel.name << "\", " << kernel.threads << ", " << kernel.sharedBytes << ", " << kernel.buffers
       << ", " << kernel.dims << ", " << kernel.scratchBytes << "ull, " << kernel.scratchDim << "u, 0}";
  });
  std::vector<uint32_t> kernels;
  for (const ModelTables::Step &step : sources.model.tables.steps)
    kernels.push_back(step.control == LLMOPT_CONTROL_NONE ? indices[step.kernel] : LLMOPT_NONE);
  printIndices(os, "step_kernels", kernels);
  size_t numChoices = 0;
  std::vector<const ModelTables::LibraryChoice *> choices;
  printArray(os, "llmopt_library_product", "library_products", sources.model.tables.products,
             [&](const ModelTables::LibraryProduct &p) {
               os << "{" << p.step << ", " << p.dtype;
               for (uint32_t value :
                    {p.x, p.w, p.bias, p.residual, p.y, p.activation, p.rows, p.rowStride, p.rowOffset})
                 os << ", " << value << "u";
               os << ", " << numChoices << ", " << p.choices.size() << ", 0, " << p.n << ", " << p.k << "}";
               numChoices += p.choices.size();
               for (const ModelTables::LibraryChoice &choice : p.choices)
                 choices.push_back(&choice);
             });
  printArray(os, "llmopt_library_choice", "library_choices", choices, [&](const ModelTables::LibraryChoice *c) {
    os << "{" << toLiteral(c->device) << ", " << c->leastRows << ", " << c->mostRows << ", ";
    printDims(os, c->algorithm);
    os << ", 0}";
  });
  os << "const llmopt_device device = {sizeof(llmopt_device), LLMOPT_DEVICE_CUDA, " << sources.kernels.size()
     << ", 0,\n    device_kernels, step_kernels, \"" << getArchitectureList(sources)
     << "\", llmopt_image, llmopt_image_end,\n    " << sources.model.tables.products.size() << ", " << choices.size()
     << ", library_products, library_choices};\n#endif\n";
}

std::string cuda::printTables(const Sources &sources) {
  const ModelTables &t = sources.model.tables;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "// The launch list of " << toComment(t.name)
     << " as data: buffers, steps, sizes over shape symbols (llmopt/Runtime/abi.h).\n"
        "#include \"model.h\"\n\n// clang-format off\n";
  printCode(sources, os);
  os << "namespace {\n";
  printArray(os, "char *const", "symbols", t.symbols, [&](const std::string &s) { os << toLiteral(s); });
  printTensors(os, "inputs", t.inputs);
  printTensors(os, "outputs", t.outputs);
  printBuffers(os, t.buffers);
  std::vector<uint32_t> args, dims;
  printArray(os, "llmopt_step", "steps", t.steps, [&](const ModelTables::Step &s) {
    os << "{" << toLiteral(s.name) << ", "
       << (s.control == LLMOPT_CONTROL_NONE ? "LLMOPT_RUN(" + s.kernel + ")" : std::string("nullptr")) << ", "
       << args.size() << ", " << s.args.size() << ", " << dims.size() << ", " << s.dims.size() << ", " << s.tiles
       << "u, " << s.control << "}";
    args.insert(args.end(), s.args.begin(), s.args.end());
    dims.insert(dims.end(), s.dims.begin(), s.dims.end());
  });
  printIndices(os, "step_args", args);
  printIndices(os, "step_dims", dims);
  printArray(os, "llmopt_weight", "weights", t.weights, [&](const ModelTables::Weight &w) {
    os << "{" << toLiteral(w.name) << ", " << w.dtype << ", " << w.dims.size() << ", ";
    printDims(os, w.dims);
    os << ", " << w.offset << "ull, " << w.size << "ull, " << (w.hasRecipe ? toLiteral(w.recipe) : "nullptr") << "}";
  });
  printArray(os, "llmopt_expr", "exprs", t.exprs,
             [&](const llmopt_expr &e) { os << "{" << e.first << ", " << e.count << "}"; });
  printArray(os, "llmopt_expr_insn", "expr_code", t.exprCode,
             [&](const llmopt_expr_insn &i) { os << "{" << i.op << ", " << i.value << "ll}"; });
  printArray(os, "llmopt_constraint", "constraints", t.constraints, [&](const ModelTables::Constraint &c) {
    os << "{" << c.lhs << ", " << c.relation << ", " << c.rhs << ", " << c.flags << "u, " << toLiteral(c.reason) << "}";
  });

  printArray(os, "llmopt_data_symbol", "data_symbols", t.dataSymbols, [&](const ModelTables::DataSymbol &s) {
    os << "{" << s.symbol << ", " << s.buffer << "u, " << s.bound << ", " << s.firstStep << "}";
  });
  printTensors(os, "output_bounds", t.outputBounds);
  printArray(os, "llmopt_cache", "caches", t.caches, [&](const ModelTables::Cache &c) {
    os << "{" << toLiteral(c.name) << ", " << c.dtype << ", " << c.size << "}";
  });

  printArray(os, "llmopt_index_check", "index_checks", t.indexChecks, [&](const ModelTables::IndexCheck &c) {
    os << "{" << c.input << ", " << c.rows << ", " << toLiteral(c.reason) << "}";
  });

  printDevice(sources, os);

  os << "const llmopt_model_desc model = {\n    sizeof(llmopt_model_desc),\n    LLMOPT_ABI_VERSION,\n    {";
  for (uint8_t byte : t.buildId)
    os << unsigned(byte) << ",";
  os << "},\n    " << toLiteral(t.name) << ",\n    " << toLiteral(t.compiler) << ",\n    " << toLiteral(t.target)
     << ",\n    " << toLiteral(t.cpuFeatures) << ",\n    ";
  for (size_t count : {t.symbols.size(), t.inputs.size(), t.outputs.size(), t.buffers.size(), t.steps.size(),
                       t.weights.size(), t.exprs.size(), t.exprCode.size(), args.size(), dims.size()})
    os << count << ", ";
  os << "\n    symbols, inputs, outputs, buffers, steps, weights, exprs, expr_code, step_args, step_dims,\n    "
     << t.scratchBytes << ", 0, " << t.weightsSize << "ull,\n    " << toLiteral(t.metadata) << ",\n    "
     << t.constraints.size() << ", " << t.caches.size() << ", constraints, " << t.dataSymbols.size()
     << ", 0, data_symbols, " << (t.dataSymbols.empty() ? "nullptr" : "output_bounds") << ",\n    " << t.pastSymbol
     << "u, " << t.capacitySymbol << "u, " << t.newTokens << "u, " << t.maxTokens << ", caches,\n    "
     << t.indexChecks.size() << ", 0, index_checks,\n    LLMOPT_DEVICE, nullptr};\n"
     << "} // namespace\n\nextern \"C\" __attribute__((visibility(\"default\"))) const llmopt_model_desc *"
     << sources.symbolPrefix << "llmopt_model_v1() { return &model; }\n";
  return text;
}
