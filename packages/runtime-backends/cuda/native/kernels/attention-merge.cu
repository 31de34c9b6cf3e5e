// What shares of a context found becomes one head's: a block a head of a token. Of contexts in one share there is nothing to do.
#include "../shares.h"

struct Params {
  const int* step;
  const float* found;
  float* out;
  int outStride, nHeads, headDim, leastShare, mostShares;
};

KERNEL(attentionMerge, 128, Params) {
  const int head = blockIdx.x, t = blockIdx.y;
  const Sequence sequence = sequenceAt(p.step, partOf(p.step, StepPart::sequenceOf)[t]);
  const int length = shareOf(sequence, p.leastShare, p.mostShares);
  if (length >= sequence.seen + sequence.to - sequence.from) return;
  const int context = sequence.seen + t - sequence.from + 1, shares = (context + length - 1) / length;
  const float* found = p.found + ((int64_t)t * p.nHeads + head) * p.mostShares * (p.headDim + 2);
  const int stride = p.headDim + 2;
  float last = found[0];
  for (int i = 1; i < shares; i++) last = fmaxf(last, found[i * stride]);
  float sum = 0;
  for (int i = 0; i < shares; i++) sum = fmaf(exp2f(fmaxf(found[i * stride] - last, -150.0f)), found[i * stride + 1], sum);
  for (int column = threadIdx.x; column < p.headDim; column += 128) {
    float v = 0;
    for (int i = 0; i < shares; i++) v = fmaf(exp2f(fmaxf(found[i * stride] - last, -150.0f)), found[i * stride + 2 + column], v);
    p.out[(int64_t)t * p.outStride + head * p.headDim + column] = v / sum;
  }
}
