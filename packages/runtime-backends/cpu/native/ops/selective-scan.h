//   Δ    = softplus(dt + dtBias)
//   h[t] = exp(Δ[t] A) h[t-1] + Δ[t] B[t] x[t]
//   y[t] = (C[t] · h[t] + D x[t]) · silu(z[t])
//
// Lanes are channels, so B and C are broadcast and nothing is summed across a vector. h and A lie as [dInner / 16][dState][16].
#pragma once
#include "causal-conv.h"

namespace jamba::JAMBA_LEVEL {

/** Tokens [from, to) of channels [d, d + n), n <= W. DState = 0: any, given by dState. */
template <int DState>
static void scanLanes(const Command& c, const Step& step, int64_t from, int64_t to, int64_t d, int n, float* state) {
  const int dState = DState ? DState : (int)c.weights[0].columns;
  const Tensor &x = c.in[0], &z = c.in[1], &dt = c.in[2], &B = c.in[3], &C = c.in[4];
  const float* A = (const float*)c.weights[0].panel(0, d / panelRows) + d % panelRows;
  const F32 D = loadFirst(c.weights[1].vector() + d, n), dtBias = loadFirst(c.weights[2].vector() + d, n);
  constexpr int nSums = 4;
  F32 h[DState ? DState : 1];
  if constexpr (DState > 0)
    for (int i = 0; i < DState; i++) h[i] = load(state + i * panelRows);
  for (int64_t t = from; t < to; t++) {
    const F32 u = loadFirst(step.at(x) + t * x.stride + d, n);
    const F32 delta = softplus(add(loadFirst(step.at(dt) + t * dt.stride + d, n), dtBias));
    const F32 input = mul(delta, u), rate = mul(delta, set1(log2e));
    const float *b = step.at(B) + t * B.stride, *cc = step.at(C) + t * C.stride;
    // Sums in turn, so that none waits for the one before it.
    F32 out[nSums] = {mul(D, u)};
    if constexpr (DState > 0) {
#pragma GCC unroll 16
      for (int i = 0; i < DState; i++) {
        h[i] = fma(exp2(mul(rate, load(A + i * panelRows))), h[i], mul(input, set1(b[i])));
        out[i % nSums] = fma(set1(cc[i]), h[i], out[i % nSums]);
      }
    } else {
      for (int i = 0; i < dState; i++) {
        const F32 next = fma(exp2(mul(rate, load(A + i * panelRows))), load(state + i * panelRows), mul(input, set1(b[i])));
        store(state + i * panelRows, next);
        out[i % nSums] = fma(set1(cc[i]), next, out[i % nSums]);
      }
    }
    const F32 y = add(add(out[0], out[1]), add(out[2], out[3]));
    storeFirst(step.at(c.out[0]) + t * c.out[0].stride + d, mul(y, silu(loadFirst(step.at(z) + t * z.stride + d, n))), n);
  }
  if constexpr (DState > 0)
    for (int i = 0; i < DState; i++) store(state + i * panelRows, h[i]);
}

static void selectiveScanTask(const Phase& p, int task, Worker&) {
  const Command& c = *p.command;
  const Step& step = *p.step;
  const LayerSpec& layer = step.states->layers[c.layer];
  const int64_t dInner = layer.ssm.dInner, dState = layer.ssm.dState, chunk = p.args[0], chunks = p.args[1];
  const Sequence& s = step.sequences[task / chunks];
  if (s.from == s.to) return;
  float* h = (float*)(s.slot + layer.offset) + StateLayout::convFloats(layer.ssm);
  const int64_t first = task % chunks * chunk, end = first + chunk < dInner ? first + chunk : dInner;
  if (s.seen == 0) memset(h + first * dState, 0, (roundUp(end, 16) - first) * dState * 4);
  for (int64_t from = s.from; from < s.to; from += blockTokens) {
    const int64_t to = from + blockTokens < s.to ? from + blockTokens : s.to;
    for (int64_t d = first; d < end; d += W) {
      const int n = end - d < W ? (int)(end - d) : W;
      float* state = h + d / 16 * 16 * dState + d % 16;
      if (dState == 16)
        scanLanes<16>(c, step, from, to, d, n, state);
      else
        scanLanes<0>(c, step, from, to, d, n, state);
    }
  }
}

static void planSelectiveScan(const Command& c, Step& step) {
  const int64_t dInner = step.states->layers[c.layer].ssm.dInner, chunk = channelChunk(dInner, c.in[0].rows, step.threads);
  Phase& p = step.add(selectiveScanTask, c, (int64_t)step.sequences.size() * ((dInner + chunk - 1) / chunk));
  p.args[0] = chunk, p.args[1] = (dInner + chunk - 1) / chunk;
}

}  // namespace jamba::JAMBA_LEVEL
