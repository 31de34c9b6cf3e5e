//   c[t, d] = silu(bias[d] + Σ_k weight[d, k] x[t - (dConv - 1) + k, d])
//
// Lanes are channels. The window of the slot, [dConv - 1][dInner16], holds the last inputs, oldest first.
#pragma once
#include "../simd.h"
#include "../step.h"

namespace jamba::JAMBA_LEVEL {

/** Tokens that go through the channels of a task together: their rows stay in cache, and each is read in one piece. */
constexpr int64_t blockTokens = 32;

/** Tokens [from, to) of channels [d, d + n), n <= W. DConv = 0: any width, given by dConv. */
template <int DConv>
static void convLanes(const Command& c, const Step& step, int64_t from, int64_t to, int64_t d, int n, float* window, int64_t windowStride) {
  const int dConv = DConv ? DConv : (int)c.weights[0].columns;
  const Tensor &x = c.in[0], &y = c.out[0];
  const float* w = (const float*)c.weights[0].panel(0, d / panelRows) + d % panelRows;
  const F32 bias = c.hasBias ? loadFirst(c.bias.vector() + d, n) : zero();
  F32 past[DConv ? DConv : 1];
  if constexpr (DConv > 0)
    for (int k = 0; k < DConv - 1; k++) past[k] = load(window + k * windowStride);
  for (int64_t t = from; t < to; t++) {
    const F32 now = loadFirst(step.at(x) + t * x.stride + d, n);
    F32 sum = fma(load(w + (dConv - 1) * panelRows), now, bias);
    for (int k = 0; k < dConv - 1; k++) sum = fma(load(w + k * panelRows), DConv ? past[DConv ? k : 0] : load(window + k * windowStride), sum);
    storeFirst(step.at(y) + t * y.stride + d, silu(sum), n);
    if constexpr (DConv > 0) {
      for (int k = 0; k + 1 < DConv - 1; k++) past[k] = past[k + 1];
      if (DConv > 1) past[DConv - 2] = now;
    } else if (dConv > 1) {
      for (int k = 0; k + 1 < dConv - 1; k++) store(window + k * windowStride, load(window + (k + 1) * windowStride));
      store(window + (dConv - 2) * windowStride, now);
    }
  }
  if constexpr (DConv > 0)
    for (int k = 0; k < DConv - 1; k++) store(window + k * windowStride, past[k]);
}

static void causalConvTask(const Phase& p, int task, Worker&) {
  const Command& c = *p.command;
  const Step& step = *p.step;
  const LayerSpec& layer = step.states->layers[c.layer];
  const int64_t dInner = layer.ssm.dInner, stride = roundUp(dInner, 16), chunk = p.args[0], chunks = p.args[1];
  const Sequence& s = step.sequences[task / chunks];
  if (s.from == s.to) return;
  float* window = (float*)(s.slot + layer.offset);
  const int64_t first = task % chunks * chunk, end = first + chunk < dInner ? first + chunk : dInner;
  if (s.seen == 0)
    for (int k = 0; k < layer.ssm.dConv - 1; k++) memset(window + k * stride + first, 0, (roundUp(end, 16) - first) * 4);
  for (int64_t from = s.from; from < s.to; from += blockTokens) {
    const int64_t to = from + blockTokens < s.to ? from + blockTokens : s.to;
    for (int64_t d = first; d < end; d += W) {
      const int n = end - d < W ? (int)(end - d) : W;
      if (layer.ssm.dConv == 4)
        convLanes<4>(c, step, from, to, d, n, window + d, stride);
      else
        convLanes<0>(c, step, from, to, d, n, window + d, stride);
    }
  }
}

/** Channels a task takes: whole cache lines of every row, and fewer tasks when there is little to do. */
JAMBA_INLINE int64_t channelChunk(int64_t dInner, int64_t tokens, int threads) {
  const int64_t share = roundUp((dInner + 4 * threads) / (4 * threads), 16);  // not 0, even for no channel
  return tokens >= 16 && share > 256 ? 256 : share;
}

static void planCausalConv(const Command& c, Step& step) {
  const int64_t dInner = step.states->layers[c.layer].ssm.dInner, chunk = channelChunk(dInner, c.in[0].rows, step.threads);
  Phase& p = step.add(causalConvTask, c, (int64_t)step.sequences.size() * ((dInner + chunk - 1) / chunk));
  p.args[0] = chunk, p.args[1] = (dInner + chunk - 1) / chunk;
}

}  // namespace jamba::JAMBA_LEVEL
