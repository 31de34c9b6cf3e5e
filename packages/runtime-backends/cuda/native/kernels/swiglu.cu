// out = silu(gate) · up
#include "../parts.h"

struct Params {
  const float* gate;
  const float* up;
  float* out;
  int gateStride, upStride, rows, columns;
};

KERNEL(swiglu, 128, Params) {
  const int64_t i = flatIndex();
  if (i >= (int64_t)p.rows * p.columns) return;
  const int64_t t = i / p.columns, column = i % p.columns;
  p.out[i] = silu(p.gate[t * p.gateStride + column]) * p.up[t * p.upStride + column];
}
