// out = x · weightᵀ (+ bias) (+ out) of many tokens: a block a tile of 64 tokens and 64 rows, which goes along the columns a block of weights
// at a time through shared memory; a thread 4 by 4 sums in registers.
#include "../weights.h"

struct Params {
  const float* x;
  const void* weight;
  const void* weightScales;
  const float* bias;  // or null
  float* out;
  int xStride, outStride, L, rows, columns, blocks, accumulate;
};

constexpr int tile = 64, padded = tile + 4;

__device__ __forceinline__ void put(float (*to)[padded], int i, int at, const float4& low, const float4& high) {
  to[4 * i][at] = low.x, to[4 * i + 1][at] = low.y, to[4 * i + 2][at] = low.z, to[4 * i + 3][at] = low.w;
  to[16 + 4 * i][at] = high.x, to[17 + 4 * i][at] = high.y, to[18 + 4 * i][at] = high.z, to[19 + 4 * i][at] = high.w;
}

KERNEL_OF_DTYPE(matmul, 256, Params) {
  __shared__ float xs[32][padded];
  __shared__ float ws[32][padded];
  const int l = threadIdx.x, at = l / 4, i = l % 4;
  const int token = blockIdx.y * tile, first = blockIdx.x * tile;
  // What is not there repeats the last one, and is not written.
  const float* x = p.x + (int64_t)min(token + at, p.L - 1) * p.xStride;
  const bool aligned = isAligned(p.x, p.xStride);
  const Row row = WEIGHT::row(p.weight, p.weightScales, min(first + at, p.rows - 1), p.columns, p.blocks);
  const int t0 = l / 16 * 4, r0 = l % 16 * 4;
  float sums[4][4] = {};
  for (int block = 0; block < p.blocks; block++) {
    const int column = 32 * block + 4 * i;
    put(xs, i, at, quadOf(x, column, p.columns, aligned), quadOf(x, column + 16, p.columns, aligned));
    const Eight w = WEIGHT::eight(row, block, i);
    put(ws, i, at, w.low, w.high);
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < 32; k++) {
      const float4 a = *(const float4*)&xs[k][t0], b = *(const float4*)&ws[k][r0];
      const float as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int t = 0; t < 4; t++)
#pragma unroll
        for (int r = 0; r < 4; r++) sums[t][r] = fmaf(as[t], bs[r], sums[t][r]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int t = 0; t < 4; t++) {
    if (token + t0 + t >= p.L) break;
    float* out = p.out + (int64_t)(token + t0 + t) * p.outStride + first + r0;
#pragma unroll
    for (int r = 0; r < 4; r++)
      if (first + r0 + r < p.rows) out[r] = sums[t][r] + (p.bias ? p.bias[first + r0 + r] : 0) + (p.accumulate ? out[r] : 0);
  }
}
