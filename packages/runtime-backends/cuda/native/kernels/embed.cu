// Rows of a table, a block a token.
#include "../weights.h"

struct Params {
  const int* step;
  const void* weight;
  const void* weightScales;
  float* out;
  int columns, blocks;
};

KERNEL_OF_DTYPE(embed, 128, Params) {
  const Row row = WEIGHT::row(p.weight, p.weightScales, partOf(p.step, StepPart::ids)[blockIdx.x], p.columns, p.blocks);
  float* out = p.out + (int64_t)blockIdx.x * p.columns;
  for (int unit = threadIdx.x; unit < 4 * p.blocks; unit += 128) {
    const Eight w = WEIGHT::eight(row, unit / 4, unit % 4);
    const float values[8] = {w.low.x, w.low.y, w.low.z, w.low.w, w.high.x, w.high.y, w.high.z, w.high.w};
    const int column = unit / 4 * 32 + unit % 4 * 4;
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (column + i / 4 * 16 + i % 4 < p.columns) out[column + i / 4 * 16 + i % 4] = values[i];
  }
}
