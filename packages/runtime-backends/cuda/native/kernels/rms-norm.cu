// out = weight · x / sqrt(mean(x²) + eps), a block a row.
#include "../parts.h"

struct Params {
  const float* x;
  const float* weight;
  float* out;
  int xStride, columns;
  float eps;
};

KERNEL(rmsNorm, 256, Params) {
  __shared__ float sums[8];
  const float* x = p.x + (int64_t)blockIdx.x * p.xStride;
  float sum = 0;
  for (int i = threadIdx.x; i < p.columns; i += 256) sum = fmaf(x[i], x[i], sum);
  sum = warpSum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
  for (int i = 0; i < 8; i++) sum += sums[i];
  const float scale = 1 / sqrtf(sum / (float)p.columns + p.eps);
  for (int i = threadIdx.x; i < p.columns; i += 256) p.out[(int64_t)blockIdx.x * p.columns + i] = x[i] * scale * p.weight[i];
}
