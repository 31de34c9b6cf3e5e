// How keys and values lie: pages of [attention layers, keys and values, nKvHeads, pageTokens, rowBytes] (core's stateLayout). A kernel is compiled
// for one format of them: -DDTYPE=f16 -DKV=KvF16.
#pragma once
#include "parts.h"

struct KvF32 {
  static constexpr int bytes = 4;
  static __device__ __forceinline__ float get(const uint8_t* row, int i) { return ((const float*)row)[i]; }
  static __device__ __forceinline__ void put(uint8_t* row, int i, float v) { ((float*)row)[i] = v; }
};
struct KvF16 {
  static constexpr int bytes = 2;
  static __device__ __forceinline__ float get(const uint8_t* row, int i) { return fromF16(((const uint16_t*)row)[i]); }
  static __device__ __forceinline__ void put(uint8_t* row, int i, float v) { ((uint16_t*)row)[i] = (uint16_t)toF16(v); }
};
struct KvBf16 {
  static constexpr int bytes = 2;
  static __device__ __forceinline__ float get(const uint8_t* row, int i) { return fromBf16(((const uint16_t*)row)[i]); }
  static __device__ __forceinline__ void put(uint8_t* row, int i, float v) { ((uint16_t*)row)[i] = (uint16_t)toBf16(v); }
};

struct Pages {
  uint8_t* pages;
  int64_t pageBytes, layer;
  int nKvHeads, pageTokens, rowBytes;
  __device__ __forceinline__ uint8_t* rowOf(int page, int isValue, int head, int token) const {
    return pages + page * pageBytes + layer + ((int64_t)(isValue * nKvHeads + head) * pageTokens + token % pageTokens) * rowBytes;
  }
};
