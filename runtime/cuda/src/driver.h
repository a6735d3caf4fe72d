// The part of the CUDA driver API that sessions use, found at run time: nothing
// links against CUDA. Names and signatures are the driver's (CUDA Driver API
// reference); handles are opaque pointers here.
#ifndef LLMOPT_RT_CUDA_DRIVER_H
#define LLMOPT_RT_CUDA_DRIVER_H

#include "common.h"

namespace llmopt::rt {

/// CUdeviceptr.
using DeviceAddress = uint64_t;

/// CUlaunchAttribute.
struct LaunchAttribute {
  int id;
  int padding;
  int value;
  char rest[60];
};
constexpr int kProgrammaticSerialization = 6; ///< CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3], block[3], sharedBytes;
  void *stream;
  LaunchAttribute *attributes;
  unsigned numAttributes;
};
static_assert(sizeof(LaunchAttribute) == 72 && sizeof(LaunchConfig) == 56, "as the driver has them");

/// CUDA_KERNEL_NODE_PARAMS.
struct KernelNodeParams {
  void *function;
  unsigned grid[3], block[3], sharedBytes;
  void **parameters, **extra;
  void *kernel, *context; ///< where `function` is NULL
};

constexpr int kHostMemory = 1, kDeviceMemory = 2; ///< CUmemorytype
/// CUDA_MEMCPY3D.
struct Memcpy3D {
  size_t sourceX, sourceY, sourceZ, sourceLevel;
  int sourceType;
  const void *sourceHost;
  DeviceAddress sourceDevice;
  void *sourceArray, *reserved0;
  size_t sourcePitch, sourceHeight;
  size_t targetX, targetY, targetZ, targetLevel;
  int targetType;
  void *targetHost;
  DeviceAddress targetDevice;
  void *targetArray, *reserved1;
  size_t targetPitch, targetHeight;
  size_t width, height, depth;
};
static_assert(sizeof(KernelNodeParams) == 72 && sizeof(Memcpy3D) == 200, "as the driver has them");

// X(member, symbol, parameters)
#define LLMOPT_CUDA_FUNCTIONS(X)                                                                                       \
  X(init, cuInit, (unsigned))                                                                                          \
  X(driverGetVersion, cuDriverGetVersion, (int *))                                                                     \
  X(getErrorString, cuGetErrorString, (int, const char **))                                                            \
  X(deviceGetCount, cuDeviceGetCount, (int *))                                                                         \
  X(deviceGet, cuDeviceGet, (int *, int))                                                                              \
  X(deviceGetName, cuDeviceGetName, (char *, int, int))                                                                \
  X(deviceGetAttribute, cuDeviceGetAttribute, (int *, int, int))                                                       \
  X(primaryRetain, cuDevicePrimaryCtxRetain, (void **, int))                                                           \
  X(primaryRelease, cuDevicePrimaryCtxRelease_v2, (int))                                                               \
  X(pushContext, cuCtxPushCurrent_v2, (void *))                                                                        \
  X(popContext, cuCtxPopCurrent_v2, (void **))                                                                         \
  X(memGetInfo, cuMemGetInfo_v2, (size_t *, size_t *))                                                                 \
  X(memAlloc, cuMemAlloc_v2, (DeviceAddress *, size_t))                                                                \
  X(memFree, cuMemFree_v2, (DeviceAddress))                                                                            \
  X(memAllocHost, cuMemAllocHost_v2, (void **, size_t))                                                                \
  X(memFreeHost, cuMemFreeHost, (void *))                                                                              \
  X(copyToDevice, cuMemcpyHtoD_v2, (DeviceAddress, const void *, size_t))                                              \
  X(copyToDeviceAsync, cuMemcpyHtoDAsync_v2, (DeviceAddress, const void *, size_t, void *))                            \
  X(copyToHostAsync, cuMemcpyDtoHAsync_v2, (void *, DeviceAddress, size_t, void *))                                    \
  X(copyAsync, cuMemcpyDtoDAsync_v2, (DeviceAddress, DeviceAddress, size_t, void *))                                   \
  X(setAsync, cuMemsetD8Async, (DeviceAddress, unsigned char, size_t, void *))                                         \
  X(libraryLoad, cuLibraryLoadData, (void **, const void *, int *, void **, unsigned, int *, void **, unsigned))       \
  X(libraryUnload, cuLibraryUnload, (void *))                                                                          \
  X(libraryGetKernel, cuLibraryGetKernel, (void **, void *, const char *))                                             \
  X(kernelSetAttribute, cuKernelSetAttribute, (int, int, void *, int))                                                 \
  X(launchKernel, cuLaunchKernelEx, (const LaunchConfig *, void *, void **, void **))                                  \
  X(streamCreate, cuStreamCreate, (void **, unsigned))                                                                 \
  X(streamDestroy, cuStreamDestroy_v2, (void *))                                                                       \
  X(streamSynchronize, cuStreamSynchronize, (void *))                                                                  \
  X(streamBeginCapture, cuStreamBeginCapture_v2, (void *, int))                                                        \
  X(streamEndCapture, cuStreamEndCapture, (void *, void **))                                                           \
  X(graphInstantiate, cuGraphInstantiateWithFlags, (void **, void *, unsigned long long))                              \
  X(graphExecKernelSetParams, cuGraphExecKernelNodeSetParams_v2, (void *, void *, const KernelNodeParams *))           \
  X(graphExecMemcpySetParams, cuGraphExecMemcpyNodeSetParams, (void *, void *, const Memcpy3D *, void *))              \
  X(captureInfo2, cuStreamGetCaptureInfo_v2, (void *, int *, uint64_t *, void **, void *const **, size_t *))           \
  X(graphLaunch, cuGraphLaunch, (void *, void *))                                                                      \
  X(graphExecDestroy, cuGraphExecDestroy, (void *))                                                                    \
  X(graphDestroy, cuGraphDestroy, (void *))                                                                            \
  X(eventCreate, cuEventCreate, (void **, unsigned))                                                                   \
  X(eventDestroy, cuEventDestroy_v2, (void *))                                                                         \
  X(eventRecord, cuEventRecord, (void *, void *))                                                                      \
  X(eventSynchronize, cuEventSynchronize, (void *))                                                                    \
  X(eventElapsedTime, cuEventElapsedTime, (float *, void *, void *))

// The same of later drivers; NULL where there is none.
#define LLMOPT_CUDA_OPTIONAL(X)                                                                                        \
  X(captureInfo3, cuStreamGetCaptureInfo_v3,                                                                           \
    (void *, int *, uint64_t *, void **, void *const **, const void **, size_t *))

struct CudaDriver {
#define LLMOPT_CUDA_MEMBER(member, symbol, parameters) int(*member) parameters;
  LLMOPT_CUDA_FUNCTIONS(LLMOPT_CUDA_MEMBER)
  LLMOPT_CUDA_OPTIONAL(LLMOPT_CUDA_MEMBER)
#undef LLMOPT_CUDA_MEMBER

  /// The text of a CUresult.
  const char *text(int result) const;
  /// LLMOPT_OK for 0; else DEVICE_ERROR (OUT_OF_MEMORY for that) and "what: text".
  llmopt_status check(int result, const char *what, llmopt_error *error) const;
};

/// libcuda.so.1, or what LLMOPT_CUDA_DRIVER names, opened once per process and
/// initialised. NO_DEVICE where there is none, or too old a one.
llmopt_status openCudaDriver(const CudaDriver **driver, llmopt_error *error);

/// Whether code for `architectures` (llmopt_device) runs on a device of compute
/// capability major.minor, without or with a compilation by its driver.
bool runsOn(const char *architectures, int major, int minor);

constexpr int kCudaOutOfMemory = 2;

} // namespace llmopt::rt

#endif
