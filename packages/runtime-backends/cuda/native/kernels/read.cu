// Hands a value over, dense: one that is kept to its place among the results, one that is read to where the step's words say.
#include "../parts.h"

struct Params {
  const int* step;
  const int* x;
  int xStride, rows, columns;
  int* results;
  // -1: of one that is kept
  int output;
};

KERNEL(readRows, 128, Params) {
  const int64_t i = flatIndex();
  if (i >= (int64_t)p.rows * p.columns) return;
  int* to = p.results + (p.output < 0 ? 0 : partOf(p.step, StepPart::outputs)[p.output]);
  to[i] = p.x[i / p.columns * p.xStride + i % p.columns];
}
