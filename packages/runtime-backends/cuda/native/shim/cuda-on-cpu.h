// Kernels as C++ for x86-64: a fiber a thread of CUDA, blocks one after another. For tests: slow, and strict where a GPU would do something or
// other. A lane that waits for its warp while another waits for its block, or reads a lane that has left, is a fault.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#define __device__
#define __forceinline__ inline
/** Blocks do not run beside each other. */
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
};
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
using std::max;
using std::min;

namespace onCpu {

enum class Waits { nothing, warp, block, done };

struct Fiber {
  void* stack;
  Waits waits;
};

struct Launch {
  dim3 grid, block;
  bool isShuffled;
  uint64_t seed;
};

/** Of the one launch that is under way. */
struct State {
  dim3 threadIdx, blockIdx, blockDim, gridDim;
  void (*body)(const void*);
  const void* params;
  std::vector<Fiber> fibers;
  std::vector<char> stacks;
  void* scheduler;
  unsigned current;
  // Of each warp: what lanes gave, in two places by turns, and which of them did.
  uint64_t given[32][2][32];
  uint32_t gave[32][2];
  unsigned turn[32];
  std::string fault;
};
extern State state;

/** @returns what went wrong, or "" */
std::string launch(const Launch& launch, void (*body)(const void*), const void* params);
void wait(Waits what);

template <class T>
T exchange(T v, int from) {
  static_assert(sizeof(T) <= 8);
  const unsigned warp = state.current / 32, lane = state.current % 32, turn = state.turn[warp] & 1;
  std::memcpy(&state.given[warp][turn][lane], &v, sizeof v);
  state.gave[warp][turn] |= 1u << lane;
  wait(Waits::warp);
  if (!(state.gave[warp][turn] >> from & 1) && state.fault.empty())
    state.fault = "lane " + std::to_string(lane) + " reads lane " + std::to_string(from) + ", which did not take part";
  T found;
  std::memcpy(&found, &state.given[warp][turn][from], sizeof found);
  return found;
}

}  // namespace onCpu

#define threadIdx onCpu::state.threadIdx
#define blockIdx onCpu::state.blockIdx
#define blockDim onCpu::state.blockDim
#define gridDim onCpu::state.gridDim

inline void __syncthreads() { onCpu::wait(onCpu::Waits::block); }
inline void __syncwarp() { onCpu::wait(onCpu::Waits::warp); }
inline float shuffleXor(float v, int mask) { return onCpu::exchange(v, (int)(onCpu::state.current % 32) ^ mask); }
inline int shuffleXor(int v, int mask) { return onCpu::exchange(v, (int)(onCpu::state.current % 32) ^ mask); }
template <class T>
T load(const T* from) { return *from; }
template <class T>
T atomicAdd(T* at, T v) {
  const T before = *at;
  *at += v;
  return before;
}
inline float bitsToFloat(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}
inline uint32_t floatToBits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return bits;
}
inline float fromF16(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fff, sign = (bits & 0x8000) << 16;
  if (magnitude >= 0x7c00) return bitsToFloat(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  const float v = magnitude < 0x400 ? (float)magnitude * 0x1p-24f : bitsToFloat((magnitude << 13) + 0x38000000);
  return sign ? -v : v;
}
inline uint32_t toF16(float v) {
  const uint32_t bits = floatToBits(v), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7fff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) return sign | (uint32_t)std::nearbyint(std::fabs(v) * 0x1p24f);
  return sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
}

/** The stand-in finds a kernel by its name, and checks that as many bytes of parameters came. */
#define JAMBA_KERNEL(name, threads, Params)                                                                                                    \
  static void name##Body(const Params& p);                                                                                               \
  extern "C" __attribute__((visibility("default"))) const unsigned onCpu_##name##_sizes[2] = {threads, sizeof(Params)};                     \
  extern "C" __attribute__((visibility("default"))) void onCpu_##name(const void* params) { name##Body(*(const Params*)params); }           \
  static void name##Body(const Params& p)
