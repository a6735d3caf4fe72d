#include "device_model.h"

#include "model.h"

using namespace llmopt::rt;
using ull = unsigned long long;

namespace {
// CUdevice_attribute, CUfunction_attribute
constexpr int kComputeCapabilityMajor = 75, kComputeCapabilityMinor = 76, kMaxSharedOptin = 97, kMaxDynamicShared = 8;
constexpr int kNoBinary = 209;
constexpr int kOverlappingVersion = 12030;   // whose graphs have programmatic edges
constexpr uint32_t kPlainShared = 48 * 1024; // what every kernel may use
constexpr uint64_t kCopyPiece = uint64_t(256) << 20;

/// The size of a constant; its expression has no symbols.
bool constantBytes(const llmopt_model &model, const llmopt_buffer &buffer, uint64_t *bytes) {
  int64_t value;
  if (buffer.size == LLMOPT_NONE)
    return false;
  const llmopt_expr &e = model.desc.exprs[buffer.size];
  for (uint32_t i = 0; i < e.count; ++i)
    if (model.desc.expr_code[e.first + i].op == LLMOPT_EXPR_SYMBOL)
      return false;
  if (!model.evaluate(buffer.size, nullptr, &value) || value < 0)
    return false;
  *bytes = static_cast<uint64_t>(value);
  return true;
}
} // namespace

llmopt_status DeviceBlock::allocate(const CudaDriver &driver, const char *deviceName, uint64_t bytes, const char *what,
                                    llmopt_error *error) {
  if (!bytes)
    return LLMOPT_OK;
  size_t freeBytes = 0, total = 0;
  driver.memGetInfo(&freeBytes, &total);
  DeviceAddress fresh = 0;
  int result = bytes > total ? kCudaOutOfMemory : driver.memAlloc(&fresh, bytes);
  if (result == kCudaOutOfMemory)
    return fail(error, LLMOPT_OUT_OF_MEMORY,
                "out of memory on the device (%s): expected %llu free bytes for %s, but got %llu of %llu", deviceName,
                ull(bytes), what, ull(freeBytes), ull(total));
  if (llmopt_status status = driver.check(result, "cuMemAlloc", error))
    return status;
  base = fresh;
  length = bytes;
  return LLMOPT_OK;
}

bool DeviceBlock::replaceBy(const CudaDriver &driver, DeviceBlock &other) {
  if (!other.base)
    return false;
  release(driver);
  base = other.base;
  length = other.length;
  other.base = 0;
  other.length = 0;
  return true;
}

void DeviceBlock::release(const CudaDriver &driver) {
  if (base)
    driver.memFree(base);
  base = 0;
  length = 0;
}

DeviceModel::~DeviceModel() {
  if (!context)
    return;
  {
    CurrentContext current(*driver, context);
    weights.release(*driver);
    constants.release(*driver);
    if (library)
      driver->libraryUnload(library);
  }
  driver->primaryRelease(device);
}

llmopt_status DeviceModel::open(const llmopt_model &model, llmopt_error *error) {
  if (llmopt_status status = openCudaDriver(&driver, error))
    return status;
  int count = 0, major = 0, minor = 0;
  if (driver->deviceGetCount(&count) || count == 0)
    return fail(error, LLMOPT_NO_DEVICE,
                "no CUDA device: the driver finds none (CUDA_VISIBLE_DEVICES hides devices, too)");
  if (llmopt_status status = driver->check(driver->deviceGet(&device, 0), "cuDeviceGet", error))
    return status;
  driver->deviceGetName(name, sizeof(name), device);
  name[sizeof(name) - 1] = 0;
  driver->deviceGetAttribute(&major, kComputeCapabilityMajor, device);
  driver->deviceGetAttribute(&minor, kComputeCapabilityMinor, device);
  const char *architectures = model.desc.device->architectures;
  if (!runsOn(architectures, major, minor))
    return fail(error, LLMOPT_NO_DEVICE,
                "the device (%s) is sm_%d%d, but the model has code for %s; compile it again with -cuda-arch=sm_%d%d",
                name, major, minor, architectures, major, minor);
  if (llmopt_status status =
          driver->check(driver->primaryRetain(&context, device), "cuDevicePrimaryCtxRetain", error)) {
    context = nullptr;
    return status;
  }
  int version = 0;
  driver->driverGetVersion(&version);
  overlaps = major >= 9 && version >= kOverlappingVersion;
  CurrentContext current(*driver, context);
  if (llmopt_status status = loadCode(model, error))
    return status;
  if (llmopt_status status = copyConstants(model, error))
    return status;
  uint64_t bytes = model.desc.weights_size;
  if (llmopt_status status = weights.allocate(*driver, name, bytes, "weights", error))
    return status;
  for (uint64_t at = 0; at < bytes; at += kCopyPiece) {
    uint64_t piece = bytes - at < kCopyPiece ? bytes - at : kCopyPiece;
    if (llmopt_status status = driver->check(
            driver->copyToDevice(weights.address() + at, model.weights.data() + at, piece), "copying weights", error))
      return status;
  }
  return LLMOPT_OK;
}

llmopt_status DeviceModel::loadCode(const llmopt_model &model, llmopt_error *error) {
  const llmopt_device &code = *model.desc.device;
  int result = driver->libraryLoad(&library, code.image, nullptr, nullptr, 0, nullptr, nullptr, 0);
  if (result == kNoBinary)
    return fail(error, LLMOPT_NO_DEVICE, "the device (%s) cannot run the model's code for %s", name,
                code.architectures);
  if (llmopt_status status = driver->check(result, "loading the model's device code", error))
    return status;
  if (!kernels.allocate(code.num_kernels))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for %u kernels", code.num_kernels);
  int mostShared = 0;
  driver->deviceGetAttribute(&mostShared, kMaxSharedOptin, device);
  for (uint32_t i = 0; i < code.num_kernels; ++i) {
    const llmopt_device_kernel &kernel = code.kernels[i];
    if (driver->libraryGetKernel(&kernels[i], library, kernel.name))
      return fail(error, LLMOPT_BAD_MODEL, "the device code has no kernel '%s'", kernel.name);
    if (kernel.shared_bytes > uint32_t(mostShared))
      return fail(error, LLMOPT_NO_DEVICE,
                  "the device (%s) has %d bytes of shared memory for a block, but kernel '%s' needs %u", name,
                  mostShared, kernel.name, kernel.shared_bytes);
    if (kernel.shared_bytes > kPlainShared)
      if (llmopt_status status =
              driver->check(driver->kernelSetAttribute(kMaxDynamicShared, int(kernel.shared_bytes), kernels[i], device),
                            "cuKernelSetAttribute", error))
        return status;
  }
  return LLMOPT_OK;
}

llmopt_status DeviceModel::copyConstants(const llmopt_model &model, llmopt_error *error) {
  const llmopt_model_desc &desc = model.desc;
  if (!constantOffsets.allocate(desc.num_buffers))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "out of memory for %u buffers", desc.num_buffers);
  uint64_t total = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (uint32_t i = 0; i < desc.num_buffers; ++i) {
      const llmopt_buffer &buffer = desc.buffers[i];
      if (buffer.kind != LLMOPT_BUFFER_CONSTANT)
        continue;
      uint64_t bytes;
      if (!constantBytes(model, buffer, &bytes))
        return fail(error, LLMOPT_BAD_MODEL, "buffer %u: a constant without a size cannot be copied to a device", i);
      if (pass == 0) {
        constantOffsets[i] = total;
        if (__builtin_add_overflow(total, bytes, &total) || !alignUp(total, 256, &total))
          return fail(error, LLMOPT_BAD_MODEL, "buffer %u: is too large", i);
      } else if (bytes) {
        if (llmopt_status status =
                driver->check(driver->copyToDevice(constants.address() + constantOffsets[i], buffer.data, bytes),
                              "copying constants", error))
          return status;
      }
    }
    if (pass == 0)
      if (llmopt_status status = constants.allocate(*driver, name, total, "constants", error))
        return status;
  }
  return LLMOPT_OK;
}
