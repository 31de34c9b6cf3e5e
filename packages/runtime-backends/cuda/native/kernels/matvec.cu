// out = x · weightᵀ (+ bias) (+ out) of 1, 2, 4 or 8 tokens, each row of the weight read once for all of them: a warp two rows. With a norm of x
// on the way.
#include "../sweep.h"

struct Params {
  const float* x;
  const void* weight;
  const void* weightScales;
  const float* norm;  // or null
  const float* bias;  // or null
  float* out;
  int xStride, outStride, L, rows, columns, blocks, accumulate;
  float eps;
};

template <int T>
__device__ __forceinline__ void matvec(const Params& p) {
  const int first = 2 * (blockIdx.x * 4 + threadIdx.x / 32), token = blockIdx.y * T;
  if (first >= p.rows) return;
  const int second = min(first + 1, p.rows - 1);
  ROWS_OF_X(T, p.x, p.xStride, token, p.L)
  const Swept<T> sums = sweep<WEIGHT, T>(WEIGHT::row(p.weight, p.weightScales, first, p.columns, p.blocks), WEIGHT::row(p.weight, p.weightScales, second, p.columns, p.blocks),
                                         rowsOfX, isAligned(p.x, p.xStride), p.norm, p.eps, p.columns, p.blocks);
  if (threadIdx.x % 32 != 0) return;
#pragma unroll
  for (int t = 0; t < T; t++) {
    if (token + t >= p.L) break;
    float* out = p.out + (int64_t)(token + t) * p.outStride;
    out[first] = sums.first[t] + (p.bias ? p.bias[first] : 0) + (p.accumulate ? out[first] : 0);
    if (second != first) out[second] = sums.second[t] + (p.bias ? p.bias[second] : 0) + (p.accumulate ? out[second] : 0);
  }
}

KERNEL_OF_DTYPE(matvec1, 128, Params) { matvec<1>(p); }
KERNEL_OF_DTYPE(matvec2, 128, Params) { matvec<2>(p); }
KERNEL_OF_DTYPE(matvec4, 128, Params) { matvec<4>(p); }
KERNEL_OF_DTYPE(matvec8, 128, Params) { matvec<8>(p); }
