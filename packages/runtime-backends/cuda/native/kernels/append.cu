// Keys and values of a step go to their pages: a block a token.
#include "../kv.h"

struct Params {
  const int* step;
  const float* k;
  const float* v;
  uint8_t* pages;
  int64_t pageBytes, layer;
  int nKvHeads, pageTokens, rowBytes, kStride, vStride, headDim;
};

KERNEL_OF_DTYPE(append, 128, Params) {
  const int t = blockIdx.x;
  const Sequence sequence = sequenceAt(p.step, partOf(p.step, StepPart::sequenceOf)[t]);
  const int token = sequence.seen + t - sequence.from;
  const int page = partOf(p.step, StepPart::pages)[sequence.firstPage + token / p.pageTokens];
  const Pages all = {p.pages, p.pageBytes, p.layer, p.nKvHeads, p.pageTokens, p.rowBytes};
  const int columns = p.nKvHeads * p.headDim;
  for (int i = threadIdx.x; i < 2 * columns; i += 128) {
    const int isValue = i >= columns, column = i - isValue * columns;
    const float v = isValue ? p.v[(int64_t)t * p.vStride + column] : p.k[(int64_t)t * p.kStride + column];
    KV::put(all.rowOf(page, isValue, column / p.headDim, token), column % p.headDim, v);
  }
}
