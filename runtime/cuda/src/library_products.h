// Products that cuBLASLt computes instead of a kernel of the model, where a table of times
// (llmopt_library_choice) says so for this device and number of rows, and the library is
// there. It is found at run time, as the driver is.
#ifndef LLMOPT_RT_CUDA_LIBRARY_PRODUCTS_H
#define LLMOPT_RT_CUDA_LIBRARY_PRODUCTS_H

#include "binding.h"
#include "device_model.h"

namespace llmopt::rt {

/// The part of cuBLASLt that is used (cublasLt.h); NULL where there is no library.
struct CublasLt;
const CublasLt *openCublasLt();

class LibraryProducts {
public:
  LibraryProducts() = default;
  LibraryProducts(const LibraryProducts &) = delete;
  LibraryProducts &operator=(const LibraryProducts &) = delete;

  /// Nothing is used where the model has no choice for this device, or no library is there.
  llmopt_status open(const llmopt_model &model, const DeviceModel &device, llmopt_error *error);
  /// The context is current.
  void close(const CudaDriver &driver);

  /// What computes a step under a binding: a product of the model's table, or NULL.
  const llmopt_library_product *find(const Binding &binding, uint32_t step);
  /// What its operands are: x, w, bias, residual, y, rows, row stride. `values` has room for 7.
  void describe(const Binding &binding, const llmopt_library_product &product, uint64_t *values) const;
  llmopt_status launch(const llmopt_library_product &product, const uint64_t *values, void *stream,
                       llmopt_error *error);
  static constexpr uint32_t kNumValues = 7;

private:
  /// One product as cuBLASLt has it; made when first needed, and again for other rows.
  struct Prepared {
    int64_t rows, stride; ///< zero-filled, as all of this
    bool refused;         ///< the library has no such kernel: the model's own runs
    void *operation, *w, *x, *y;
    uint64_t algorithm[8];
  };
  void prepare(const llmopt_library_product &product, const llmopt_library_choice &choice, int64_t rows, int64_t stride,
               Prepared *prepared);
  void release(Prepared *prepared);

  const llmopt_device *tables = nullptr;
  const char *deviceName = "";
  const CublasLt *library = nullptr;
  void *handle = nullptr;
  DeviceBlock workspace;
  Array<uint32_t> productOf; ///< per step
  Array<Prepared> prepared;  ///< per product
};

} // namespace llmopt::rt

#endif
