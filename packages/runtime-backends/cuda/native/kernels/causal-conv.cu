// out = silu(bias + Σ weight[k] x[t - dConv + 1 + k]), a thread 8 tokens of a channel, whose last dConv values it keeps in registers. What lies
// before its tokens is x itself; before the step's first token it is the window, which the thread of the first 8 tokens alone reads and renews.
#include "../parts.h"

struct Params {
  const int* step;
  const float* x;
  const float* weight;
  const float* bias;  // or null
  float* out;
  float* slots;
  int64_t slotWords, window;
  int xStride, dInner, dConv;
};

constexpr int run = 8, mostConv = 8;

KERNEL(causalConv, 128, Params) {
  const Sequence sequence = sequenceAt(p.step, blockIdx.z);
  const int d = blockIdx.x * 128 + threadIdx.x, first = sequence.from + blockIdx.y * run;
  if (d >= p.dInner || first >= sequence.to) return;
  const int before = p.dConv - 1;
  float* window = p.slots + sequence.slot * p.slotWords + p.window + (int64_t)d * before;
  const bool isFirst = blockIdx.y == 0;
  // Before the first token of the step, the oldest first.
  const auto seen = [&](int i) { return sequence.seen == 0 ? 0.0f : window[i]; };
  float weights[mostConv], last[mostConv];
#pragma unroll
  for (int k = 0; k < mostConv; k++) {
    const int at = k - (mostConv - p.dConv);  // weights stand at the end, behind zeros
    weights[k] = at < 0 ? 0 : p.weight[d * p.dConv + at];
    const int t = first - mostConv + k;
    last[k] = mostConv - k > before ? 0 : isFirst ? seen(before - (mostConv - k)) : p.x[(int64_t)t * p.xStride + d];
  }
  const float start = p.bias ? p.bias[d] : 0;
  for (int t = first; t < min(first + run, sequence.to); t++) {
#pragma unroll
    for (int k = 1; k < mostConv; k++) last[k - 1] = last[k];
    last[mostConv - 1] = p.x[(int64_t)t * p.xStride + d];
    float sum = start;
#pragma unroll
    for (int k = 0; k < mostConv; k++) sum = fmaf(weights[k], last[k], sum);
    p.out[(int64_t)t * p.dInner + d] = silu(sum);
  }
  if (!isFirst) return;
  const int n = sequence.to - sequence.from;
  for (int k = 0; k < before; k++) window[k] = n + k >= before ? p.x[(int64_t)(sequence.to + k - before) * p.xStride + d] : seen(k + n);
}
