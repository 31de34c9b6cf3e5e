// Words made of other words, the same for every instruction set that has no better one.
#pragma once
#include "shared.h"

namespace jamba::JAMBA_LEVEL {

/** Vectors in a panel of 16 rows. */
constexpr int V = 16 / W;
/** Bytes of one vector of 8-bit columns: W rows of 4. */
constexpr int vectorBytes = 4 * W;

JAMBA_INLINE F32 zero() { return set1(0.0f); }

/** The first n lanes; the rest is 0. */
JAMBA_INLINE F32 loadFirst(const float* p, int n) {
  if (n >= W) return load(p);
  float part[W] = {};
  for (int i = 0; i < n; i++) part[i] = p[i];
  return load(part);
}
JAMBA_INLINE void storeFirst(float* p, F32 v, int n) {
  if (n >= W) return store(p, v);
  float part[W];
  store(part, v);
  for (int i = 0; i < n; i++) p[i] = part[i];
}

// ---- 16-bit floats

JAMBA_INLINE void storeBf16(uint16_t* p, F32 v) {
  float part[W];
  store(part, v);
  for (int i = 0; i < W; i++) p[i] = toBf16(part[i]);
}
#if !JAMBA_AVX512_BF16
/** 2 W values as W words of two bf16 each. */
JAMBA_INLINE void storePairs(uint32_t* words, const float* x) {
  storeBf16((uint16_t*)words, load(x));
  storeBf16((uint16_t*)words + W, load(x + W));
}
JAMBA_INLINE F32 dotBf16(F32 s, I32, const void*) { return s; }
#endif

// ---- dot products

#if !JAMBA_WASM
/** Whether activations that meet q8 lie as positive amounts and amounts of negative ones. */
constexpr bool splitsSigns = false;
/** Never called where they don't. */
JAMBA_INLINE int32_t storeSigns(int8_t*, const int32_t*) { return 0; }
/** As loadF16, of what is finite. */
JAMBA_INLINE F32 loadScale(const uint16_t* p) { return loadF16(p); }
#endif

#if !JAMBA_AVX2
// q4_k: sums of 32 columns times the block's whole scale, 1 … 63, over 2^n for n in 0 … 6, times 64.
using Scaled = F32;
using Scales = F32;
JAMBA_INLINE Scales loadScales(const uint8_t* p) { return bytesToFloat(p); }
JAMBA_INLINE int32_t scaleFactor(int n) { return (n - 6) * (1 << 23); }
JAMBA_INLINE Scaled addScaled(Scaled total, Sum4 s, Scales w, int32_t factor) {
  static constexpr int32_t none = 0;
  return fma(toFloat(total4(s, &none)), overPow2(w, factor), total);
}
JAMBA_INLINE F32 scaledToFloat(Scaled total) { return total; }
#endif

// ---- functions

#if !JAMBA_AVX512
/** y as a whole number and the rest, within 1 / 2 of 0; below -126 and above 127 it is taken for those. */
struct Power {
  I32 whole;
  F32 rest;
};
JAMBA_INLINE Power powerOf(F32 y) {
  y = min(set1(127.0f), max(set1(-126.0f), y));  // in this order a NaN stays one
  const I32 n = toInt(y);
  return {n, fma(toFloat(n), set1(-1.0f), y)};
}
JAMBA_INLINE F32 raise(F32 v, I32 n) { return mul(v, pow2(n)); }
#endif

/** 2^r on |r| <= 1 / 2, the highest power first, exact at 0, fitted for the least relative error: below 8e-8 before rounding. */
constexpr float exp2Terms[] = {0.00132647267643663f, 0.0096715126747475f, 0.0555073374468558f, 0.24022242084610124f, 0.6931469775981765f, 1.0f};
JAMBA_INLINE F32 exp2OfRest(F32 r) {
  F32 p = set1(exp2Terms[0]);
#pragma GCC unroll 8
  for (int i = 1; i < 6; i++) p = fma(p, r, set1(exp2Terms[i]));
  return p;
}
/** 2^y, with a relative error below 2e-7. Below 2^-126 it may end at 2^-126, above 2^127 at 2^127. */
JAMBA_INLINE F32 exp2(F32 y) {
  const Power power = powerOf(y);
  return raise(exp2OfRest(power.rest), power.whole);
}

constexpr float log2e = 1.44269504f;
/** e^x, with a relative error below 2e-7 (1 + |x|). */
JAMBA_INLINE F32 exp(F32 x) { return exp2(mul(x, set1(log2e))); }

/** x / (1 + e^-x) */
JAMBA_INLINE F32 silu(F32 x) { return div(x, add(set1(1.0f), exp(mul(x, set1(-1.0f))))); }

/** log(1 + e^x) = max(x, 0) + log1p(e^-|x|), where log1p(u) = 2 atanh(u / (2 + u)). */
JAMBA_INLINE F32 softplus(F32 x) {
  F32 u = exp(mul(abs(x), set1(-1.0f)));
  F32 s = div(u, add(u, set1(2.0f)));
  F32 t = mul(s, s);
  // 2 atanh(s) / s in s² on [0, 1/9].
  F32 p = fma(set1(0.2818533392918389f), t, set1(0.2795924050899054f));
  p = fma(p, t, set1(0.40024991448260544f));
  p = fma(p, t, set1(0.6666631317788762f));
  p = fma(p, t, set1(2.000000007962674f));
  return fma(p, s, max(x, zero()));
}

}  // namespace jamba::JAMBA_LEVEL
