// Rows of a checkpoint into panels: rounding and quantising happen here, once. Stored integers stay what they are where they can.
#pragma once
#include "blocks.h"

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

struct Affine {
  float scale, minimum;
};

/** One of GGML's blocks (encode-blocks.h); w [256]. */
static void encodeQ4K(const float* x, const float* w, uint8_t* block);

/** One of GGML's blocks as row r of ours. */
JAMBA_INLINE void placeQ4K(const uint8_t* block, Q4KBlock& to, int r) {
  memcpy(&to.superScale[r], block, 2), memcpy(&to.superMinimum[r], block + 2, 2);
  to.superMinimum[r] ^= 0x8000;
  for (int b = 0; b < 8; b++) {
    const ScaleK own = scaleK(block, b);
    // What a scale of 0 stands for is kept by integers that are.
    const uint32_t mask = own.scale == 0 ? 0 : 0x0f0f0f0f;
    to.scale[b][r] = own.scale == 0 ? 1 : (uint8_t)own.scale;
    to.minimum[b][r] = (uint8_t)own.minimum;
    // Two blocks share 32 bytes, in low and high nibbles.
    for (int u = 0; u < 4; u++) {
      uint32_t words[2];
      memcpy(words, block + 16 + b / 2 * 32 + 8 * u, 8);
      const int shift = 4 * (b % 2);
      const uint32_t word = (words[0] >> shift & mask) | (words[1] >> shift & mask) << 4;
      memcpy(to.q[b][u] + 4 * r, &word, 4);
    }
  }
}

/** The q = round((x - minimum) / scale) within 0 … 15 and its squared error; `better` has the least squared error for these q. */
JAMBA_INLINE float quantise(const float* x, Affine a, float* q, Affine* better) {
  const F32 inverse = set1(a.scale == 0 ? 0.0f : 1.0f / a.scale), step = set1(a.scale), low = set1(-a.minimum);
  F32 error = zero(), n1 = zero(), n2 = zero(), x1 = zero(), xn = zero();
  for (int i = 0; i < blockColumns; i += W) {
    const F32 v = add(load(x + i), low), n = toFloat(toInt(min(set1(15), max(zero(), mul(v, inverse)))));
    const F32 rest = fma(mul(n, set1(-1.0f)), step, v);
    error = fma(rest, rest, error);
    n1 = add(n1, n), n2 = fma(n, n, n2), x1 = add(x1, v), xn = fma(v, n, xn);
    store(q + i, n);
  }
  const float sumN = sum(n1), sumX = sum(x1), determinant = blockColumns * sum(n2) - sumN * sumN;
  if (determinant > 0) {
    better->scale = (blockColumns * sum(xn) - sumN * sumX) / determinant;
    better->minimum = a.minimum + (sumX - better->scale * sumN) / blockColumns;
  }
  return sum(error);
}

/** As scaleOfQ4: candidates have their ends up to a whole step within the block's range, in halves of a step. */
JAMBA_INLINE Affine affineOfQ4_1(const float* x) {
  F32 low = load(x), high = low;
  for (int i = W; i < blockColumns; i += W) low = min(low, load(x + i)), high = max(high, load(x + i));
  const float most = largest(high), least = -largest(mul(low, set1(-1.0f))), range = most - least;
  Affine best{0, least};
  if (!(range > 0)) return best;
  float smallest = __builtin_inff(), q[blockColumns];
  for (int i = 0; i < 3; i++)
    for (int j = 0; i + j < 3; j++) {
      Affine a{range * (1 - (i + j) / 30.0f) / 15, least + range * i / 30}, unused;
      quantise(x, a, q, &a);
      const float error = quantise(x, a, q, &unused);
      if (error < smallest) smallest = error, best = a;
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
      case Dtype::q4_1:
        for (int64_t b = 0; b < stride / blockColumns; b++) {
          const float* x = row + b * blockColumns;
          Q4_1Block& to = ((Q4_1Block*)panel)[b / 2 * groupedPanels];
          const Affine a = affineOfQ4_1(x);
          const uint16_t scale = nearestScale(a.scale), minimum = nearestF16(a.minimum);
          float q[blockColumns];
          Affine unused;
          quantise(x, {scalarF16(scale), scalarF16(minimum)}, q, &unused);
          for (int u = 0; u < 4; u++)
            for (int i = 0; i < 4; i++) to.q[b % 2][u][4 * r + i] = (uint8_t)((int)q[8 * u + i] + 16 * (int)q[8 * u + 4 + i]);
          to.scale[b % 2][r] = scale, to.minimum[b % 2][r] = minimum;
        }
        break;
      case Dtype::q4_k:
        for (int64_t k = 0; k < columns; k += superColumns) {
          const int64_t n = stride - k < superColumns ? stride - k : superColumns;
          float x[superColumns] = {}, alike[superColumns];
          memcpy(x, row + k, n * 4);
          for (float& w : alike) w = 1;
          uint8_t block[storedFormats[(int)Stored::q4_k].bytes];
          encodeQ4K(x, alike, block);
          placeQ4K(block, ((Q4KBlock*)panel)[k / superColumns * groupedPanels], r);
        }
        break;
    }
  }
}

/** Parts of 16 rows, or fewer, in the integers of q8 and one scale each: by least squares for the integers that max|x| / 127 gives. */
template <Stored S>
static void requantise(Part (&parts)[panelRows], int64_t count, float* scales) {
  alignas(64) float x[panelRows][blockColumns], inverse[panelRows] = {}, xq[panelRows] = {}, qq[panelRows] = {};
  // Rows come as lanes where something is divided. What is 0 stays so: 0 / tiny.
  const F32 tiny = set1(1e-30f);
  for (int64_t r = 0; r < count; r++) {
    F32 most = zero();
    for (int i = 0; i < blockColumns; i += W) {
      const F32 v = floatsOf<S>(parts[r], i);
      store(x[r] + i, v);
      most = max(most, abs(v));
    }
    inverse[r] = largest(most);
  }
  for (int r = 0; r < panelRows; r += W) store(inverse + r, div(set1(127.0f), max(tiny, load(inverse + r))));
  const auto rounded = [&](int64_t r, int i) { return toInt(min(set1(127.0f), max(set1(-127.0f), mul(load(x[r] + i), set1(inverse[r]))))); };
  for (int64_t r = 0; r < count; r++) {
    F32 products = zero(), squares = zero();
    for (int i = 0; i < blockColumns; i += W) {
      const F32 q = toFloat(rounded(r, i));
      products = fma(load(x[r] + i), q, products), squares = fma(q, q, squares);
    }
    xq[r] = sum(products), qq[r] = sum(squares);
  }
  for (int r = 0; r < panelRows; r += W) {
    uint16_t half[W];
    storeF16(half, min(set1(65504.0f), div(load(xq + r), max(tiny, load(qq + r)))));
    store(scales + r, loadF16(half));
    store(inverse + r, div(set1(1.0f), max(tiny, loadF16(half))));
  }
  for (int64_t r = 0; r < count; r++) {
    alignas(64) int32_t q[blockColumns];
    for (int i = 0; i < blockColumns; i += W) {
      const I32 n = rounded(r, i);
      memcpy(q + i, &n, sizeof n);
    }
    for (int i = 0; i < blockColumns; i++) parts[r].q[i] = (uint8_t)(q[i] + 128);
  }
}

/** Up to 16 rows of blocks into one panel without a detour over rows of f32. */
template <Stored S, class Block>
static void packParts(uint8_t* panel, const uint8_t* rows, int64_t count, int64_t columns) {
  constexpr StoredFormat format = storedFormats[(int)S];
  constexpr PartTraits traits = traitsOf(S);
  constexpr bool isQ8 = std::is_same_v<Block, Q8Block>, hasMinimum = std::is_same_v<Block, Q4_1Block>, keeps = !isQ8 || traits.isQ8();
  static_assert(isQ8 || (traits.scales == 1 && (hasMinimum || traits.zero == 8)));
  constexpr int partsOfBlock = format.values / blockColumns;
  // What makes integers counted from `zero` those of q8; sums of bytes do not carry.
  constexpr uint32_t shift = isQ8 && keeps ? 0x01010101u * (uint32_t)(128 - traits.zero) : 0;
  const int64_t rowBytes = storedBytes(S, columns);
  for (int64_t b = 0; b < roundUp(columns, 64) / blockColumns; b++) {
    Block& to = ((Block*)panel)[b / 2 * groupedPanels];
    const int half = (int)(b % 2);
    Part parts[panelRows];
    alignas(64) float scales[panelRows] = {}, minima[panelRows] = {};
    const int64_t present = b * blockColumns < columns ? count : 0;
    for (int64_t r = 0; r < present; r++) {
      openPart<S>(rows + r * rowBytes + b / partsOfBlock * format.bytes, (int)(b % partsOfBlock), parts[r]);
      scales[r] = parts[r].scale[0], minima[r] = parts[r].minimum[0] - parts[r].scale[0] * traits.zero;
    }
    if constexpr (!keeps) requantise<S>(parts, present, scales);
    for (int64_t r = 0; r < present; r++) {
      uint32_t words[blockColumns / 4];
      memcpy(words, parts[r].q, sizeof words);
      for (int u = 0; u < (isQ8 ? 8 : 4); u++) {
        const uint32_t word = isQ8 ? words[u] + shift : words[2 * u] | words[2 * u + 1] << 4;
        memcpy(to.q[half][u] + 4 * r, &word, 4);
      }
    }
    const F32 end = set1(65504.0f);
    for (int r = 0; r < panelRows; r += W) {
      storeF16(to.scale[half] + r, min(end, max(mul(end, set1(-1.0f)), load(scales + r))));
      if constexpr (hasMinimum) storeF16(to.minimum[half] + r, min(end, max(mul(end, set1(-1.0f)), load(minima + r))));
    }
    // No scale may be 0: what it stands for is kept by integers that do. So it is for what the shape lacks.
    for (int r = 0; r < panelRows; r++) {
      if (to.scale[half][r] & 0x7fff) continue;
      to.scale[half][r] = 1;
      for (int u = 0; u < (isQ8 ? 8 : 4); u++) memset(to.q[half][u] + 4 * r, isQ8 ? 128 : hasMinimum ? 0 : 0x88, 4);
    }
  }
}

/** Up to 16 rows of q4_k into one panel of the same numbers. */
static void packQ4K(uint8_t* panel, const uint8_t* rows, int64_t count, int64_t columns) {
  constexpr StoredFormat format = storedFormats[(int)Stored::q4_k];
  constexpr uint8_t none[format.bytes] = {};
  for (int64_t b = 0; b < columns / superColumns; b++)
    for (int r = 0; r < panelRows; r++)
      placeQ4K(r < count ? rows + r * storedBytes(Stored::q4_k, columns) + b * format.bytes : none, ((Q4KBlock*)panel)[b * groupedPanels], r);
}

/** n values of a checkpoint's format as f32; of blocks, whole ones. */
static void decode(float* to, const uint8_t* from, Stored stored, int64_t n) {
  if (n == 0) return;
  if (stored == Stored::f32) {
    memcpy(to, from, n * 4);
    return;
  }
  if (stored > Stored::f16) return withFormat(stored, [&](auto s) { decodeBlocks<s()>(to, from, n); });
  for (int64_t i = 0; i < n; i += W) {
    const int count = n - i < W ? (int)(n - i) : W;
    uint16_t half[W] = {};
    memcpy(half, from + i * 2, count * 2);
    storeFirst(to + i, stored == Stored::f16 ? loadF16(half) : loadBf16(half), count);
  }
}

/** `count` rows of a checkpoint, at most 16, into one panel. `local` has room for 16 rows [columns64] of f32. */
static void packRows(uint8_t* panel, Dtype dtype, const uint8_t* rows, Stored stored, int64_t count, int64_t columns, float* local) {
  bool packed = false;
  const auto pack = [&](auto packer) { packed = true, packer(panel, rows, count, columns); };
  withFormat(stored, [&](auto s) {
    if (dtype == Dtype::q8) pack(packParts<s(), Q8Block>);
    if constexpr (s() == Stored::q4_0)
      if (dtype == Dtype::q4) pack(packParts<s(), Q4Block>);
    if constexpr (s() == Stored::q4_0 || s() == Stored::q4_1 || s() == Stored::q4_k)
      if (dtype == Dtype::q4_1) pack(packParts<s(), Q4_1Block>);
    if constexpr (s() == Stored::q4_k)
      if (dtype == Dtype::q4_k) pack(packQ4K);
  });
  if (packed) return;
  const int64_t stride = roundUp(columns, 64), rowBytes = storedBytes(stored, columns);
  memset(local, 0, panelRows * stride * 4);
  for (int64_t r = 0; r < count; r++) decode(local + r * stride, rows + r * rowBytes, stored, columns);
  packPanel(panel, dtype, local, columns);
}

}  // namespace jamba::JAMBA_LEVEL
