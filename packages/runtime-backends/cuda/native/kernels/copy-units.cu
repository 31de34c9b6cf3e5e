// Whole slots or pages, before the list: pairs of from and to, of which no target is another one's source.
#include "../parts.h"

struct Params {
  const int* step;
  int pairs;
  int64_t unitVectors;
  uint4* units;
};

KERNEL(copyUnits, 256, Params) {
  const int* pair = partOf(p.step, (StepPart)p.pairs) + 2 * blockIdx.y;
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < p.unitVectors) p.units[pair[1] * p.unitVectors + i] = p.units[pair[0] * p.unitVectors + i];
}
