// Rows of a checkpoint into panels: rounding and quantising happen here, once.
#pragma once
#include "simd.h"
#include "step.h"

namespace jamba::JAMBA_LEVEL {

JAMBA_INLINE uint16_t nearestF16(float v) {
  uint16_t half[W];
  storeF16(half, set1(v > 65504.0f ? 65504.0f : v < -65504.0f ? -65504.0f : v));
  return half[0];
}

/** Never 0, so that kernels may take powers of two off its exponent; a block of zeros has zeros for q. */
JAMBA_INLINE uint16_t nearestScale(float v) {
  const uint16_t scale = nearestF16(v);
  return scale & 0x7fff ? scale : 1;
}

/** q = round(x / d) within [low, high]; what is left of x after that, squared and summed. */
JAMBA_INLINE float quantise(const float* x, float d, float low, float high, float* q, float* xq, float* qq) {
  const F32 inverse = set1(d == 0 ? 0.0f : 1.0f / d), step = set1(d);
  F32 error = zero(), products = zero(), squares = zero();
  for (int i = 0; i < blockColumns; i += W) {
    const F32 v = load(x + i);
    const F32 n = toFloat(toInt(min(set1(high), max(set1(low), mul(v, inverse)))));
    const F32 rest = fma(mul(n, set1(-1.0f)), step, v);
    error = fma(rest, rest, error);
    products = fma(v, n, products);
    squares = fma(n, n, squares);
    store(q + i, n);
  }
  *xq = sum(products), *qq = sum(squares);
  return sum(error);
}

/**
 * The scale of a block of -8 … 7 with the least squared error among some near max|x| / 8, each improved by
 * least squares for its own rounding: d = Σ x q / Σ q².
 */
JAMBA_INLINE float scaleOfQ4(const float* x) {
  float most = 0;
  for (int i = 0; i < blockColumns; i++)
    if (__builtin_fabsf(x[i]) > __builtin_fabsf(most)) most = x[i];
  if (!(__builtin_fabsf(most) > 0)) return 0;
  float best = 0, least = __builtin_inff(), q[blockColumns], xq, qq;
  for (int i = 0; i < 6; i++) {
    // The end with 8 steps goes to the side of the largest value; from 8.4 steps down to 6.9.
    float d = -most / (8.4f - 0.3f * i);
    quantise(x, d, -8, 7, q, &xq, &qq);
    if (qq > 0) d = xq / qq;
    const float error = quantise(x, d, -8, 7, q, &xq, &qq);
    if (error < least) least = error, best = d;
  }
  return best;
}

/** 16 rows [16][columns64] of f32, filled up with zeros, into one panel. */
static void packPanel(uint8_t* panel, Dtype dtype, const float* rows, int64_t columns) {
  const int64_t stride = roundUp(columns, 64);
  for (int r = 0; r < panelRows; r++) {
    const float* row = rows + r * stride;
    switch (dtype) {
      case Dtype::f32:
        for (int64_t k = 0; k < columns; k++) ((float*)panel)[k * panelRows + r] = row[k];
        break;
      case Dtype::f16: {
        uint16_t half[W];
        for (int64_t k = 0; k < columns; k += W) {
          storeF16(half, load(row + k));
          for (int i = 0; i < W && k + i < columns; i++) ((uint16_t*)panel)[(k + i) * panelRows + r] = half[i];
        }
        break;
      }
      case Dtype::bf16:
        for (int64_t k = 0; k < roundUp(columns, 2); k++) ((uint16_t*)panel)[(k / 2 * panelRows + r) * 2 + k % 2] = toBf16(row[k]);
        break;
      case Dtype::q8:
        for (int64_t b = 0; b < stride / blockColumns; b++) {
          const float* x = row + b * blockColumns;
          F32 most = zero();
          for (int i = 0; i < blockColumns; i += W) most = max(most, abs(load(x + i)));
          Q8Block& to = ((Q8Block*)panel)[b / 2 * groupedPanels];
          const uint16_t scale = nearestScale(largest(most) / 127.0f);
          float q[blockColumns], xq, qq;
          quantise(x, scalarF16(scale), -127, 127, q, &xq, &qq);
          for (int i = 0; i < blockColumns; i++) to.q[b % 2][i / 4][4 * r + i % 4] = (uint8_t)((int)q[i] + 128);
          to.scale[b % 2][r] = scale;
        }
        break;
      case Dtype::q4:
        for (int64_t b = 0; b < stride / blockColumns; b++) {
          const float* x = row + b * blockColumns;
          Q4Block& to = ((Q4Block*)panel)[b / 2 * groupedPanels];
          const uint16_t scale = nearestScale(scaleOfQ4(x));
          float q[blockColumns], xq, qq;
          quantise(x, scalarF16(scale), -8, 7, q, &xq, &qq);
          for (int u = 0; u < 4; u++)
            for (int i = 0; i < 4; i++)
              to.q[b % 2][u][4 * r + i] = (uint8_t)((int)q[8 * u + i] + 8 + 16 * ((int)q[8 * u + 4 + i] + 8));
          to.scale[b % 2][r] = scale;
        }
        break;
    }
  }
}

/** n values of a checkpoint's format as f32. */
static void decode(float* to, const uint8_t* from, Dtype dtype, int64_t n) {
  if (n == 0) return;
  if (dtype == Dtype::f32) {
    memcpy(to, from, n * 4);
    return;
  }
  for (int64_t i = 0; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    uint16_t half[W] = {};
    memcpy(half, from + i * 2, count * 2);
    storeFirst(to + i, dtype == Dtype::f16 ? loadF16(half) : loadBf16(half), count);
  }
}

/** n f32 values in f16, where what is beyond its range stays at its end, or bf16. */
static void encode(uint8_t* to, const float* from, Dtype dtype, int64_t n) {
  for (int64_t i = 0; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    uint16_t half[W];
    if (dtype == Dtype::f16)
      storeF16(half, min(set1(65504.0f), max(set1(-65504.0f), loadFirst(from + i, count))));
    else
      storeBf16(half, loadFirst(from + i, count));
    memcpy(to + i * 2, half, count * 2);
  }
}

}  // namespace jamba::JAMBA_LEVEL
