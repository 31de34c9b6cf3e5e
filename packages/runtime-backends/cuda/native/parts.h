// What several kernels do alike.
#pragma once
#include "warp.h"

/** A step's words, in core's order (step-words.ts): where a part begins stands at its number. */
enum class StepPart { ids, rows, temperatures, sequenceOf, sequences, pages, slotCopies, pageCopies, asked, outputs, tensors };
__device__ __forceinline__ const int* partOf(const int* step, StepPart part, int more = 0) { return step + step[(int)part + more]; }
__device__ __forceinline__ int sizeOf(const int* step, StepPart part) { return step[(int)part + 1] - step[(int)part]; }

struct Sequence {
  int from, to, seen, slot, firstPage;
};
__device__ __forceinline__ Sequence sequenceAt(const int* step, int i) {
  const int* at = partOf(step, StepPart::sequences) + 5 * i;
  return {at[0], at[1], at[2], at[3], at[4]};
}

/** Among all threads of a grid of one or two axes. */
__device__ __forceinline__ int64_t flatIndex() { return (int64_t)(blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x; }

__device__ __forceinline__ float silu(float v) {
  const float e = expf(-fabsf(v));
  return v * (v >= 0 ? 1 : e) / (1 + e);
}

/** log(1 + e^v). Above 20 the 1 is lost to rounding. */
__device__ __forceinline__ float softplus(float v) { return v > 20 ? v : log1pf(expf(v)); }

/** Four floats from `column` on, of a row of `columns` of which `isAligned` says whether vectors can be read. Behind its end are zeros. */
__device__ __forceinline__ float4 quadOf(const float* row, int column, int columns, bool isAligned) {
  if (isAligned && column + 4 <= columns) return *(const float4*)(row + column);
  float4 v = {0, 0, 0, 0};
  if (column < columns) v.x = row[column];
  if (column + 1 < columns) v.y = row[column + 1];
  if (column + 2 < columns) v.z = row[column + 2];
  if (column + 3 < columns) v.w = row[column + 3];
  return v;
}
__device__ __forceinline__ bool isAligned(const float* x, int stride) { return (((uintptr_t)x >> 2 | (unsigned)stride) & 3) == 0; }
