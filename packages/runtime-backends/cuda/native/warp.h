// What a kernel says beyond plain C++: each with its meaning on the device, and on a CPU (shim/cuda-on-cpu.h).
#pragma once
#include <cstdint>

/** A kernel whose one parameter is a struct: its fields are named by the host. Threads of a block are always as many. */
#define KERNEL(name, threads, Params) JAMBA_KERNEL(name, threads, Params)
/** One of those that a file has for the dtype that it is compiled for (-DDTYPE=q4). */
#define KERNEL_OF_DTYPE(name, threads, Params) KERNEL(JAMBA_JOIN(name, DTYPE), threads, Params)
#define JAMBA_JOIN(a, b) JAMBA_JOIN_(a, b)
#define JAMBA_JOIN_(a, b) a##_##b

#ifdef JAMBA_ON_CPU
#include "shim/cuda-on-cpu.h"
#else
#define JAMBA_KERNEL(name, threads, Params)                                                              \
  __device__ __forceinline__ void name##Body(const Params& p);                                           \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p) { name##Body(p); } \
  __device__ __forceinline__ void name##Body(const Params& p)

__device__ __forceinline__ float shuffleXor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
__device__ __forceinline__ int shuffleXor(int v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
/** Of weights, which no kernel writes while it reads them: through the read-only cache. */
template <class T>
__device__ __forceinline__ T load(const T* from) { return __ldg(from); }
__device__ __forceinline__ float bitsToFloat(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ uint32_t floatToBits(float v) { return __float_as_uint(v); }
__device__ __forceinline__ float fromF16(uint32_t bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"((uint16_t)bits));
  return v;
}
/** Half to even; beyond 65504 infinity. */
__device__ __forceinline__ uint32_t toF16(float v) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
#endif

__device__ __forceinline__ float fromBf16(uint32_t bits) { return bitsToFloat(bits << 16); }
/** Half to even. */
__device__ __forceinline__ uint32_t toBf16(float v) {
  const uint32_t bits = floatToBits(v);
  if ((bits & 0x7fffffff) > 0x7f800000) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/** All lanes get the sum, by the same tree. */
__device__ __forceinline__ float warpSum(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) v += shuffleXor(v, mask);
  return v;
}
__device__ __forceinline__ float warpMax(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) v = fmaxf(v, shuffleXor(v, mask));
  return v;
}
