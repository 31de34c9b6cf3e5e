// How weights lie: rows of blocks of 32 values, their scales apart (core's rowLayout). A lane takes 8 values of a block at a time, columns
// 4 i … 4 i + 3 and 16 + 4 i … 16 + 4 i + 3, i < 4, since a word of nibbles has these. What fills up a row's last block is 0. A kernel is
// compiled for one of them: -DDTYPE=q4 -DWEIGHT=Q4.
#pragma once
#include "parts.h"

struct Eight {
  float4 low, high;
};

struct Row {
  const uint8_t *data, *scales;
  int columns;
};

__device__ __forceinline__ float dotEight(const Eight& w, const float4& low, const float4& high, float sum) {
  sum = fmaf(w.low.x, low.x, sum), sum = fmaf(w.low.y, low.y, sum), sum = fmaf(w.low.z, low.z, sum), sum = fmaf(w.low.w, low.w, sum);
  sum = fmaf(w.high.x, high.x, sum), sum = fmaf(w.high.y, high.y, sum), sum = fmaf(w.high.z, high.z, sum), sum = fmaf(w.high.w, high.w, sum);
  return sum;
}

__device__ __forceinline__ float4 nibblesOf(uint32_t word, float scale, float minimum) {
  return {fmaf(scale, (float)(word & 15), minimum), fmaf(scale, (float)(word >> 8 & 15), minimum), fmaf(scale, (float)(word >> 16 & 15), minimum),
          fmaf(scale, (float)(word >> 24 & 15), minimum)};
}

struct F32 {
  /** Rows lie dense. */
  static __device__ Row row(const void* data, const void*, int64_t row, int columns, int) { return {(const uint8_t*)data + 4 * row * columns, nullptr, columns}; }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const float* from = (const float*)row.data;
    const bool aligned = (row.columns & 3) == 0;
    return {quadOf(from, 32 * block + 4 * i, row.columns, aligned), quadOf(from, 32 * block + 16 + 4 * i, row.columns, aligned)};
  }
};

struct Bf16 {
  static __device__ Row row(const void* data, const void*, int64_t row, int columns, int blocks) { return {(const uint8_t*)data + 64 * row * blocks, nullptr, columns}; }
  static __device__ __forceinline__ float4 quad(uint2 v) {
    return {bitsToFloat(v.x << 16), bitsToFloat(v.x & 0xffff0000u), bitsToFloat(v.y << 16), bitsToFloat(v.y & 0xffff0000u)};
  }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const uint2* from = (const uint2*)(row.data + 64 * block) + i;
    return {quad(load(from)), quad(load(from + 4))};
  }
};

struct F16 {
  static __device__ Row row(const void* data, const void*, int64_t row, int columns, int blocks) { return {(const uint8_t*)data + 64 * row * blocks, nullptr, columns}; }
  static __device__ __forceinline__ float4 quad(uint2 v) { return {fromF16(v.x & 0xffff), fromF16(v.x >> 16), fromF16(v.y & 0xffff), fromF16(v.y >> 16)}; }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const uint2* from = (const uint2*)(row.data + 64 * block) + i;
    return {quad(load(from)), quad(load(from + 4))};
  }
};

struct Q8 {
  static __device__ Row row(const void* data, const void* scales, int64_t row, int columns, int blocks) {
    return {(const uint8_t*)data + 32 * row * blocks, (const uint8_t*)scales + 2 * row * blocks, columns};
  }
  static __device__ __forceinline__ float4 quad(uint32_t v, float scale) {
    return {scale * (float)(int8_t)v, scale * (float)(int8_t)(v >> 8), scale * (float)(int8_t)(v >> 16), scale * (float)(int8_t)(v >> 24)};
  }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const uint32_t* from = (const uint32_t*)(row.data + 32 * block) + i;
    const float scale = fromF16(load((const uint16_t*)row.scales + block));
    return {quad(load(from), scale), quad(load(from + 4), scale)};
  }
};

/** value = scale · (nibble - 8) */
struct Q4 {
  static __device__ Row row(const void* data, const void* scales, int64_t row, int columns, int blocks) {
    return {(const uint8_t*)data + 16 * row * blocks, (const uint8_t*)scales + 2 * row * blocks, columns};
  }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const uint32_t word = load((const uint32_t*)(row.data + 16 * block) + i);
    const float scale = fromF16(load((const uint16_t*)row.scales + block));
    return {nibblesOf(word, scale, -8 * scale), nibblesOf(word >> 4, scale, -8 * scale)};
  }
};

/** value = scale · nibble + minimum */
struct Q4_1 {
  static __device__ Row row(const void* data, const void* scales, int64_t row, int columns, int blocks) {
    return {(const uint8_t*)data + 16 * row * blocks, (const uint8_t*)scales + 4 * row * blocks, columns};
  }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const uint32_t word = load((const uint32_t*)(row.data + 16 * block) + i);
    const uint32_t both = load((const uint32_t*)row.scales + block);
    const float scale = fromF16(both & 0xffff), minimum = fromF16(both >> 16);
    return {nibblesOf(word, scale, minimum), nibblesOf(word >> 4, scale, minimum)};
  }
};

/** GGML's: eight blocks share two f16 and 8 scales and minima of 6 bits, value = d · scale · nibble - dMin · minimum. */
struct Q4K {
  static __device__ Row row(const void* data, const void* scales, int64_t row, int columns, int blocks) {
    return {(const uint8_t*)data + 16 * row * blocks, (const uint8_t*)scales + 2 * row * blocks, columns};
  }
  static __device__ __forceinline__ Eight eight(const Row& row, int block, int i) {
    const uint32_t word = load((const uint32_t*)(row.data + 16 * block) + i);
    const uint4 head = load((const uint4*)row.scales + block / 8);
    const int p = block % 8, shift = 8 * (p & 3);
    const uint32_t first = head.y >> shift, second = head.z >> shift, third = head.w >> shift;
    const uint32_t scale = p < 4 ? first & 63 : (third & 15) | (first >> 6 & 3) << 4;
    const uint32_t minimum = p < 4 ? second & 63 : (third >> 4 & 15) | (second >> 6 & 3) << 4;
    const float step = fromF16(head.x & 0xffff) * (float)scale, low = -fromF16(head.x >> 16) * (float)minimum;
    return {nibblesOf(word, step, low), nibblesOf(word >> 4, step, low)};
  }
};
