//   y = x · weightᵀ (+ bias) (+ y)
//
// x is brought into the weights' form once (normed on the way, if a norm stands before it), then chunks of panels are
// claimed by whichever thread is free. gateUp is the same for two weights whose results meet in silu(gate) · up.
#pragma once
#include "../tiles.h"

namespace jamba::JAMBA_LEVEL {

JAMBA_INLINE void emitRows(const Command& c, const Step& step, const Tensor& y, int64_t rows, int64_t panel, int64_t t, int T, const float* out) {
  const int64_t row = panel * panelRows;
  for (int i = 0; i < T; i++) {
    float* to = step.at(y) + (t + i) * y.stride + row;
    for (int v = 0; v < V && row + v * W < rows; v++) {
      const int n = (int)(rows - row - v * W);
      F32 value = load(out + i * panelRows + v * W);
      if (c.hasBias) value = add(value, loadFirst(c.bias.vector() + row + v * W, n));
      if (c.accumulate) value = add(value, loadFirst(to + v * W, n));
      storeFirst(to + v * W, value, n);
    }
  }
}

static void matmulTask(const Phase& p, int task, Worker&) {
  const Command& c = *p.command;
  int i = 0;
  Cut k = cut(c.weights[0], c.in[0].rows, p.step->threads);
  while (task >= k.tasks()) {
    task -= (int)k.tasks();
    k = cut(c.weights[++i], c.in[0].rows, p.step->threads);
  }
  const Matrix& m = c.weights[i];
  const int64_t L = c.in[0].rows, p0 = task % k.panelChunks * k.panels, t0 = task / k.panelChunks * k.tokens;
  const int64_t p1 = p0 + k.panels < m.panels() ? p0 + k.panels : m.panels(), t1 = t0 + k.tokens < L ? t0 + k.tokens : L;
  const uint8_t* x = p.step->scratch + p.args[(int)formOf(m.dtype)];
  multiply(m, 0, p0, p1, x, t0, t1, L, [&](int64_t panel, int64_t t, int T, const float* out) { emitRows(c, *p.step, c.out[i], m.rows, panel, t, T, out); });
}

static void planMatmul(const Command& c, Step& step) {
  const Tensor& x = c.in[0];
  Forms forms;
  int64_t tasks = 0;
  for (int i = 0; i < c.nWeights; i++) {
    forms.want(formOf(c.weights[i].dtype), x.rows, x.columns);
    tasks += x.rows == 0 ? 0 : cut(c.weights[i], x.rows, step.threads).tasks();
  }
  step.needScratch(forms.bytes);
  planPrepare(c, forms, step);
  Phase& p = step.add(matmulTask, c, tasks);
  memcpy(p.args, forms.offsets, sizeof forms.offsets);
}

/** Panels [p0, p1) of silu(gate x) · (up x), for prepared tokens; `emit` as of multiply. */
template <class Emit>
JAMBA_INLINE void multiplyGateUp(const Matrix& gate, const Matrix& up, int64_t expert, int64_t p0, int64_t p1, const uint8_t* xGate, const uint8_t* xUp,
                                 int64_t t0, int64_t t1, int64_t L, float* gates, const Emit& emit) {
  // Gates of these panels wait in [panel][token][16] for their ups.
  const int64_t tokens = t1 - t0;
  multiply(gate, expert, p0, p1, xGate, t0, t1, L, [&](int64_t panel, int64_t t, int T, const float* out) {
    memcpy(gates + ((panel - p0) * tokens + t - t0) * panelRows, out, T * panelRows * 4);
  });
  multiply(up, expert, p0, p1, xUp, t0, t1, L, [&](int64_t panel, int64_t t, int T, const float* out) {
    float* hidden = gates + ((panel - p0) * tokens + t - t0) * panelRows;
    for (int i = 0; i < T * panelRows; i += W) store(hidden + i, mul(silu(load(hidden + i)), load(out + i)));
    emit(panel, t, T, hidden);
  });
}

static void gateUpTask(const Phase& p, int task, Worker& worker) {
  const Command& c = *p.command;
  const Matrix &gate = c.weights[0], &up = c.weights[1];
  const int64_t L = c.in[0].rows;
  const Cut k = cutBoth(gate, up, L, p.step->threads);
  const int64_t p0 = task % k.panelChunks * k.panels, t0 = task / k.panelChunks * k.tokens;
  const int64_t p1 = p0 + k.panels < gate.panels() ? p0 + k.panels : gate.panels(), t1 = t0 + k.tokens < L ? t0 + k.tokens : L;
  const uint8_t* x[2] = {p.step->scratch + p.args[(int)formOf(gate.dtype)], p.step->scratch + p.args[(int)formOf(up.dtype)]};
  multiplyGateUp(gate, up, 0, p0, p1, x[0], x[1], t0, t1, L, (float*)worker.local,
                 [&](int64_t panel, int64_t t, int T, const float* out) { emitRows(c, *p.step, c.out[0], gate.rows, panel, t, T, out); });
}

static void planGateUp(const Command& c, Step& step) {
  const Tensor& x = c.in[0];
  Forms forms;
  for (int i = 0; i < 2; i++) forms.want(formOf(c.weights[i].dtype), x.rows, x.columns);
  step.needScratch(forms.bytes);
  planPrepare(c, forms, step);
  const Cut k = cutBoth(c.weights[0], c.weights[1], x.rows, step.threads);
  step.needLocal(k.panels * k.tokens * panelRows * 4);
  Phase& p = step.add(gateUpTask, c, x.rows == 0 ? 0 : k.tasks());
  memcpy(p.args, forms.offsets, sizeof forms.offsets);
}

}  // namespace jamba::JAMBA_LEVEL
