#include "library_products.h"

#include <dlfcn.h>
#include <initializer_list>
#include <pthread.h>

using namespace llmopt::rt;

namespace {
constexpr const char *kVariable = "LLMOPT_CUBLASLT";
constexpr uint64_t kWorkspaceBytes = uint64_t(32) << 20;

// cublasLt.h, library_types.h
constexpr int kComputeF32 = 68, kF32 = 0, kF16 = 2, kBf16 = 14;
constexpr int kTransposeA = 3, kEpilogue = 7, kBiasPointer = 8;
constexpr int kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32;
constexpr int kFirstNarrowAttribute = 7; // of an algorithm: 16 bits wide
} // namespace

// X(member, symbol, parameters)
#define LLMOPT_CUBLASLT_FUNCTIONS(X)                                                                                   \
  X(create, cublasLtCreate, (void **))                                                                                 \
  X(destroy, cublasLtDestroy, (void *))                                                                                \
  X(operationCreate, cublasLtMatmulDescCreate, (void **, int, int))                                                    \
  X(operationDestroy, cublasLtMatmulDescDestroy, (void *))                                                             \
  X(operationSet, cublasLtMatmulDescSetAttribute, (void *, int, const void *, size_t))                                 \
  X(layoutCreate, cublasLtMatrixLayoutCreate, (void **, int, uint64_t, uint64_t, int64_t))                             \
  X(layoutDestroy, cublasLtMatrixLayoutDestroy, (void *))                                                              \
  X(algorithmInit, cublasLtMatmulAlgoInit, (void *, int, int, int, int, int, int, int, uint64_t *))                    \
  X(algorithmSet, cublasLtMatmulAlgoConfigSetAttribute, (uint64_t *, int, const void *, size_t))                       \
  X(algorithmCheck, cublasLtMatmulAlgoCheck,                                                                           \
    (void *, void *, void *, void *, void *, void *, const uint64_t *, uint64_t *))                                    \
  X(matmul, cublasLtMatmul,                                                                                            \
    (void *, void *, const void *, const void *, void *, const void *, void *, const void *, const void *, void *,     \
     void *, void *, const uint64_t *, void *, size_t, void *))

namespace llmopt::rt {
struct CublasLt {
#define LLMOPT_CUBLASLT_MEMBER(member, symbol, parameters) int(*member) parameters;
  LLMOPT_CUBLASLT_FUNCTIONS(LLMOPT_CUBLASLT_MEMBER)
#undef LLMOPT_CUBLASLT_MEMBER
};
} // namespace llmopt::rt

namespace {
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
CublasLt theLibrary;
bool wasTried = false, isOpen = false;

bool load() {
  const char *named = std::getenv(kVariable);
  void *library = nullptr;
  if (named && *named)
    library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
  else
    for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12"})
      if (!library)
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return false;
  bool complete = true;
  auto find = [&](const char *name, void *member) {
    void *symbol = dlsym(library, name);
    complete = complete && symbol;
    std::memcpy(member, &symbol, sizeof(symbol));
  };
#define LLMOPT_CUBLASLT_FIND(member, symbol, parameters) find(#symbol, &theLibrary.member);
  LLMOPT_CUBLASLT_FUNCTIONS(LLMOPT_CUBLASLT_FIND)
#undef LLMOPT_CUBLASLT_FIND
  return complete;
}
} // namespace

const CublasLt *llmopt::rt::openCublasLt() {
  pthread_mutex_lock(&mutex);
  if (!wasTried) {
    isOpen = load();
    wasTried = true;
  }
  pthread_mutex_unlock(&mutex);
  return isOpen ? &theLibrary : nullptr;
}

llmopt_status LibraryProducts::open(const llmopt_model &model, const DeviceModel &device, llmopt_error *error) {
  const llmopt_device &all = *model.desc.device;
  if (all.struct_size < sizeof(llmopt_device))
    return LLMOPT_OK; // older tables have none
  deviceName = device.name;
  bool any = false;
  for (uint32_t c = 0; c < all.num_choices; ++c)
    any = any || std::strcmp(all.choices[c].device, deviceName) == 0;
  if (!any || !(library = openCublasLt()))
    return LLMOPT_OK;
  if (library->create(&handle)) {
    handle = nullptr;
    return fail(error, LLMOPT_DEVICE_ERROR, "cuBLASLt cannot be started on this device (%s)", deviceName);
  }
  if (!productOf.allocate(model.desc.num_steps) || !prepared.allocate(all.num_products))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for a session");
  for (uint32_t &product : productOf)
    product = LLMOPT_NONE;
  for (uint32_t p = 0; p < all.num_products; ++p)
    productOf[all.products[p].step] = p;
  tables = &all;
  return workspace.allocate(*device.driver, deviceName, kWorkspaceBytes, "cuBLASLt", error);
}

void LibraryProducts::close(const CudaDriver &driver) {
  for (Prepared &p : prepared)
    release(&p);
  if (handle)
    library->destroy(handle);
  handle = nullptr;
  tables = nullptr;
  workspace.release(driver);
}

void LibraryProducts::release(Prepared *p) {
  if (p->operation)
    library->operationDestroy(p->operation);
  for (void **layout : {&p->w, &p->x, &p->y}) {
    if (*layout)
      library->layoutDestroy(*layout);
    *layout = nullptr;
  }
  p->operation = nullptr;
}

/// y^T [n, rows] = w [k, n]^T x^T [k, rows], as column-major matrices.
void LibraryProducts::prepare(const llmopt_library_product &product, const llmopt_library_choice &choice, int64_t rows,
                              int64_t stride, Prepared *p) {
  release(p);
  p->rows = rows;
  p->stride = stride;
  const int type = product.dtype == LLMOPT_F16 ? kF16 : kBf16, transposed = 1;
  int epilogue = product.activation == LLMOPT_LIBRARY_RELU        ? kEpilogueRelu
                 : product.activation == LLMOPT_LIBRARY_GELU_TANH ? kEpilogueGelu
                                                                  : 0;
  epilogue |= product.bias != LLMOPT_NONE ? kEpilogueBias : 0;
  epilogue = epilogue ? epilogue : kEpilogueDefault;
  const uint64_t n = uint64_t(product.n), k = uint64_t(product.k), m = uint64_t(rows);
  uint64_t result[32] = {}; // cublasLtMatmulHeuristicResult_t: an algorithm, then the workspace's bytes
  bool failed =
      library->operationCreate(&p->operation, kComputeF32, kF32) ||
      library->operationSet(p->operation, kTransposeA, &transposed, sizeof(transposed)) ||
      library->operationSet(p->operation, kEpilogue, &epilogue, sizeof(epilogue)) ||
      library->layoutCreate(&p->w, type, k, n, int64_t((k + 7) / 8 * 8)) ||
      library->layoutCreate(&p->x, type, k, m, stride) || library->layoutCreate(&p->y, type, n, m, int64_t(n)) ||
      library->algorithmInit(handle, kComputeF32, kF32, type, type, type, type, choice.algorithm[0], p->algorithm);
  for (int a = 1; !failed && a < LLMOPT_LIBRARY_ATTRIBUTES; ++a) {
    const uint32_t value = uint32_t(choice.algorithm[a]);
    const uint16_t narrow = uint16_t(value);
    failed = a < kFirstNarrowAttribute ? library->algorithmSet(p->algorithm, a, &value, sizeof(value))
                                       : library->algorithmSet(p->algorithm, a, &narrow, sizeof(narrow));
  }
  p->refused = failed || library->algorithmCheck(handle, p->operation, p->w, p->x, p->y, p->y, p->algorithm, result) ||
               result[8] > kWorkspaceBytes;
}

const llmopt_library_product *LibraryProducts::find(const Binding &binding, uint32_t step) {
  if (!tables || productOf[step] == LLMOPT_NONE)
    return nullptr;
  const llmopt_library_product &product = tables->products[productOf[step]];
  const int64_t rows = binding.valueOf(product.rows), stride = binding.valueOf(product.row_stride);
  for (uint32_t c = product.first_choice; c < product.first_choice + product.num_choices; ++c) {
    const llmopt_library_choice &choice = tables->choices[c];
    if (rows < choice.least_rows || rows > choice.most_rows || rows < 1 || std::strcmp(choice.device, deviceName) != 0)
      continue;
    Prepared &p = prepared[productOf[step]];
    if (p.rows != rows || p.stride != stride)
      prepare(product, choice, rows, stride, &p);
    return p.refused ? nullptr : &product;
  }
  return nullptr;
}

void LibraryProducts::describe(const Binding &binding, const llmopt_library_product &product, uint64_t *values) const {
  const PreparedStep &step = binding.steps[product.step];
  const uint32_t operands[] = {product.x, product.w, product.bias, product.residual, product.y};
  for (uint32_t i = 0; i < 5; ++i)
    values[i] = operands[i] == LLMOPT_NONE ? 0 : reinterpret_cast<uint64_t>(step.args[operands[i]]);
  values[0] += uint64_t(binding.valueOf(product.row_offset)) * 2; // of 16-bit elements
  values[5] = uint64_t(binding.valueOf(product.rows));
  values[6] = uint64_t(binding.valueOf(product.row_stride));
}

llmopt_status LibraryProducts::launch(const llmopt_library_product &product, const uint64_t *values, void *stream,
                                      llmopt_error *error) {
  const Prepared &p = prepared[productOf[product.step]];
  auto pointer = [](uint64_t address) { return reinterpret_cast<void *>(address); };
  const float one = 1.0f, zero = 0.0f;
  int result = values[2] ? library->operationSet(p.operation, kBiasPointer, &values[2], sizeof(uint64_t)) : 0;
  if (!result)
    result =
        library->matmul(handle, p.operation, &one, pointer(values[1]), p.w, pointer(values[0]), p.x,
                        values[3] ? &one : &zero, pointer(values[3] ? values[3] : values[4]), p.y, pointer(values[4]),
                        p.y, p.algorithm, pointer(workspace.address()), workspace.size(), stream);
  return result ? fail(error, LLMOPT_DEVICE_ERROR, "cuBLASLt cannot compute a product of %lld x %lld: status %d",
                       static_cast<long long>(product.n), static_cast<long long>(product.k), result)
                : LLMOPT_OK;
}
