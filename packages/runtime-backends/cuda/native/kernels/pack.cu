// Stored rows into the layout of a weight (weights.h), a thread a block of 32 columns. What is stored as the weight has it stays to the bit; of
// numbers each block's scale is searched for. What fills up a row is 0.
#include "../parts.h"

struct Params {
  const uint8_t* raw;
  uint8_t* data;
  uint8_t* scales;
  int columns, blocks, rows;
  // Of numbers: 0 f32, 1 bf16, 2 f16
  int stored;
};

struct Block {
  int64_t row, at;
  int block;
  /** Columns that there are. */
  int count;
  float x[32];
};

__device__ __forceinline__ bool find(const Params& p, Block& b) {
  b.at = flatIndex();
  if (b.at >= (int64_t)p.rows * p.blocks) return false;
  b.row = b.at / p.blocks, b.block = b.at % p.blocks;
  b.count = min(32, max(0, p.columns - 32 * b.block));
  return true;
}
__device__ __forceinline__ bool findNumbers(const Params& p, Block& b) {
  if (!find(p, b)) return false;
  const int64_t first = b.row * p.columns + 32 * b.block;
  for (int i = 0; i < 32; i++) {
    const int64_t at = first + i;
    b.x[i] = i >= b.count ? 0 : p.stored == 0 ? ((const float*)p.raw)[at] : p.stored == 1 ? fromBf16(((const uint16_t*)p.raw)[at]) : fromF16(((const uint16_t*)p.raw)[at]);
  }
  return true;
}
/** The bytes of a stored block, or null where the row has none. */
__device__ __forceinline__ const uint8_t* rawBlock(const Params& p, const Block& b, int bytes) { return b.count == 32 ? p.raw + (b.row * (p.columns / 32) + b.block) * bytes : nullptr; }
/** Never 0: a block of zeros has zeros for integers. */
__device__ __forceinline__ uint32_t scaleBits(float v) {
  const float most = 65504;
  const uint32_t bits = toF16(fminf(fmaxf(v, -most), most));
  return (bits & 0x7fff) == 0 ? 1 : bits;
}
__device__ __forceinline__ uint8_t pair(float low, float high) { return (uint8_t)((int)low | (int)high << 4); }

KERNEL(packBf16, 128, Params) {
  Block b;
  if (!findNumbers(p, b)) return;
  for (int i = 0; i < 32; i++) ((uint16_t*)p.data)[32 * b.at + i] = (uint16_t)toBf16(b.x[i]);
}
KERNEL(packF16, 128, Params) {
  Block b;
  if (!findNumbers(p, b)) return;
  for (int i = 0; i < 32; i++) ((uint16_t*)p.data)[32 * b.at + i] = (uint16_t)toF16(b.x[i]);
}

KERNEL(packQ8, 128, Params) {
  Block b;
  if (!findNumbers(p, b)) return;
  float most = 0;
  for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(b.x[i]));
  const uint32_t scale = scaleBits(most / 127);
  const float step = fromF16(scale);
  for (int i = 0; i < 32; i++) ((int8_t*)p.data)[32 * b.at + i] = (int8_t)fminf(fmaxf(rintf(b.x[i] / step), -127.0f), 127.0f);
  ((uint16_t*)p.scales)[b.at] = (uint16_t)scale;
}

__device__ __forceinline__ float nibble(float v, float step, float low, float high) { return fminf(fmaxf(rintf(v / step), low), high); }

/** The scale with the least squared error among some near max|x| / 8, each improved by least squares for its own rounding: d = Σ x q / Σ q². */
KERNEL(packQ4, 128, Params) {
  Block b;
  if (!findNumbers(p, b)) return;
  float most = 0, best = 0, least = 3e38f;
  for (int i = 0; i < 32; i++)
    if (fabsf(b.x[i]) > fabsf(most)) most = b.x[i];
  for (int c = 0; c < 6 && most != 0; c++) {
    // The end with 8 steps goes to the side of the largest value; from 8.4 steps down to 6.9.
    float d = -most / (8.4f - 0.3f * (float)c), xq = 0, qq = 0, error = 0;
    for (int i = 0; i < 32; i++) {
      const float q = nibble(b.x[i], d, -8, 7);
      xq = fmaf(b.x[i], q, xq), qq = fmaf(q, q, qq);
    }
    if (qq > 0) d = xq / qq;
    for (int i = 0; i < 32; i++) {
      const float rest = b.x[i] - nibble(b.x[i], d, -8, 7) * d;
      error = fmaf(rest, rest, error);
    }
    if (error < least) least = error, best = d;
  }
  const uint32_t scale = scaleBits(best);
  const float step = fromF16(scale);
  for (int i = 0; i < 16; i++) p.data[16 * b.at + i] = pair(nibble(b.x[i], step, -8, 7) + 8, nibble(b.x[i + 16], step, -8, 7) + 8);
  ((uint16_t*)p.scales)[b.at] = (uint16_t)scale;
}

/** As q4: among some whose ends lie up to a step within the block's range, each improved by least squares for its own rounding. */
KERNEL(packQ4_1, 128, Params) {
  Block b;
  if (!findNumbers(p, b)) return;
  float low = b.x[0], high = b.x[0];
  for (int i = 1; i < 32; i++) low = fminf(low, b.x[i]), high = fmaxf(high, b.x[i]);
  const float range = high - low;
  float bestStep = 0, bestLow = low, least = 3e38f;
  for (int c = 0; c < 6 && range > 0; c++) {
    // (0, 0) (0, 1) (0, 2) (1, 0) (1, 1) (2, 0): thirtieths of the range off its ends.
    const float below = c < 3 ? 0 : c < 5 ? 1 : 2, above = (float)(c < 3 ? c : c < 5 ? c - 3 : 0);
    float step = range * (1 - (below + above) / 30) / 15, from = low + range * below / 30;
    float n1 = 0, n2 = 0, v1 = 0, vn = 0, error = 0;
    for (int i = 0; i < 32; i++) {
      const float v = b.x[i] - from, n = nibble(v, step, 0, 15);
      n1 += n, n2 = fmaf(n, n, n2), v1 += v, vn = fmaf(v, n, vn);
    }
    const float determinant = 32 * n2 - n1 * n1;
    if (determinant > 0) {
      step = (32 * vn - n1 * v1) / determinant;
      from += (v1 - step * n1) / 32;
    }
    for (int i = 0; i < 32; i++) {
      const float rest = b.x[i] - from - nibble(b.x[i] - from, step, 0, 15) * step;
      error = fmaf(rest, rest, error);
    }
    if (error < least) least = error, bestStep = step, bestLow = from;
  }
  const uint32_t scale = scaleBits(bestStep), minimum = toF16(bestLow);
  const float step = fromF16(scale), from = fromF16(minimum);
  for (int i = 0; i < 16; i++) p.data[16 * b.at + i] = pair(nibble(b.x[i] - from, step, 0, 15), nibble(b.x[i + 16] - from, step, 0, 15));
  ((uint32_t*)p.scales)[b.at] = scale | minimum << 16;
}

// What follows is stored so: blocks with their scales in front.

__device__ __forceinline__ void copyBlock(const Params& p, int scaleBytes, int dataBytes) {
  Block b;
  if (!find(p, b)) return;
  const uint8_t* raw = rawBlock(p, b, scaleBytes + dataBytes);
  for (int i = 0; i < scaleBytes; i++) p.scales[scaleBytes * b.at + i] = raw ? raw[i] : 0;
  for (int i = 0; i < dataBytes; i++) p.data[dataBytes * b.at + i] = raw ? raw[scaleBytes + i] : 0;
}
KERNEL(copyQ8, 128, Params) { copyBlock(p, 2, 32); }
KERNEL(copyQ4, 128, Params) { copyBlock(p, 2, 16); }
KERNEL(copyQ4_1, 128, Params) { copyBlock(p, 4, 16); }

/** Of 256 columns, whose nibbles lie two blocks in 32 bytes. */
KERNEL(copyQ4_k, 128, Params) {
  Block b;
  if (!find(p, b)) return;
  const int part = b.block % 8;
  const bool isThere = b.count == 32;
  const uint8_t* raw = p.raw + (b.row * (p.columns / 256) + b.block / 8) * 144;
  for (int i = 0; i < 2; i++) p.scales[2 * b.at + i] = isThere ? raw[2 * part + i] : 0;
  const uint8_t* from = raw + 16 + 32 * (part / 2);
  const int shift = 4 * (part % 2);
  for (int i = 0; i < 16; i++) p.data[16 * b.at + i] = isThere ? (from[i] >> shift & 15) | (from[i + 16] >> shift & 15) << 4 : 0;
}
