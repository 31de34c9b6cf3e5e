// A value that came with the step's words.
#include "../parts.h"

struct Params {
  const int* step;
  int tensor, words;
  int* out;
};

KERNEL(input, 128, Params) {
  const int64_t i = flatIndex();
  if (i < p.words) p.out[i] = partOf(p.step, StepPart::tensors, p.tensor)[i];
}
