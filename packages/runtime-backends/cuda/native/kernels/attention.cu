// softmax(q Kᵀ / sqrt(headDim)) V over all that a token sees, in one pass with a running maximum and sum. A block has a query head of a token
// and a share of the context; its warps take four keys at a time by turns, a lane every 32nd column of them, and meet in shared memory.
#include "../kv.h"
#include "../shares.h"

struct Params {
  const int* step;
  const float* q;
  float* out;
  float* found;  // [L, nHeads, mostShares, headDim + 2]: the largest score, the sum of exponentials, and values weighted by them
  uint8_t* pages;
  int64_t pageBytes, layer;
  int nKvHeads, pageTokens, rowBytes, qStride, outStride, nHeads, headDim, leastShare, mostShares;
  float scale;
};

constexpr int warps = 4, most = 8;  // columns of a lane: headDim is 256 at most

KERNEL_OF_DTYPE(attention, 128, Params) {
  __shared__ float maxima[warps];
  __shared__ float totals[warps];
  __shared__ float values[warps][32 * most];
  const int head = blockIdx.x, t = blockIdx.y, share = blockIdx.z;
  const Sequence sequence = sequenceAt(p.step, partOf(p.step, StepPart::sequenceOf)[t]);
  const int length = shareOf(sequence, p.leastShare, p.mostShares), context = sequence.seen + t - sequence.from + 1;
  const int begin = share * length, end = min(begin + length, context);
  // Of a token that does not see so far, the merge knows the same.
  if (begin >= end) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, kvHead = head * p.nKvHeads / p.nHeads;
  const Pages all = {p.pages, p.pageBytes, p.layer, p.nKvHeads, p.pageTokens, p.rowBytes};
  const int* table = partOf(p.step, StepPart::pages) + sequence.firstPage;
  float q[most], y[most] = {};
#pragma unroll
  for (int i = 0; i < most; i++) {
    const int column = lane + 32 * i;
    q[i] = column < p.headDim ? 1.4426950408889634f * p.scale * p.q[(int64_t)t * p.qStride + head * p.headDim + column] : 0;
  }
  float top = -3e38f, total = 0;
  for (int first = begin + 4 * warp; first < end; first += 4 * warps) {
    float scores[4];
    const uint8_t* vs[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int key = min(first + j, end - 1), page = table[key / p.pageTokens];
      const uint8_t* k = all.rowOf(page, 0, kvHead, key);
      vs[j] = all.rowOf(page, 1, kvHead, key);
      scores[j] = 0;
#pragma unroll
      for (int i = 0; i < most; i++)
        if (lane + 32 * i < p.headDim) scores[j] = fmaf(q[i], KV::get(k, lane + 32 * i), scores[j]);
    }
    float now = top;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      scores[j] = warpSum(scores[j]);
      if (first + j < end) now = fmaxf(now, scores[j]);
    }
    const float keep = exp2f(fmaxf(top - now, -150.0f));
    top = now;
    total *= keep;
#pragma unroll
    for (int i = 0; i < most; i++) y[i] *= keep;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      if (first + j >= end) continue;
      const float weight = exp2f(scores[j] - now);
      total += weight;
#pragma unroll
      for (int i = 0; i < most; i++)
        if (lane + 32 * i < p.headDim) y[i] = fmaf(weight, KV::get(vs[j], lane + 32 * i), y[i]);
    }
  }
  if (lane == 0) maxima[warp] = top, totals[warp] = total;
#pragma unroll
  for (int i = 0; i < most; i++) values[warp][lane + 32 * i] = y[i];
  __syncthreads();
  float last = maxima[0];
  for (int w = 1; w < warps; w++) last = fmaxf(last, maxima[w]);
  float sum = 0, factors[warps];
#pragma unroll
  for (int w = 0; w < warps; w++) {
    factors[w] = exp2f(fmaxf(maxima[w] - last, -150.0f));
    sum = fmaf(factors[w], totals[w], sum);
  }
  const bool isWhole = length >= sequence.seen + sequence.to - sequence.from;
  float* found = p.found + (((int64_t)t * p.nHeads + head) * p.mostShares + share) * (p.headDim + 2);
  float* out = p.out + (int64_t)t * p.outStride + head * p.headDim;
  if (!isWhole && threadIdx.x == 0) found[0] = last, found[1] = sum;
  for (int column = threadIdx.x; column < p.headDim; column += 128) {
    float v = 0;
#pragma unroll
    for (int w = 0; w < warps; w++) v = fmaf(factors[w], values[w][column], v);
    if (isWhole) {
      out[column] = v / sum;
    } else {
      found[2 + column] = v;
    }
  }
}
