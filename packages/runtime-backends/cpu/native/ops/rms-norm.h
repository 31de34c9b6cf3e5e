//   y = weight · x / sqrt(mean(x²) + eps)
#pragma once
#include "../activations.h"

namespace jamba::JAMBA_LEVEL {

static void planRmsNorm(const Command& c, Step& step) {
  constexpr int rowsPerTask = 16;
  step.add(
      [](const Phase& p, int task, Worker&) {
        const Command& c = *p.command;
        const Tensor &x = c.in[0], &y = c.out[0];
        for (int t = task * rowsPerTask; t < x.rows && t < (task + 1) * rowsPerTask; t++)
          normRow(p.step->at(x) + (int64_t)t * x.stride, c.weights[0].vector(), c.eps, x.columns, p.step->at(y) + (int64_t)t * y.stride);
      },
      c, (c.in[0].rows + rowsPerTask - 1) / rowsPerTask);
}

}  // namespace jamba::JAMBA_LEVEL
