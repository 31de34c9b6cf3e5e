// Logits of the ids that a step asks for, whatever they are.
#include "../parts.h"

struct Params {
  const int* step;
  const float* logits;
  int logitsStride;
  float* results;
  int output;
};

KERNEL(asked, 128, Params) {
  const int64_t i = flatIndex();
  if (i >= sizeOf(p.step, StepPart::asked) / 2) return;
  const int* pair = partOf(p.step, StepPart::asked) + 2 * i;
  p.results[partOf(p.step, StepPart::outputs)[p.output] + i] = p.logits[(int64_t)pair[0] * p.logitsStride + pair[1]];
}
