// The driver's library, opened at run time, and a device of it: memory, modules and one stream.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda-driver.h"

namespace jamba {

/** Becomes a JambaError; `code` is one of core's. */
struct Failure : std::runtime_error {
  Failure(std::string code, const std::string& message) : std::runtime_error(message), code(std::move(code)) {}
  std::string code;
};

struct DriverLibrary {
#define F(name, symbol, parameters) CUresult(*name) parameters;
  JAMBA_CUDA_FUNCTIONS(F)
#undef F
  /** @throws Failure that says which call failed, of what, and why by the driver's own words */
  void check(CUresult result, const char* call, const std::string& what = "") const;
};

/**
 * @param path where not "": instead of the driver's own name
 * @throws Failure BACKEND where there is none, or one that lacks a function
 */
const DriverLibrary& openDriver(const std::string& path);

/** Addresses that stay while what lies behind them grows: reserved once, mapped from the start on. */
struct Range {
  CUdeviceptr address = 0;
  size_t reservedBytes = 0, mappedBytes = 0;
  std::vector<std::pair<CUmemHandle, size_t>> pieces;
};

/** A kernel on a grid, with its parameters as they lie in memory. */
struct Launch {
  uint64_t function;
  uint32_t grid[3], block[3];
  uint32_t parameterBytes, unused;
  // parameterBytes follow, filled up to a multiple of 8
};
static_assert(sizeof(Launch) == 40);

/** All of it is for one thread at a time, which has made the context its own. */
class Device {
 public:
  Device(const DriverLibrary& driver, int ordinal);
  ~Device();

  void makeCurrent() const;
  /** Addresses of the kernels of a module in PTX, by their names. */
  std::vector<CUfunction> load(const std::string& image, const std::vector<std::string>& names);
  CUdeviceptr allocate(size_t bytes, const std::string& what) const;
  void release(CUdeviceptr address) const;
  Range reserve(size_t bytes) const;
  /** Grows or shrinks to at least `bytes`, in whole pieces. @throws Failure OUT_OF_MEMORY, with nothing changed */
  void map(Range& range, size_t bytes, const std::string& what) const;
  void release(Range& range) const;
  /** On return the bytes are the caller's again; on the device they are before what is asked for next. */
  void write(CUdeviceptr to, const uint8_t* from, size_t bytes);
  void read(uint8_t* to, CUdeviceptr from, size_t bytes);
  /** Launches that follow each other. */
  void launch(const uint8_t* launches, size_t bytes) const;
  void finish() const;
  void room(size_t& freeBytes, size_t& totalBytes) const;

  std::string name;
  int driverVersion = 0, major = 0, minor = 0, multiprocessors = 0;
  size_t totalBytes = 0;

 private:
  /** Memory that the device copies from and to by itself, and when it has. */
  struct Staging {
    uint8_t* bytes = nullptr;
    CUevent copied = nullptr;
  };

  const DriverLibrary& driver_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  size_t pieceBytes_ = 0;
  CUmemAllocationProp where_{};
  std::vector<CUmodule> modules_;
  /** By turns: one is filled while the other is copied. */
  Staging staging_[2];
  int turn_ = 0;
};

}  // namespace jamba
