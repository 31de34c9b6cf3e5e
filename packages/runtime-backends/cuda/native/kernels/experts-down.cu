// out = Σ share · down of the token's experts (+ out): a warp two rows, pick after pick.
#include "../sweep.h"

struct Params {
  const float* hidden;  // [L, nActive, columns]
  const void* weight;
  const void* weightScales;
  const int* experts;
  const float* shares;
  float* out;
  int expertsStride, sharesStride, outStride, nActive, rows, columns, blocks, accumulate;
};

KERNEL_OF_DTYPE(expertsDown, 128, Params) {
  const int first = 2 * (blockIdx.x * 4 + threadIdx.x / 32), token = blockIdx.y;
  if (first >= p.rows) return;
  const int second = min(first + 1, p.rows - 1);
  float sumFirst = 0, sumSecond = 0;
  for (int j = 0; j < p.nActive; j++) {
    const int64_t at = (int64_t)p.experts[token * p.expertsStride + j] * p.rows;
    const float* const x[1] = {p.hidden + ((int64_t)token * p.nActive + j) * p.columns};
    const Swept<1> sums = sweep<WEIGHT, 1>(WEIGHT::row(p.weight, p.weightScales, at + first, p.columns, p.blocks),
                                           WEIGHT::row(p.weight, p.weightScales, at + second, p.columns, p.blocks), x, isAligned(x[0], p.columns), nullptr, 0, p.columns,
                                           p.blocks);
    const float share = p.shares[token * p.sharesStride + j];
    sumFirst = fmaf(share, sums.first[0], sumFirst);
    sumSecond = fmaf(share, sums.second[0], sumSecond);
  }
  if (threadIdx.x % 32 != 0) return;
  float* out = p.out + (int64_t)token * p.outStride;
  out[first] = sumFirst + (p.accumulate ? out[first] : 0);
  if (second != first) out[second] = sumSecond + (p.accumulate ? out[second] : 0);
}
