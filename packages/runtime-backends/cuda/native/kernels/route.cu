// Of each token the nActive experts with the largest logits, ties to the lower one, and their shares of the softmax over all experts, which do
// not sum to 1. A warp a token; a lane has every 32nd expert, and remembers by bits which of them are taken: 1,024 experts at most.
#include "../parts.h"

struct Params {
  const float* logits;
  int* experts;
  float* weights;
  int logitsStride, L, nExperts, nActive;
};

KERNEL(route, 128, Params) {
  const int token = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (token >= p.L) return;
  const float* logits = p.logits + (int64_t)token * p.logitsStride;
  float most = -3e38f;
  for (int e = lane; e < p.nExperts; e += 32) most = fmaxf(most, logits[e]);
  most = warpMax(most);
  float sum = 0;
  for (int e = lane; e < p.nExperts; e += 32) sum += expf(logits[e] - most);
  sum = warpSum(sum);
  uint32_t taken = 0;
  for (int j = 0; j < p.nActive; j++) {
    int best = p.nExperts;
    float value = 0;
    for (int e = lane; e < p.nExperts; e += 32)
      if (!(taken >> (e / 32) & 1) && (best == p.nExperts || logits[e] > value)) best = e, value = logits[e];
    for (int mask = 16; mask > 0; mask >>= 1) {
      const int other = shuffleXor(best, mask);
      const float otherValue = shuffleXor(value, mask);
      const bool isBetter = other < p.nExperts && (best == p.nExperts || otherValue > value || (otherValue == value && other < best));
      if (isBetter) best = other, value = otherValue;
    }
    // Of logits that are no numbers lanes may each think another one best.
    if (lane == 0) {
      p.experts[(int64_t)token * p.nActive + j] = best;
      p.weights[(int64_t)token * p.nActive + j] = expf(value - most) / sum;
    }
    if (best % 32 == lane) taken |= 1u << (best / 32);
  }
}
