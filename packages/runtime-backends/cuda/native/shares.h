// A long context is cut into shares, each a block's, which meet in attention-merge. As the host counts them (core's sharesOf).
#pragma once
#include "parts.h"

__device__ __forceinline__ int shareOf(const Sequence& sequence, int leastShare, int mostShares) {
  const int context = sequence.seen + sequence.to - sequence.from;
  return max(leastShare, ((context + mostShares - 1) / mostShares + 63) / 64 * 64);
}
