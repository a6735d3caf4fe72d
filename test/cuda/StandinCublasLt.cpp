// cuBLASLt for the driver that stands in for a GPU: the calls that sessions make, checked,
// and products computed on the host when the stream comes to them.
//
//   LLMOPT_STANDIN_CUBLASLT_LOG     a file that gets a line for every product launched
//   LLMOPT_STANDIN_CUBLASLT_REFUSE  set: no algorithm passes its check
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>

#define STANDIN_API extern "C" __attribute__((visibility("default")))

// Of StandinDriver.cpp.
extern "C" int standin_enqueue_v1(void *stream, void (*run)(void *), void *argument, void (*drop)(void *));
extern "C" int standin_is_inside_v1(uint64_t address, size_t bytes);

namespace {
constexpr int kInvalid = 7, kNotSupported = 15; // CUBLAS_STATUS
constexpr int kF16 = 2, kBf16 = 14;
constexpr uint64_t kKnownAlgorithm = 0x616c676f; // in the first word, its id in the second

struct Handle {};
struct Operation {
  int epilogue = 1, transposeA = 0;
  uint64_t bias = 0;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t stride;
};
std::set<void *> alive;

int complain(const char *what) {
  std::fprintf(stderr, "cublaslt-standin: %s\n", what);
  return kInvalid;
}
template <typename T> T *check(void *handle) { return alive.count(handle) ? static_cast<T *>(handle) : nullptr; }

float fromBits(uint16_t bits, int type) {
  uint32_t wide = uint32_t(bits) << 16;
  float value;
  if (type == kBf16) {
    std::memcpy(&value, &wide, 4);
    return value;
  }
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  value = exponent == 31 ? (mantissa ? NAN : INFINITY)
          : exponent     ? std::ldexp(float(mantissa + 1024), exponent - 25)
                         : std::ldexp(float(mantissa), -24);
  return bits & 0x8000 ? -value : value;
}

uint16_t toBits(float value, int type) {
  if (type == kBf16) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}

float activate(float x, int epilogue) {
  if (epilogue & 2)
    return x > 0 ? x : 0;
  return epilogue & 32 ? 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x))) : x;
}

/// A matrix of the right type and size in device memory; column-major.
bool isSound(const Layout *layout, const void *memory) {
  return layout && layout->stride >= int64_t(layout->rows) && reinterpret_cast<uintptr_t>(memory) % 16 == 0 &&
         standin_is_inside_v1(reinterpret_cast<uint64_t>(memory),
                              2 * (uint64_t(layout->stride) * (layout->columns - 1) + layout->rows));
}
} // namespace

STANDIN_API int cublasLtCreate(void **handle) {
  alive.insert(*handle = new Handle());
  return 0;
}
STANDIN_API int cublasLtDestroy(void *handle) {
  if (!alive.erase(handle))
    return complain("cublasLtDestroy: not alive");
  delete static_cast<Handle *>(handle);
  if (!alive.empty())
    complain("cublasLtDestroy: descriptors are left");
  return 0;
}
STANDIN_API int cublasLtMatmulDescCreate(void **operation, int compute, int scale) {
  if (compute != 68 || scale != 0)
    return complain("cublasLtMatmulDescCreate: expected sums in f32");
  alive.insert(*operation = new Operation());
  return 0;
}
STANDIN_API int cublasLtMatmulDescDestroy(void *operation) {
  if (!alive.erase(operation))
    return complain("cublasLtMatmulDescDestroy: not alive");
  delete static_cast<Operation *>(operation);
  return 0;
}
STANDIN_API int cublasLtMatmulDescSetAttribute(void *handle, int attribute, const void *value, size_t bytes) {
  auto *operation = check<Operation>(handle);
  if (!operation || bytes != (attribute == 8 ? 8 : 4))
    return complain("cublasLtMatmulDescSetAttribute: not alive, or of another size");
  if (attribute != 3 && attribute != 7 && attribute != 8)
    return complain("cublasLtMatmulDescSetAttribute: an attribute that is not known here");
  void *to = attribute == 3   ? static_cast<void *>(&operation->transposeA)
             : attribute == 7 ? static_cast<void *>(&operation->epilogue)
                              : static_cast<void *>(&operation->bias);
  std::memcpy(to, value, bytes);
  return 0;
}
STANDIN_API int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  if ((type != kF16 && type != kBf16) || !rows || !columns)
    return complain("cublasLtMatrixLayoutCreate: expected a matrix of f16 or bf16");
  alive.insert(*layout = new Layout{type, rows, columns, stride});
  return 0;
}
STANDIN_API int cublasLtMatrixLayoutDestroy(void *layout) {
  if (!alive.erase(layout))
    return complain("cublasLtMatrixLayoutDestroy: not alive");
  delete static_cast<Layout *>(layout);
  return 0;
}
STANDIN_API int cublasLtMatmulAlgoInit(void *handle, int, int, int, int, int, int, int id, uint64_t *algorithm) {
  if (!check<Handle>(handle))
    return complain("cublasLtMatmulAlgoInit: not alive");
  std::memset(algorithm, 0, 64);
  algorithm[0] = kKnownAlgorithm;
  algorithm[1] = uint64_t(id);
  return 0;
}
STANDIN_API int cublasLtMatmulAlgoConfigSetAttribute(uint64_t *algorithm, int attribute, const void *, size_t bytes) {
  if (algorithm[0] != kKnownAlgorithm || attribute < 1 || attribute > 8 || bytes != (attribute < 7 ? 4 : 2))
    return complain("cublasLtMatmulAlgoConfigSetAttribute: no algorithm, or no attribute of this size");
  return 0;
}
STANDIN_API int cublasLtMatmulAlgoCheck(void *, void *, void *, void *, void *, void *, const uint64_t *algorithm,
                                        uint64_t *result) {
  std::memcpy(result, algorithm, 64);
  result[8] = 1024;
  return std::getenv("LLMOPT_STANDIN_CUBLASLT_REFUSE") ? kNotSupported : 0;
}
STANDIN_API int cublasLtMatmul(void *handle, void *operation, const void *alpha, const void *a, void *aLayout,
                               const void *b, void *bLayout, const void *beta, const void *c, void *cLayout, void *d,
                               void *dLayout, const uint64_t *algorithm, void *workspace, size_t workspaceBytes,
                               void *stream) {
  const auto *op = check<Operation>(operation);
  const auto *al = check<Layout>(aLayout), *bl = check<Layout>(bLayout), *cl = check<Layout>(cLayout),
             *dl = check<Layout>(dLayout);
  if (!check<Handle>(handle) || !op || op->transposeA != 1 || algorithm[0] != kKnownAlgorithm)
    return complain("cublasLtMatmul: a handle is not alive, or no algorithm");
  if (!isSound(al, a) || !isSound(bl, b) || !isSound(cl, c) || !isSound(dl, d) ||
      !standin_is_inside_v1(reinterpret_cast<uint64_t>(workspace), workspaceBytes))
    return complain("cublasLtMatmul: a matrix is not aligned, or lies in no live allocation");
  if (al->columns != dl->rows || bl->columns != dl->columns || al->rows != bl->rows || cl->rows != dl->rows ||
      cl->columns != dl->columns)
    return complain("cublasLtMatmul: shapes do not fit");
  const bool hasBias = op->epilogue & 4;
  if (hasBias && !standin_is_inside_v1(op->bias, 2 * dl->rows))
    return complain("cublasLtMatmul: the bias lies in no live allocation");
  if (const char *path = std::getenv("LLMOPT_STANDIN_CUBLASLT_LOG"))
    if (FILE *log = std::fopen(path, "a")) {
      std::fprintf(log, "%llu x %llu x %llu epilogue %d algorithm %llu\n", static_cast<unsigned long long>(dl->columns),
                   static_cast<unsigned long long>(dl->rows), static_cast<unsigned long long>(al->rows), op->epilogue,
                   static_cast<unsigned long long>(algorithm[1]));
      std::fclose(log);
    }
  float scale, add;
  std::memcpy(&scale, alpha, 4);
  std::memcpy(&add, beta, 4);
  auto *work = new std::function<void()>([=, A = *al, B = *bl, C = *cl, D = *dl, op = *op] {
    const auto *x = static_cast<const uint16_t *>(a), *y = static_cast<const uint16_t *>(b),
               *old = static_cast<const uint16_t *>(c), *bias = reinterpret_cast<const uint16_t *>(op.bias);
    auto *to = static_cast<uint16_t *>(d);
    for (uint64_t j = 0; j < D.columns; ++j)
      for (uint64_t i = 0; i < D.rows; ++i) {
        float sum = 0;
        for (uint64_t k = 0; k < A.rows; ++k)
          sum += fromBits(x[i * uint64_t(A.stride) + k], A.type) * fromBits(y[j * uint64_t(B.stride) + k], B.type);
        sum = scale * sum + (add != 0 ? add * fromBits(old[j * uint64_t(C.stride) + i], C.type) : 0);
        sum += hasBias ? fromBits(bias[i], D.type) : 0;
        to[j * uint64_t(D.stride) + i] = toBits(activate(sum, op.epilogue), D.type);
      }
  });
  return standin_enqueue_v1(
      stream, [](void *f) { (*static_cast<std::function<void()> *>(f))(); }, work,
      [](void *f) { delete static_cast<std::function<void()> *>(f); });
}
