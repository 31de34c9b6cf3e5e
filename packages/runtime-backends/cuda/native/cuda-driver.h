// What of NVIDIA's driver API is used, declared here since users' machines have the driver's library and no cuda.h. Names, numbers and
// signatures are the driver's own.
#pragma once
#include <cstddef>
#include <cstdint>

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmemHandle = unsigned long long;

enum : CUresult {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_DEINITIALIZED = 4,
  CUDA_ERROR_DEVICES_UNAVAILABLE = 46,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_ECC_UNCORRECTABLE = 214,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_LAUNCH_TIMEOUT = 702,
  CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_UNKNOWN = 999,
};

enum : int {
  CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
};

enum : unsigned { CU_EVENT_BLOCKING_SYNC = 1, CU_EVENT_DISABLE_TIMING = 2, CU_STREAM_NON_BLOCKING = 1 };

struct CUmemLocation {
  int type;  // 1: a device
  int id;
};
struct CUmemAllocationProp {
  int type;                  // 1: pinned
  int requestedHandleTypes;  // 0: not shared with other processes
  CUmemLocation location;
  void* win32HandleMetaData;
  unsigned char allocFlags[8];
};
struct CUmemAccessDesc {
  CUmemLocation location;
  int flags;  // 3: read and write
};

/** Before the end of the parameters of a launch that come as one buffer. */
inline void* const CU_LAUNCH_PARAM_END = nullptr;
inline void* const CU_LAUNCH_PARAM_BUFFER_POINTER = (void*)1;
inline void* const CU_LAUNCH_PARAM_BUFFER_SIZE = (void*)2;

/** F(name, symbol in the library, parameters) of every function that is used. */
#define JAMBA_CUDA_FUNCTIONS(F)                                                                                              \
  F(cuGetErrorName, cuGetErrorName, (CUresult error, const char** text))                                                     \
  F(cuGetErrorString, cuGetErrorString, (CUresult error, const char** text))                                                 \
  F(cuInit, cuInit, (unsigned flags))                                                                                        \
  F(cuDriverGetVersion, cuDriverGetVersion, (int* version))                                                                  \
  F(cuDeviceGetCount, cuDeviceGetCount, (int* count))                                                                        \
  F(cuDeviceGet, cuDeviceGet, (CUdevice * device, int ordinal))                                                              \
  F(cuDeviceGetName, cuDeviceGetName, (char* name, int size, CUdevice device))                                               \
  F(cuDeviceGetAttribute, cuDeviceGetAttribute, (int* value, int attribute, CUdevice device))                                \
  F(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t * bytes, CUdevice device))                                                \
  F(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                              \
  F(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                              \
  F(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext context))                                                                   \
  F(cuModuleLoadData, cuModuleLoadData, (CUmodule * module, const void* image))                                              \
  F(cuModuleUnload, cuModuleUnload, (CUmodule module))                                                                       \
  F(cuModuleGetFunction, cuModuleGetFunction, (CUfunction * function, CUmodule module, const char* name))                    \
  F(cuMemGetInfo, cuMemGetInfo_v2, (size_t * freeBytes, size_t* totalBytes))                                                 \
  F(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                        \
  F(cuMemFree, cuMemFree_v2, (CUdeviceptr address))                                                                          \
  F(cuMemHostAlloc, cuMemHostAlloc, (void** address, size_t bytes, unsigned flags))                                          \
  F(cuMemFreeHost, cuMemFreeHost, (void* address))                                                                           \
  F(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, (size_t * bytes, const CUmemAllocationProp* prop, int option)) \
  F(cuMemAddressReserve, cuMemAddressReserve, (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr wanted, unsigned long long flags)) \
  F(cuMemAddressFree, cuMemAddressFree, (CUdeviceptr address, size_t bytes))                                                 \
  F(cuMemCreate, cuMemCreate, (CUmemHandle * handle, size_t bytes, const CUmemAllocationProp* prop, unsigned long long flags)) \
  F(cuMemRelease, cuMemRelease, (CUmemHandle handle))                                                                        \
  F(cuMemMap, cuMemMap, (CUdeviceptr address, size_t bytes, size_t offset, CUmemHandle handle, unsigned long long flags))    \
  F(cuMemUnmap, cuMemUnmap, (CUdeviceptr address, size_t bytes))                                                             \
  F(cuMemSetAccess, cuMemSetAccess, (CUdeviceptr address, size_t bytes, const CUmemAccessDesc* access, size_t count))        \
  F(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void* from, size_t bytes, CUstream stream))              \
  F(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void* to, CUdeviceptr from, size_t bytes, CUstream stream))                    \
  F(cuStreamCreate, cuStreamCreate, (CUstream * stream, unsigned flags))                                                     \
  F(cuStreamDestroy, cuStreamDestroy_v2, (CUstream stream))                                                                  \
  F(cuStreamSynchronize, cuStreamSynchronize, (CUstream stream))                                                             \
  F(cuEventCreate, cuEventCreate, (CUevent * event, unsigned flags))                                                         \
  F(cuEventDestroy, cuEventDestroy_v2, (CUevent event))                                                                      \
  F(cuEventRecord, cuEventRecord, (CUevent event, CUstream stream))                                                          \
  F(cuEventSynchronize, cuEventSynchronize, (CUevent event))                                                                 \
  F(cuLaunchKernel, cuLaunchKernel,                                                                                          \
    (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes, \
     CUstream stream, void** parameters, void** extra))
