//   y = silu(gate) · up
#pragma once
#include "../simd.h"
#include "../step.h"

namespace jamba::JAMBA_LEVEL {

static void planSwiglu(const Command& c, Step& step) {
  constexpr int rowsPerTask = 8;
  step.add(
      [](const Phase& p, int task, Worker&) {
        const Tensor &gate = p.command->in[0], &up = p.command->in[1], &y = p.command->out[0];
        for (int64_t t = task * rowsPerTask; t < y.rows && t < (task + 1) * rowsPerTask; t++) {
          const float *g = p.step->at(gate) + t * gate.stride, *u = p.step->at(up) + t * up.stride;
          float* to = p.step->at(y) + t * y.stride;
          for (int i = 0; i < y.columns; i += W) storeFirst(to + i, mul(silu(loadFirst(g + i, y.columns - i)), loadFirst(u + i, y.columns - i)), y.columns - i);
        }
      },
      c, (c.out[0].rows + rowsPerTask - 1) / rowsPerTask);
}

}  // namespace jamba::JAMBA_LEVEL
