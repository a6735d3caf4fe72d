// What the sessions of a model share on a device: code, weights, constants.
#ifndef LLMOPT_RT_CUDA_DEVICE_MODEL_H
#define LLMOPT_RT_CUDA_DEVICE_MODEL_H

#include "driver.h"

struct llmopt_model;

namespace llmopt::rt {

/// Makes the device's context current for its lifetime.
class CurrentContext {
public:
  CurrentContext(const CudaDriver &driver, void *context) : driver(driver) {
    pushed = context && driver.pushContext(context) == 0;
  }
  ~CurrentContext() {
    void *ignored;
    if (pushed)
      driver.popContext(&ignored);
  }
  CurrentContext(const CurrentContext &) = delete;
  CurrentContext &operator=(const CurrentContext &) = delete;

private:
  const CudaDriver &driver;
  bool pushed;
};

/// A block of device memory.
class DeviceBlock {
public:
  DeviceBlock() = default;
  DeviceBlock(const DeviceBlock &) = delete;
  DeviceBlock &operator=(const DeviceBlock &) = delete;

  /// `bytes` of undefined contents, for a block that holds none. `what` they are for
  /// is in messages. The context is current, here and in release.
  llmopt_status allocate(const CudaDriver &driver, const char *deviceName, uint64_t bytes, const char *what,
                         llmopt_error *error);
  void release(const CudaDriver &driver);
  /// Takes what `other` holds, where that is anything; true then.
  bool replaceBy(const CudaDriver &driver, DeviceBlock &other);
  DeviceAddress address() const { return base; }
  uint64_t size() const { return length; }

private:
  DeviceAddress base = 0;
  uint64_t length = 0;
};

class DeviceModel {
public:
  DeviceModel() = default;
  DeviceModel(const DeviceModel &) = delete;
  DeviceModel &operator=(const DeviceModel &) = delete;
  ~DeviceModel();

  /// Takes the first device, loads the code, copies weights and constants.
  llmopt_status open(const llmopt_model &model, llmopt_error *error);

  const CudaDriver *driver = nullptr;
  void *context = nullptr;
  char name[128] = "";
  /// Whether a kernel may start before the one in front is done, in graphs, too.
  bool overlaps = false;
  Array<void *> kernels; ///< of llmopt_device
  DeviceBlock weights, constants;
  Array<uint64_t> constantOffsets; ///< per buffer

private:
  llmopt_status loadCode(const llmopt_model &model, llmopt_error *error);
  llmopt_status copyConstants(const llmopt_model &model, llmopt_error *error);

  int device = 0;
  void *library = nullptr;
};

} // namespace llmopt::rt

#endif
