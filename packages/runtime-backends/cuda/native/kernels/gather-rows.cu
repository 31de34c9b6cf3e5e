#include "../parts.h"

struct Params {
  const int* step;
  const float* x;
  int xStride, columns;
  float* out;
};

KERNEL(gatherRows, 256, Params) {
  const int row = partOf(p.step, StepPart::rows)[blockIdx.x];
  for (int i = threadIdx.x; i < p.columns; i += blockDim.x) p.out[(int64_t)blockIdx.x * p.columns + i] = p.x[(int64_t)row * p.xStride + i];
}
