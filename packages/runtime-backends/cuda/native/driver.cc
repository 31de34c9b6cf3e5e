#include "driver.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace jamba {
namespace {

constexpr size_t stagingBytes = 4 << 20;

#ifdef _WIN32
constexpr const char* libraryName = "nvcuda.dll";
void* openLibrary(const char* name, std::string& error) {
  void* library = (void*)LoadLibraryA(name);
  if (!library) error = "error " + std::to_string(GetLastError());
  return library;
}
void* symbolOf(void* library, const char* name) { return (void*)GetProcAddress((HMODULE)library, name); }
#else
constexpr const char* libraryName = "libcuda.so.1";
void* openLibrary(const char* name, std::string& error) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) error = dlerror();
  return library;
}
void* symbolOf(void* library, const char* name) { return dlsym(library, name); }
#endif

/** After these nothing works in this process's context any more. */
bool isLoss(CUresult result) {
  for (CUresult one : {CUDA_ERROR_DEINITIALIZED, CUDA_ERROR_DEVICES_UNAVAILABLE, CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_ILLEGAL_ADDRESS,
                       CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_UNKNOWN})
    if (result == one) return true;
  // Kinds of what a kernel may not do.
  return result >= CUDA_ERROR_HARDWARE_STACK_ERROR && result < CUDA_ERROR_LAUNCH_FAILED;
}

std::string mib(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

void DriverLibrary::check(CUresult result, const char* call, const std::string& what) const {
  if (result == CUDA_SUCCESS) return;
  const char *name = nullptr, *words = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &words);
  const std::string found = std::string(name ? name : "an error without a name") + " (" + std::to_string(result) + (words ? std::string(": ") + words : "") + ")";
  const std::string where = what.empty() ? "cuda" : what;
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    throw Failure("OUT_OF_MEMORY", where + ": expected room on the device, found " + found + " from " + call + "; choose a smaller dtype or fewer tokens");
  if (isLoss(result)) throw Failure("DEVICE_LOST", where + ": the device was lost: " + found + " from " + call + "; open the backend again, in a new process if it stays lost");
  throw Failure("BACKEND", where + ": expected " + call + " to succeed, found " + found);
}

const DriverLibrary& openDriver(const std::string& path) {
  // Never closed: a driver does not take that well.
  static std::mutex lock;
  static std::map<std::string, std::unique_ptr<DriverLibrary>> opened;
  const std::string file = path.empty() ? libraryName : path;
  std::lock_guard guard(lock);
  std::unique_ptr<DriverLibrary>& driver = opened[file];
  if (driver) return *driver;
  std::string error;
  void* library = openLibrary(file.c_str(), error);
  if (!library) throw Failure("BACKEND", "cuda: expected NVIDIA's driver, found none (" + error + "); install the driver of the GPU, or use another backend");
  auto found = std::make_unique<DriverLibrary>();
#define F(name, symbol, parameters)                                     \
  found->name = (CUresult(*) parameters)symbolOf(library, #symbol);     \
  if (!found->name) throw Failure("BACKEND", "cuda: expected a driver of CUDA 10.2 or newer, found " + file + " without " #symbol "; update the driver of the GPU");
  JAMBA_CUDA_FUNCTIONS(F)
#undef F
  found->check(found->cuInit(0), "cuInit");
  driver = std::move(found);
  return *driver;
}

Device::Device(const DriverLibrary& driver, int ordinal) : driver_(driver) {
  int count = 0;
  driver.check(driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
  if (ordinal < 0 || ordinal >= count)
    throw Failure("BACKEND", "cuda: expected device " + std::to_string(ordinal) + ", found " + std::to_string(count) + " devices");
  driver.check(driver.cuDeviceGet(&device_, ordinal), "cuDeviceGet");
  char text[256] = {};
  driver.check(driver.cuDeviceGetName(text, sizeof text - 1, device_), "cuDeviceGetName");
  name = text;
  driver.check(driver.cuDriverGetVersion(&driverVersion), "cuDriverGetVersion");
  driver.check(driver.cuDeviceTotalMem(&totalBytes, device_), "cuDeviceTotalMem");
  const auto attribute = [&](int which) {
    int value = 0;
    driver.check(driver.cuDeviceGetAttribute(&value, which, device_), "cuDeviceGetAttribute");
    return value;
  };
  major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  if (10 * major + minor < 75)
    throw Failure("BACKEND", "cuda: expected a GPU of compute capability 7.5 or newer (Turing), found " + name + " of " + std::to_string(major) + "." + std::to_string(minor));
  if (!attribute(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED))
    throw Failure("BACKEND", "cuda: expected a device with virtual memory management, found " + name + " without");
  driver.check(driver.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain", name);
  makeCurrent();
  driver.check(driver.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  where_ = {1, 0, {1, device_}, nullptr, {}};
  driver.check(driver.cuMemGetAllocationGranularity(&pieceBytes_, &where_, 1), "cuMemGetAllocationGranularity");
  for (Staging& staging : staging_) {
    driver.check(driver.cuMemHostAlloc((void**)&staging.bytes, stagingBytes, 0), "cuMemHostAlloc", "pinned memory");
    driver.check(driver.cuEventCreate(&staging.copied, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  }
}

// What fails here fails since the device is gone: nobody is left to tell.
Device::~Device() {
  driver_.cuCtxSetCurrent(context_);
  driver_.cuStreamSynchronize(stream_);
  for (Staging& staging : staging_) {
    driver_.cuEventDestroy(staging.copied);
    driver_.cuMemFreeHost(staging.bytes);
  }
  for (CUmodule module : modules_) driver_.cuModuleUnload(module);
  driver_.cuStreamDestroy(stream_);
  driver_.cuCtxSetCurrent(nullptr);
  driver_.cuDevicePrimaryCtxRelease(device_);
}

void Device::makeCurrent() const { driver_.check(driver_.cuCtxSetCurrent(context_), "cuCtxSetCurrent"); }

std::vector<CUfunction> Device::load(const std::string& image, const std::vector<std::string>& names) {
  CUmodule module = nullptr;
  driver_.check(driver_.cuModuleLoadData(&module, image.c_str()), "cuModuleLoadData", names.empty() ? "" : names[0]);
  modules_.push_back(module);
  std::vector<CUfunction> functions;
  for (const std::string& name : names) {
    CUfunction function = nullptr;
    driver_.check(driver_.cuModuleGetFunction(&function, module, name.c_str()), "cuModuleGetFunction", name);
    functions.push_back(function);
  }
  return functions;
}

CUdeviceptr Device::allocate(size_t bytes, const std::string& what) const {
  CUdeviceptr address = 0;
  driver_.check(driver_.cuMemAlloc(&address, std::max<size_t>(16, bytes)), "cuMemAlloc", what + " of " + mib(bytes));
  return address;
}

void Device::release(CUdeviceptr address) const { driver_.check(driver_.cuMemFree(address), "cuMemFree"); }

Range Device::reserve(size_t bytes) const {
  Range range;
  range.reservedBytes = (bytes + pieceBytes_ - 1) / pieceBytes_ * pieceBytes_;
  driver_.check(driver_.cuMemAddressReserve(&range.address, range.reservedBytes, 0, 0, 0), "cuMemAddressReserve");
  return range;
}

void Device::map(Range& range, size_t bytes, const std::string& what) const {
  const size_t wanted = (bytes + pieceBytes_ - 1) / pieceBytes_ * pieceBytes_;
  if (wanted > range.reservedBytes)
    throw Failure("OUT_OF_MEMORY", what + ": expected at most the " + mib(range.reservedBytes) + " of the device, found " + mib(bytes) + "; choose fewer tokens");
  if (wanted > range.mappedBytes) {
    const size_t more = wanted - range.mappedBytes;
    CUmemHandle handle = 0;
    driver_.check(driver_.cuMemCreate(&handle, more, &where_, 0), "cuMemCreate", what + " of " + mib(more));
    const CUdeviceptr at = range.address + range.mappedBytes;
    CUresult result = driver_.cuMemMap(at, more, 0, handle, 0);
    const CUmemAccessDesc access = {where_.location, 3};
    if (result == CUDA_SUCCESS) {
      result = driver_.cuMemSetAccess(at, more, &access, 1);
      if (result != CUDA_SUCCESS) driver_.cuMemUnmap(at, more);
    }
    if (result != CUDA_SUCCESS) driver_.cuMemRelease(handle);
    driver_.check(result, "cuMemMap", what);
    range.pieces.push_back({handle, more});
    range.mappedBytes = wanted;
    return;
  }
  // A step that was launched may still use what goes.
  if (!range.pieces.empty() && range.mappedBytes - range.pieces.back().second >= wanted) finish();
  while (!range.pieces.empty() && range.mappedBytes - range.pieces.back().second >= wanted) {
    const auto [handle, own] = range.pieces.back();
    driver_.check(driver_.cuMemUnmap(range.address + range.mappedBytes - own, own), "cuMemUnmap", what);
    driver_.check(driver_.cuMemRelease(handle), "cuMemRelease", what);
    range.pieces.pop_back();
    range.mappedBytes -= own;
  }
}

void Device::release(Range& range) const {
  map(range, 0, "release");
  driver_.check(driver_.cuMemAddressFree(range.address, range.reservedBytes), "cuMemAddressFree");
  range = {};
}

void Device::write(CUdeviceptr to, const uint8_t* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += stagingBytes) {
    Staging& staging = staging_[turn_ ^= 1];
    const size_t own = std::min(stagingBytes, bytes - at);
    driver_.check(driver_.cuEventSynchronize(staging.copied), "cuEventSynchronize");
    std::memcpy(staging.bytes, from + at, own);
    driver_.check(driver_.cuMemcpyHtoDAsync(to + at, staging.bytes, own, stream_), "cuMemcpyHtoDAsync");
    driver_.check(driver_.cuEventRecord(staging.copied, stream_), "cuEventRecord");
  }
}

void Device::read(uint8_t* to, CUdeviceptr from, size_t bytes) {
  // Two are under way: one is copied out of while the device fills the other.
  size_t taken = 0;
  const auto take = [&](Staging& staging) {
    driver_.check(driver_.cuEventSynchronize(staging.copied), "cuEventSynchronize");
    const size_t own = std::min(stagingBytes, bytes - taken);
    std::memcpy(to + taken, staging.bytes, own);
    taken += own;
  };
  for (size_t at = 0; at < bytes; at += stagingBytes) {
    Staging& staging = staging_[turn_ ^= 1];
    if (at >= 2 * stagingBytes) {
      take(staging);
    } else {
      driver_.check(driver_.cuEventSynchronize(staging.copied), "cuEventSynchronize");
    }
    driver_.check(driver_.cuMemcpyDtoHAsync(staging.bytes, from + at, std::min(stagingBytes, bytes - at), stream_), "cuMemcpyDtoHAsync");
    driver_.check(driver_.cuEventRecord(staging.copied, stream_), "cuEventRecord");
  }
  if (bytes > stagingBytes) take(staging_[turn_ ^ 1]);
  if (bytes > 0) take(staging_[turn_]);
}

void Device::launch(const uint8_t* launches, size_t bytes) const {
  for (size_t at = 0; at < bytes;) {
    const Launch& one = *(const Launch*)(launches + at);
    size_t size = one.parameterBytes;
    void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void*)(launches + at + sizeof(Launch)), CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    if (one.grid[0] && one.grid[1] && one.grid[2])
      driver_.check(driver_.cuLaunchKernel((CUfunction)one.function, one.grid[0], one.grid[1], one.grid[2], one.block[0], one.block[1], one.block[2], 0,
                                           stream_, nullptr, extra),
                    "cuLaunchKernel");
    at += sizeof(Launch) + (size + 7) / 8 * 8;
  }
}

void Device::finish() const { driver_.check(driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize"); }

void Device::room(size_t& freeBytes, size_t& totalBytes) const { driver_.check(driver_.cuMemGetInfo(&freeBytes, &totalBytes), "cuMemGetInfo"); }

}  // namespace jamba
