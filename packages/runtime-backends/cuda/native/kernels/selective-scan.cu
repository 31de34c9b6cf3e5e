// Δ = softplus(dt + dtBias); h = exp(Δ A) h + Δ B x; out = (C · h + D x) · silu(z).
//
// Lanes that are neighbours share a channel, each with 4 or 8 of its states in registers, so that a channel of 16 states has 4 lanes; they meet
// by shuffles, and no thread waits for its block. e^(Δ A) is 2^(Δ · A log2 e), with A scaled once.
#include "../parts.h"

struct Params {
  const int* step;
  const float* x;
  const float* z;
  const float* dt;
  const float* B;
  const float* C;
  const float* A;
  const float* D;
  const float* dtBias;
  float* out;
  float* slots;
  int64_t slotWords, h;
  int xStride, zStride, dtStride, BStride, CStride, dInner, dState, lanes;
};

template <int S>
__device__ __forceinline__ void scan(const Params& p) {
  const Sequence sequence = sequenceAt(p.step, blockIdx.y);
  const int lane = threadIdx.x % p.lanes, channel = (blockIdx.x * 128 + threadIdx.x) / p.lanes;
  // Lanes without a channel go along, since their warp waits for them.
  const bool isThere = channel < p.dInner;
  const int d = isThere ? channel : p.dInner - 1;
  const int rowWords = (p.dState + 3) / 4 * 4;
  float* held = p.slots + sequence.slot * p.slotWords + p.h + (int64_t)d * rowWords;
  float a[S], h[S];
#pragma unroll
  for (int i = 0; i < S; i++) {
    const int n = lane * S + i;
    a[i] = n < p.dState ? 1.4426950408889634f * p.A[(int64_t)d * p.dState + n] : 0;
    h[i] = n < p.dState && sequence.seen > 0 ? held[n] : 0;
  }
  const float skip = p.D[d], bias = p.dtBias[d];
  for (int t = sequence.from; t < sequence.to; t++) {
    const float x = p.x[(int64_t)t * p.xStride + d], delta = softplus(p.dt[(int64_t)t * p.dtStride + d] + bias);
    const float* B = p.B + (int64_t)t * p.BStride;
    const float* C = p.C + (int64_t)t * p.CStride;
    float y = 0;
#pragma unroll
    for (int i = 0; i < S; i++) {
      const int n = lane * S + i;
      if (n >= p.dState) continue;
      h[i] = fmaf(exp2f(delta * a[i]), h[i], delta * x * B[n]);
      y = fmaf(C[n], h[i], y);
    }
    for (int mask = p.lanes / 2; mask > 0; mask >>= 1) y += shuffleXor(y, mask);
    if (isThere && lane == 0) p.out[(int64_t)t * p.dInner + d] = fmaf(skip, x, y) * silu(p.z[(int64_t)t * p.zStride + d]);
  }
  if (!isThere || sequence.from == sequence.to) return;
#pragma unroll
  for (int i = 0; i < S; i++)
    if (lane * S + i < rowWords) held[lane * S + i] = h[i];
}

KERNEL(selectiveScan4, 128, Params) { scan<4>(p); }
KERNEL(selectiveScan8, 128, Params) { scan<8>(p); }
