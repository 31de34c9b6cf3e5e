// out = silu(gate x) · (up x) of 1, 2, 4 or 8 tokens: a warp a row of both weights. With a norm of x on the way. Of experts, a block a pick: the
// token's x, and the rows of the expert that it chose.
#include "../sweep.h"

struct Params {
  const float* x;
  const void* gate;
  const void* gateScales;
  const void* up;
  const void* upScales;
  const float* norm;   // or null
  const int* experts;  // [L, nActive], or null
  float* out;
  int xStride, expertsStride, nActive, L, rows, columns, blocks;
  float eps;
};

template <int T>
__device__ __forceinline__ void gateUp(const Params& p) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32, first = blockIdx.y * T;
  if (row >= p.rows) return;
  const int token = p.experts ? first / p.nActive : first;
  const int64_t expert = p.experts ? p.experts[token * p.expertsStride + first % p.nActive] : 0;
  ROWS_OF_X(T, p.x, p.xStride, token, p.L)
  const int64_t at = expert * p.rows + row;
  const Swept<T> sums = sweep<WEIGHT, T>(WEIGHT::row(p.gate, p.gateScales, at, p.columns, p.blocks), WEIGHT::row(p.up, p.upScales, at, p.columns, p.blocks), rowsOfX,
                                         isAligned(p.x, p.xStride), p.norm, p.eps, p.columns, p.blocks);
  if (threadIdx.x % 32 != 0) return;
#pragma unroll
  for (int t = 0; t < T; t++)
    if (token + t < p.L) p.out[(int64_t)(first + t) * p.rows + row] = silu(sums.first[t]) * sums.second[t];
}

KERNEL_OF_DTYPE(gateUp1, 128, Params) { gateUp<1>(p); }
KERNEL_OF_DTYPE(gateUp2, 128, Params) { gateUp<2>(p); }
KERNEL_OF_DTYPE(gateUp4, 128, Params) { gateUp<4>(p); }
KERNEL_OF_DTYPE(gateUp8, 128, Params) { gateUp<8>(p); }
