// A warp multiplies two rows of weights with some rows of x: lanes go along the rows together, so that loads are of neighbouring words, and
// each keeps its sums in registers. Lanes' sums meet once, at the end. The order of a sum depends on the length of the row alone.
#pragma once
#include "weights.h"

template <int T>
struct Swept {
  float first[T], second[T];
};

/**
 * @param x T rows; those of tokens that are not there repeat another one
 * @param norm null, or what x is multiplied with by column, with 1 / sqrt(mean(x²) + eps) by row
 */
template <class W, int T>
__device__ __forceinline__ Swept<T> sweep(const Row& first, const Row& second, const float* const (&x)[T], bool aligned, const float* norm, float eps, int columns,
                                          int blocks) {
  const int lane = threadIdx.x % 32;
  Swept<T> sums = {};
  float squares[T] = {};
  for (int unit = lane; unit < 4 * blocks; unit += 32) {
    const int block = unit / 4, i = unit % 4, column = 32 * block + 4 * i;
    const Eight a = W::eight(first, block, i), b = W::eight(second, block, i);
    float4 gLow, gHigh;
    if (norm) gLow = quadOf(norm, column, columns, (columns & 3) == 0), gHigh = quadOf(norm, column + 16, columns, (columns & 3) == 0);
#pragma unroll
    for (int t = 0; t < T; t++) {
      float4 low = quadOf(x[t], column, columns, aligned), high = quadOf(x[t], column + 16, columns, aligned);
      if (norm) {
        squares[t] = dotEight({low, high}, low, high, squares[t]);
        low.x *= gLow.x, low.y *= gLow.y, low.z *= gLow.z, low.w *= gLow.w;
        high.x *= gHigh.x, high.y *= gHigh.y, high.z *= gHigh.z, high.w *= gHigh.w;
      }
      sums.first[t] = dotEight(a, low, high, sums.first[t]);
      sums.second[t] = dotEight(b, low, high, sums.second[t]);
    }
  }
#pragma unroll
  for (int t = 0; t < T; t++) {
    sums.first[t] = warpSum(sums.first[t]);
    sums.second[t] = warpSum(sums.second[t]);
    if (!norm) continue;
    const float scale = 1 / sqrtf(warpSum(squares[t]) / (float)columns + eps);
    sums.first[t] *= scale;
    sums.second[t] *= scale;
  }
  return sums;
}

/** Rows of x from `token` on; those of tokens that are not there repeat the last one. */
#define ROWS_OF_X(T, x, xStride, token, L)                                        \
  const float* rowsOfX[T];                                                        \
  _Pragma("unroll") for (int t = 0; t < T; t++) rowsOfX[t] = (x) + (int64_t)min((token) + t, (L)-1) * (xStride);
