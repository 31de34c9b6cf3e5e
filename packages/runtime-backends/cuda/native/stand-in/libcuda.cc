// A library with the names of NVIDIA's driver whose device is this processor: the package's kernels, compiled with it (shim/), behind the
// calls that the addon makes of the real one. Stricter than that one: it checks that an image is PTX that has the kernel with these parameters,
// that copies stay within memory that is there, that blocks are as large as a kernel says; memory is full of NaN at first.
//
// By the environment, looked at when a context is made:
//   JAMBA_STAND_IN_ORDER=late      what is queued on a stream is done when somebody waits for it, not at once
//   JAMBA_STAND_IN_SHUFFLED=SEED   blocks, warps and lanes in random orders
//   JAMBA_STAND_IN_BYTES=N         memory of a device
#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "../cuda-driver.h"
#include "../shim/cuda-on-cpu.h"

#define EXPORT extern "C" __attribute__((visibility("default"))) CUresult

struct CUmod_st {
  std::string ptx;
};
struct CUfunc_st {
  void (*body)(const void*);
  const unsigned* sizes;  // threads of a block, bytes of parameters
  std::string name;
};
struct CUstream_st {
  std::deque<std::function<CUresult()>> queued;
  size_t nDone = 0;
};
struct CUevent_st {
  CUstream stream = nullptr;
  size_t after = 0;
};

namespace {

std::recursive_mutex lock;
constexpr size_t pieceBytes = 64 << 10;
size_t totalBytes = size_t(4) << 30, usedBytes = 0;
bool isLate = false, isShuffled = false;
uint64_t seed = 0;
/** After a fault nothing works any more, as on a device. */
CUresult fault = CUDA_SUCCESS;
/** Memory that is there: allocations, and mapped pieces of ranges. */
std::map<CUdeviceptr, size_t> memory;
std::map<CUmemHandle, size_t> handles;
CUmemHandle lastHandle = 0;

size_t environment(const char* name, size_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

bool isThere(CUdeviceptr address, size_t bytes) {
  auto piece = memory.upper_bound(address);
  if (piece == memory.begin()) return false;
  piece--;
  // A range is mapped in pieces that follow each other.
  while (piece != memory.end() && address >= piece->first && address < piece->first + piece->second) {
    const size_t own = piece->first + piece->second - address;
    if (own >= bytes) return true;
    address += own, bytes -= own;
    piece++;
  }
  return false;
}

CUresult fail(const char* what) {
  std::fprintf(stderr, "stand-in for CUDA: %s\n", what);
  return fault = CUDA_ERROR_ILLEGAL_ADDRESS;
}

CUresult doneUpTo(CUstream stream, size_t count) {
  while (stream->nDone < count && !stream->queued.empty()) {
    if (fault == CUDA_SUCCESS) stream->queued.front()();
    stream->queued.pop_front();
    stream->nDone++;
  }
  return fault;
}
CUresult queue(CUstream stream, std::function<CUresult()> work) {
  if (fault != CUDA_SUCCESS) return fault;
  stream->queued.push_back(std::move(work));
  return isLate ? CUDA_SUCCESS : doneUpTo(stream, stream->nDone + stream->queued.size());
}

/** The number in brackets or behind a directive that follows `before` in a kernel's PTX; -1 if there is none. */
long numberAfter(const std::string& text, size_t from, const std::string& before) {
  const size_t at = text.find(before, from);
  return at == std::string::npos ? -1 : std::strtol(text.c_str() + at + before.size(), nullptr, 10);
}

}  // namespace

#define LOCKED std::lock_guard guard(lock)

EXPORT cuGetErrorName(CUresult error, const char** text) {
  static const std::map<CUresult, const char*> names = {
      {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},         {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
      {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},         {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
  };
  const auto found = names.find(error);
  *text = found == names.end() ? nullptr : found->second;
  return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
EXPORT cuGetErrorString(CUresult error, const char** text) {
  if (cuGetErrorName(error, text) == CUDA_SUCCESS) *text = "in the stand-in";
  return CUDA_SUCCESS;
}
EXPORT cuInit(unsigned) { return CUDA_SUCCESS; }
EXPORT cuDriverGetVersion(int* version) { return *version = 12000, CUDA_SUCCESS; }
EXPORT cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }
EXPORT cuDeviceGet(CUdevice* device, int ordinal) { return *device = ordinal, CUDA_SUCCESS; }
EXPORT cuDeviceGetName(char* name, int size, CUdevice) { return std::snprintf(name, (size_t)size, "stand-in for CUDA on this processor"), CUDA_SUCCESS; }
EXPORT cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
  *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 7 : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 5 : 1;
  return CUDA_SUCCESS;
}
EXPORT cuDeviceTotalMem_v2(size_t* bytes, CUdevice) { return *bytes = environment("JAMBA_STAND_IN_BYTES", totalBytes), CUDA_SUCCESS; }
EXPORT cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
  LOCKED;
  totalBytes = environment("JAMBA_STAND_IN_BYTES", totalBytes);
  const char* order = std::getenv("JAMBA_STAND_IN_ORDER");
  isLate = order && std::string(order) == "late";
  seed = environment("JAMBA_STAND_IN_SHUFFLED", 0);
  isShuffled = seed != 0;
  fault = CUDA_SUCCESS;
  *context = (CUcontext)&lock;
  return CUDA_SUCCESS;
}
EXPORT cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
EXPORT cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

EXPORT cuModuleLoadData(CUmodule* module, const void* image) {
  const std::string text = (const char*)image;
  if (text.compare(0, 9, ".version ") != 0 || text.find(".address_size 64") == std::string::npos) return CUDA_ERROR_INVALID_IMAGE;
  *module = new CUmod_st{text};
  return CUDA_SUCCESS;
}
EXPORT cuModuleUnload(CUmodule module) { return delete module, CUDA_SUCCESS; }
EXPORT cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  Dl_info own;
  dladdr((void*)cuModuleGetFunction, &own);
  void* library = dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  const std::string symbol = std::string("onCpu_") + name;
  auto* body = (void (*)(const void*))dlsym(library, symbol.c_str());
  const auto* sizes = (const unsigned*)dlsym(library, (symbol + "_sizes").c_str());
  const size_t entry = module->ptx.find(std::string(".entry ") + name + "(");
  if (!body || !sizes || entry == std::string::npos) return CUDA_ERROR_NOT_FOUND;
  if (numberAfter(module->ptx, entry, "_param_0[") != (long)sizes[1] || numberAfter(module->ptx, entry, ".maxntid ") != (long)sizes[0]) {
    std::fprintf(stderr, "stand-in for CUDA: %s takes other parameters or threads in its PTX than in its source\n", name);
    return CUDA_ERROR_INVALID_IMAGE;
  }
  *function = new CUfunc_st{body, sizes, name};
  return CUDA_SUCCESS;
}

EXPORT cuMemGetInfo_v2(size_t* freeBytes, size_t* total) {
  LOCKED;
  *total = totalBytes, *freeBytes = totalBytes - usedBytes;
  return fault;
}
EXPORT cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  LOCKED;
  if (fault != CUDA_SUCCESS) return fault;
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > totalBytes - usedBytes) return CUDA_ERROR_OUT_OF_MEMORY;
  void* found = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!found) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(found, 0xff, bytes);
  *address = (CUdeviceptr)found;
  memory[*address] = bytes, usedBytes += bytes;
  return CUDA_SUCCESS;
}
EXPORT cuMemFree_v2(CUdeviceptr address) {
  LOCKED;
  const auto found = memory.find(address);
  if (found == memory.end()) return CUDA_ERROR_INVALID_VALUE;
  usedBytes -= found->second;
  memory.erase(found);
  std::free((void*)address);
  return CUDA_SUCCESS;
}
EXPORT cuMemHostAlloc(void** address, size_t bytes, unsigned) { return (*address = std::malloc(bytes)) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY; }
EXPORT cuMemFreeHost(void* address) { return std::free(address), CUDA_SUCCESS; }

EXPORT cuMemGetAllocationGranularity(size_t* bytes, const CUmemAllocationProp*, int) { return *bytes = pieceBytes, CUDA_SUCCESS; }
EXPORT cuMemAddressReserve(CUdeviceptr* address, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
  if (bytes == 0 || bytes % pieceBytes) return CUDA_ERROR_INVALID_VALUE;
  void* found = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  return *address = (CUdeviceptr)found, CUDA_SUCCESS;
}
EXPORT cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  LOCKED;
  const auto piece = memory.lower_bound(address);
  if (piece != memory.end() && piece->first < address + bytes) return CUDA_ERROR_INVALID_VALUE;
  return munmap((void*)address, bytes) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
EXPORT cuMemCreate(CUmemHandle* handle, size_t bytes, const CUmemAllocationProp*, unsigned long long) {
  LOCKED;
  if (fault != CUDA_SUCCESS) return fault;
  if (bytes == 0 || bytes % pieceBytes) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > totalBytes - usedBytes) return CUDA_ERROR_OUT_OF_MEMORY;
  usedBytes += bytes;
  handles[*handle = ++lastHandle] = bytes;
  return CUDA_SUCCESS;
}
EXPORT cuMemRelease(CUmemHandle handle) {
  LOCKED;
  const auto found = handles.find(handle);
  if (found == handles.end()) return CUDA_ERROR_INVALID_VALUE;
  usedBytes -= found->second;
  handles.erase(found);
  return CUDA_SUCCESS;
}
EXPORT cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemHandle handle, unsigned long long) {
  LOCKED;
  if (offset != 0 || !handles.count(handle) || handles[handle] != bytes || isThere(address, 1)) return CUDA_ERROR_INVALID_VALUE;
  memory[address] = bytes;
  return CUDA_SUCCESS;
}
EXPORT cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc*, size_t) {
  LOCKED;
  if (!isThere(address, bytes) || mprotect((void*)address, bytes, PROT_READ | PROT_WRITE) != 0) return CUDA_ERROR_INVALID_VALUE;
  std::memset((void*)address, 0xff, bytes);
  return CUDA_SUCCESS;
}
EXPORT cuMemUnmap(CUdeviceptr address, size_t bytes) {
  LOCKED;
  const auto found = memory.find(address);
  if (found == memory.end() || found->second != bytes) return CUDA_ERROR_INVALID_VALUE;
  memory.erase(found);
  madvise((void*)address, bytes, MADV_DONTNEED);
  return mprotect((void*)address, bytes, PROT_NONE) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  LOCKED;
  return queue(stream, [=] {
    if (!isThere(to, bytes)) return fail("a copy to the device leaves its memory");
    std::memcpy((void*)to, from, bytes);
    return CUresult(CUDA_SUCCESS);
  });
}
EXPORT cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  LOCKED;
  return queue(stream, [=] {
    if (!isThere(from, bytes)) return fail("a copy from the device leaves its memory");
    std::memcpy(to, (const void*)from, bytes);
    return CUresult(CUDA_SUCCESS);
  });
}

EXPORT cuStreamCreate(CUstream* stream, unsigned) { return *stream = new CUstream_st, CUDA_SUCCESS; }
EXPORT cuStreamDestroy_v2(CUstream stream) { return delete stream, CUDA_SUCCESS; }
EXPORT cuStreamSynchronize(CUstream stream) {
  LOCKED;
  return doneUpTo(stream, stream->nDone + stream->queued.size());
}
EXPORT cuEventCreate(CUevent* event, unsigned) { return *event = new CUevent_st, CUDA_SUCCESS; }
EXPORT cuEventDestroy_v2(CUevent event) { return delete event, CUDA_SUCCESS; }
EXPORT cuEventRecord(CUevent event, CUstream stream) {
  LOCKED;
  *event = {stream, stream->nDone + stream->queued.size()};
  return fault;
}
EXPORT cuEventSynchronize(CUevent event) {
  LOCKED;
  return event->stream ? doneUpTo(event->stream, event->after) : fault;
}

EXPORT cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ, unsigned,
                      CUstream stream, void**, void** extra) {
  LOCKED;
  const size_t bytes = *(size_t*)extra[3];
  if (blockX * blockY * blockZ != function->sizes[0] || bytes != function->sizes[1] || gridX * gridY * gridZ == 0 || gridX >= 1u << 31 || gridY > 65535 || gridZ > 65535) {
    std::fprintf(stderr, "stand-in for CUDA: %s: expected blocks of %u threads, %u bytes of parameters and a grid, found %u, %zu and %u x %u x %u\n", function->name.c_str(),
                 function->sizes[0], function->sizes[1], blockX * blockY * blockZ, bytes, gridX, gridY, gridZ);
    return CUDA_ERROR_INVALID_VALUE;
  }
  // Parameters are taken along when the call is made.
  std::vector<uint64_t> params((bytes + 7) / 8);
  std::memcpy(params.data(), extra[1], bytes);
  return queue(stream, [=] {
    const onCpu::Launch launch = {{gridX, gridY, gridZ}, {blockX, blockY, blockZ}, isShuffled, seed++};
    const std::string wrong = onCpu::launch(launch, function->body, params.data());
    if (!wrong.empty()) {
      std::fprintf(stderr, "stand-in for CUDA: %s: %s\n", function->name.c_str(), wrong.c_str());
      fault = CUDA_ERROR_LAUNCH_FAILED;
    }
    return CUresult(CUDA_SUCCESS);
  });
}
