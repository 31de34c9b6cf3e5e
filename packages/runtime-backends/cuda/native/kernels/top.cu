// The k largest logits of a row, best first, ties to the lower id, and sums over all finite ones: the largest, Σ e^(l - max),
// Σ e^(l - max) (max - l), Σ e^((l - max) / T), their count. Radix select over keys that rise with the logits, in 11, 11 and 10 bits; what
// is chosen goes to `found` in any order and finds its rank there. NaN and infinities count for nothing.
//
// Of a long row each block does this for its share, and then one block for what those found: equal ones stand there by their block, and within
// it by their rank, so in the order of their ids.
#include "../parts.h"

struct Params {
  const int* step;
  const float* logits;
  int* ids;       // [nRows, blocks, k]
  float* values;  // the same
  float* sums;    // [nRows, blocks, 5]
  int* foundIds;  // [nRows, blocks, k]
  float* foundValues;
  // What blocks found, to be merged: ids [nRows, length], sums [nRows, nParts, 5].
  const int* partIds;
  const float* partSums;
  int nParts, length, share, k, logitsStride;
};

constexpr int threads = 256;

/** 0 for what counts for nothing; -0 and 0 have one key. */
__device__ __forceinline__ uint32_t keyOf(float v) {
  uint32_t bits = floatToBits(v);
  if ((bits & 0x7fffffffu) >= 0x7f800000u) return 0;
  if (bits == 0x80000000u) bits = 0;
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/** Σ e^(l - max), Σ e^(l - max) (max - l), Σ e^((l - max) / T), and how many. */
struct Sums {
  float exps, gaps, tempered, count;
};

/** What `own` counts from `v` on, counted from `top`. */
__device__ __forceinline__ void add(Sums& sums, float v, float top, float T, const Sums& own) {
  // Halved, or the gap between two large logits would be infinite; e^-200 is 0.
  const float gap = 2 * fminf(top * 0.5f - v * 0.5f, 1.6e38f);
  const float weight = expf(-fminf(gap, 200.0f));
  sums.exps += own.exps * weight;
  if (gap < 150) sums.gaps += weight * (own.gaps + own.exps * gap);
  sums.tempered += own.tempered * expf(-fminf(gap, 200 * T) / T);
  sums.count += own.count;
}

__device__ __forceinline__ float blockSum(float* red, float v) {
  v = warpSum(v);
  if (threadIdx.x % 32 == 0) red[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < threads / 32; i++) sum += red[i];
  __syncthreads();
  return sum;
}

KERNEL(top, 256, Params) {
  __shared__ unsigned bins[2048];
  __shared__ float red[threads];
  __shared__ int ties[threads];
  __shared__ unsigned prefix, rest;
  __shared__ int count;
  const int l = threadIdx.x, row = blockIdx.y;
  const int first = blockIdx.x * p.share, V = min(p.share, p.length - first);
  const float* logits = p.logits + (int64_t)row * p.logitsStride + first;
  const int64_t slot = (int64_t)row * gridDim.x + blockIdx.x;
  int* foundIds = p.foundIds + slot * p.k;
  float* foundValues = p.foundValues + slot * p.k;
  if (l == 0) prefix = 0, rest = p.k, count = 0;
  for (int digit = 0; digit < 3; digit++) {
    const int shift = digit == 0 ? 21 : digit == 1 ? 10 : 0, width = digit == 2 ? 10 : 11;
    for (int i = l; i < 2048; i += threads) bins[i] = 0;
    __syncthreads();
    const unsigned above = prefix;
    for (int i = l; i < V; i += threads) {
      const uint32_t key = keyOf(logits[i]);
      if ((digit == 0 ? 0 : key >> (shift + width)) == above) atomicAdd(&bins[key >> shift & ((1u << width) - 1)], 1u);
    }
    __syncthreads();
    if (l == 0) {
      unsigned left = rest, bin = (1u << width) - 1;
      for (; bin > 0 && bins[bin] < left; bin--) left -= bins[bin];
      rest = left;
      prefix = above << width | bin;
    }
    __syncthreads();
  }
  const unsigned cut = prefix, tiesKept = rest;
  // Each thread has a run of ids and knows how many ties lie before it.
  const int per = (V + threads - 1) / threads, begin = min(V, l * per), end = min(V, begin + per);
  int mine = 0;
  float best = -3.4e38f;
  for (int i = begin; i < end; i++) {
    const uint32_t key = keyOf(logits[i]);
    mine += key == cut;
    if (key != 0) best = fmaxf(best, logits[i]);
  }
  ties[l] = mine;
  best = warpMax(best);
  if (l % 32 == 0) red[l / 32] = best;
  __syncthreads();
  for (int i = 0; i < threads / 32; i++) best = fmaxf(best, red[i]);
  unsigned before = 0;
  for (int i = 0; i < l; i++) before += ties[i];
  __syncthreads();
  const float T = bitsToFloat((uint32_t)partOf(p.step, StepPart::temperatures)[row]);
  Sums own = {0, 0, 0, 0};
  for (int i = l; i < p.nParts; i += threads) {
    const float* part = p.partSums + 5 * ((int64_t)row * p.nParts + i);
    if (part[4] > 0) add(own, part[0], best, T, {part[1], part[2], part[3], part[4]});
  }
  for (int i = begin; i < end; i++) {
    const float v = logits[i];
    const uint32_t key = keyOf(v);
    if (key == 0) continue;
    if (p.nParts == 0) add(own, v, best, T, {1, 0, 1, 1});
    if (key > cut || (key == cut && before < tiesKept)) {
      const int to = atomicAdd(&count, 1);
      foundIds[to] = p.nParts == 0 ? first + i : p.partIds[(int64_t)row * p.length + i];
      foundValues[to] = v;
    }
    before += key == cut;
  }
  const Sums sums = {blockSum(red, own.exps), blockSum(red, own.gaps), blockSum(red, own.tempered), blockSum(red, own.count)};
  if (l == 0) {
    float* to = p.sums + slot * 5;
    to[0] = sums.count > 0 ? best : bitsToFloat(0xff800000u);
    to[1] = sums.exps, to[2] = sums.gaps, to[3] = sums.tempered, to[4] = sums.count;
  }
  __syncthreads();
  const int chosen = count;
  for (int c = l; c < p.k; c += threads) {
    if (c >= chosen) {
      p.ids[slot * p.k + c] = -1;
      p.values[slot * p.k + c] = bitsToFloat(0xff800000u);
      continue;
    }
    const float v = foundValues[c];
    const int id = foundIds[c];
    int rank = 0;
    for (int b = 0; b < chosen; b++) rank += foundValues[b] > v || (foundValues[b] == v && foundIds[b] < id);
    p.ids[slot * p.k + rank] = id;
    p.values[slot * p.k + rank] = v;
  }
}
