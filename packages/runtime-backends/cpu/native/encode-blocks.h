// f32 into GGML's blocks, with the least Σ w · error² that a search over scales finds. Candidates are lanes: each tries a scale of its
// own on all values of a part.
//
// loader/src/gguf/encode-blocks.ts is this search in TypeScript. It gives the same bytes, and so does every instruction set: sums over the
// values of a part are f32, in the order of the values and rounded after each product (no fma); what follows from those sums is f64.
#pragma once
#include "pack.h"

namespace jamba::JAMBA_LEVEL {

/** What f16 makes of a scale: never 0 unless the scale is. */
JAMBA_INLINE float heldScale(float v) { return v == 0 ? 0.0f : scalarF16(nearestScale(v)); }
JAMBA_INLINE void putF16(uint8_t* to, float held) {
  const uint16_t bits = nearestF16(held);
  memcpy(to, &bits, 2);
}
JAMBA_INLINE int clamped(float v, int low, int high) { return !(v > low) ? low : v < high ? (int)__builtin_rintf(v) : high; }
JAMBA_INLINE F32 nearestSteps(F32 v, float low, float high) { return toFloat(toInt(min(set1(high), max(set1(low), v)))); }

/** Sums of one candidate over a part, for its own steps q. */
struct FitSums {
  float error, q, qq, xq;
};

enum class Wants { error, sums, both };

/**
 * Steps q nearest to (x + minimum) / scale for `N` candidates, and what is wanted of them: Σ w (x + minimum - scale q)², or the sums
 * that a better scale follows from. Without `minima` these are 0.
 */
template <Wants wants, int N>
JAMBA_INLINE void trySteps(const float* x, const float* w, int n, float low, float high, const float (&scales)[N], const float* minima, FitSums* to) {
  static_assert(N % 16 == 0);
  for (int c = 0; c < N; c += W) {
    const F32 scale = load(scales + c), minimum = minima ? load(minima + c) : zero(), inverse = div(set1(1.0f), scale), minus = mul(scale, set1(-1.0f));
    F32 error = zero(), sumQ = zero(), qq = zero(), xq = zero();
    for (int i = 0; i < n; i++) {
      const F32 v = set1(x[i]), weight = set1(w[i]), raised = minima ? add(v, minimum) : v, q = nearestSteps(mul(raised, inverse), low, high);
      if constexpr (wants != Wants::sums) {
        const F32 rest = add(raised, mul(minus, q));
        error = add(error, mul(mul(weight, rest), rest));
      }
      if constexpr (wants != Wants::error) {
        const F32 wq = mul(weight, q);
        if (minima) sumQ = add(sumQ, wq);
        qq = add(qq, mul(wq, q)), xq = add(xq, mul(wq, v));
      }
    }
    alignas(64) float lanes[4][W];
    store(lanes[0], error), store(lanes[1], sumQ), store(lanes[2], qq), store(lanes[3], xq);
    for (int l = 0; l < W; l++) to[c + l] = {lanes[0][l], lanes[1][l], lanes[2][l], lanes[3][l]};
  }
}

constexpr int nTries = 32;
/** How often a candidate takes the scale that fits its steps best, and the steps nearest to that. A second time leaves a hundredth less. */
constexpr int nFits = 2;
/** Where the largest value lies in the steps' range: at its end (1), where what is exact stays so, within, or beyond, where it is cut off so that others fare better. */
JAMBA_INLINE float reachOf(int i) { return i < 18 ? (float)(39 + i) / 50 : (float)(5 + i) / 20; }
/** Half of the smallest scale that f16 has: what is no larger becomes 0 in every format. */
constexpr float nothing = 0x1p-25f;
/** Share of a determinant's terms below which it is but their rounding: all values lie on one step. */
constexpr double noise = 1e-6;
/** Tried in place of a scale of 0, which has no inverse: its steps are 0 beside any value. */
constexpr float nextToNothing = 1e-30f;

/** The candidate with the least error: of equals `first`, or else the earliest. */
template <int N>
JAMBA_INLINE int bestOf(const FitSums (&sums)[N], int first) {
  for (int i = 0; i < N; i++)
    if (sums[i].error < sums[first].error) first = i;
  return first;
}

/** The scale with the least Σ w (x - scale q)² for whole q in [low, high], as `hold` lets it be stored. Of either sign where the steps reach farther below 0. */
template <class Hold>
static float fitScale(const float* x, const float* w, int n, int low, int high, const Hold& hold) {
  float largest = 0;
  for (int i = 0; i < n; i++)
    if (__builtin_fabsf(x[i]) > __builtin_fabsf(largest)) largest = x[i];
  if (__builtin_fabsf(largest) <= nothing) return 0;
  float best = 0, least = __builtin_inff();
  for (const int end : {-low == high ? high : low, -low}) {
    float scales[nTries];
    FitSums sums[nTries];
    for (int i = 0; i < nTries; i++) scales[i] = largest / (reachOf(i) * (float)end);
    for (int fit = 0; fit < nFits; fit++) {
      trySteps<Wants::sums>(x, w, n, (float)low, (float)high, scales, nullptr, sums);
      for (int i = 0; i < nTries; i++) scales[i] = sums[i].xq / sums[i].qq;
    }
    for (float& scale : scales) scale = hold(scale);
    trySteps<Wants::error>(x, w, n, (float)low, (float)high, scales, nullptr, sums);
    const int i = bestOf(sums, 0);
    if (sums[i].error < least) least = sums[i].error, best = scales[i];
    if (-low == high) break;
  }
  return best;
}

/** x is nearly scale · q - minimum, q in 0 … 15, neither below 0; sumW = Σ w, sumX = Σ w x. */
static Affine fitAffine(const float* x, const float* w, double sumW, double sumX) {
  float most = x[0], lowest = 0;
  for (int i = 0; i < blockColumns; i++) most = x[i] > most ? x[i] : most, lowest = x[i] < lowest ? x[i] : lowest;
  const float range = most - lowest;
  if (range <= nothing) return {0, -lowest};
  float scales[nTries], minima[nTries];
  FitSums sums[nTries];
  // Ends lie within the range, or beyond it, by so many steps: values seldom reach both ends of the steps.
  for (int i = 0; i < nTries; i++) {
    constexpr float belows[4] = {0, 0.5f, 1, 2}, aboves[8] = {-3, -2, -1, 0, 0.5f, 1, 2, 3.5f};
    const float below = belows[i % 4], above = aboves[i / 4];
    scales[i] = range / (15 + below + above), minima[i] = -lowest - scales[i] * below;
  }
  for (int fit = 0; fit < nFits; fit++) {
    trySteps<Wants::sums>(x, w, blockColumns, 0, 15, scales, minima, sums);
    for (int i = 0; i < nTries; i++) {
      const double q = sums[i].q, qq = sums[i].qq, xq = sums[i].xq, determinant = sumW * qq - q * q;
      // Without a minimum where all values lie on one step, or the best one is above 0, which the format lacks. If all steps are 0, scale is NaN.
      const double raised = q * xq - qq * sumX;
      const bool both = determinant > noise * sumW * qq && raised >= 0;
      const double inverse = 1 / (both ? determinant : qq), scale = (both ? sumW * xq - sumX * q : xq) * inverse;
      if (scale > nextToNothing) scales[i] = (float)scale, minima[i] = (float)(both ? raised * inverse : 0);
    }
  }
  trySteps<Wants::error>(x, w, blockColumns, 0, 15, scales, minima, sums);
  const int best = bestOf(sums, 0);
  return {scales[best], minima[best]};
}

/** The steps themselves, counted from `low`. */
static void putSteps(const float* x, int n, Affine a, float low, float high, uint8_t* to) {
  const F32 inverse = set1(a.scale == 0 ? 0.0f : 1.0f / a.scale);
  int32_t q[blockColumns];
  for (int i = 0; i < n; i += W) {
    const I32 steps = toInt(min(set1(high), max(set1(low), mul(add(load(x + i), set1(a.minimum)), inverse))));
    memcpy(q + i, &steps, sizeof steps);
  }
  for (int i = 0; i < n; i++) to[i] = (uint8_t)((uint32_t)q[i] - (uint32_t)(int)low);
}

/** 16 bytes of the low 4 bits of 32 steps: the first half of them low in each. */
JAMBA_INLINE void putNibbles(const uint8_t* q, uint8_t* to) {
  for (int i = 0; i < 16; i++) to[i] = (uint8_t)((q[i] & 15) | q[16 + i] << 4);
}

/** q4_0, q5_0 and q8_0: an f16 scale and 32 steps. */
template <Stored S>
static void encodeSimple(const float* x, const float* w, uint8_t* block) {
  // Of q8_0 never -128: kernels take magnitudes as int8.
  constexpr int low = S == Stored::q8_0 ? -127 : -traitsOf(S).zero, high = S == Stored::q8_0 ? 127 : -low - 1;
  const float scale = fitScale(x, w, blockColumns, low, high, heldScale);
  uint8_t q[blockColumns];
  putSteps(x, blockColumns, {scale, 0}, low, high, q);
  putF16(block, scale);
  if constexpr (S == Stored::q8_0)
    for (int i = 0; i < blockColumns; i++) block[2 + i] = (uint8_t)(q[i] - 127);
  if constexpr (S == Stored::q4_0) putNibbles(q, block + 2);
  if constexpr (S == Stored::q5_0) {
    for (int i = 0; i < 4; i++) {
      block[2 + i] = 0;
      for (int bit = 0; bit < 8; bit++) block[2 + i] |= (uint8_t)(q[8 * i + bit] >> 4 << bit);
    }
    putNibbles(q, block + 6);
  }
}

/** Turns of: whole scales of parts near what each part wants, then the block's own scales that fit those best. */
constexpr int nTurns = 4;

/** f16 scale and minimum, 8 parts of 32: 6 bits of each for a part's own [12], 4 bits per value [128]. */
static void encodeQ4K(const float* x, const float* w, uint8_t* block) {
  constexpr int nParts = 8, end = 63;
  struct Scales {
    float d, m;
    int scales[nParts], minima[nParts];
  } now{}, best{};
  Affine wanted[nParts];
  double sumW[nParts] = {}, sumX[nParts] = {}, least = __builtin_inf();
  for (int p = 0; p < nParts; p++) {
    for (int i = 32 * p; i < 32 * p + 32; i++) sumW[p] += w[i], sumX[p] += (double)w[i] * x[i];
    wanted[p] = fitAffine(x + 32 * p, w + 32 * p, sumW[p], sumX[p]);
    now.d = wanted[p].scale > now.d ? wanted[p].scale : now.d, now.m = wanted[p].minimum > now.m ? wanted[p].minimum : now.m;
  }
  now.d = heldScale(now.d / end), now.m = heldScale(now.m / end);
  for (int turn = 0; turn < nTurns; turn++) {
    // Sums for the d and m that fit these scales and steps best: x is nearly d · A q - m · B.
    double error = 0, aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int p = 0; p < nParts; p++) {
      // Five scales and three minima around what is wanted; the last lane is one more of each sort.
      float scales[16], minima[16];
      int a[16], b[16];
      FitSums sums[16];
      const int nearA = now.d > 0 ? clamped(wanted[p].scale / now.d, 0, end) : 0, nearB = now.m > 0 ? clamped(wanted[p].minimum / now.m, 0, end) : 0;
      for (int c = 0; c < 16; c++) {
        a[c] = clamped((float)(nearA + c % 5 - 2), 0, end), b[c] = clamped((float)(nearB + c / 5 - 1), 0, end);
        const float scale = now.d * (float)a[c];
        scales[c] = scale > 0 ? scale : nextToNothing, minima[c] = now.m * (float)b[c];
      }
      trySteps<Wants::both>(x + 32 * p, w + 32 * p, 32, 0, 15, scales, minima, sums);
      const int c = bestOf(sums, 7);
      now.scales[p] = a[c], now.minima[p] = b[c];
      const double A = a[c], B = b[c];
      error += sums[c].error;
      aa += A * A * sums[c].qq, ab += A * B * sums[c].q, bb += B * B * sumW[p], xa += A * sums[c].xq, xb += B * sumX[p];
    }
    if (!(error < least)) break;
    least = error, best = now;
    const double determinant = aa * bb - ab * ab;
    double d = aa > 0 ? xa / aa : 0, m = 0;
    if (determinant > noise * aa * bb) d = (xa * bb - xb * ab) / determinant, m = (xa * ab - xb * aa) / determinant;
    now.d = heldScale((float)(d > 0 ? d : 0)), now.m = heldScale((float)(m > 0 ? m : 0));
  }
  putF16(block, best.d), putF16(block + 2, best.m);
  for (int p = 0; p < nParts; p += 2) {
    uint8_t q[2][32];
    for (int i = 0; i < 2; i++) putSteps(x + 32 * (p + i), 32, {best.d * (float)best.scales[p + i], best.m * (float)best.minima[p + i]}, 0, 15, q[i]);
    for (int i = 0; i < 32; i++) block[16 + 16 * p + i] = (uint8_t)((q[0][i] & 15) | q[1][i] << 4);
  }
  for (int p = 0; p < 4; p++) {
    block[4 + p] = (uint8_t)(best.scales[p] | best.scales[p + 4] >> 4 << 6);
    block[8 + p] = (uint8_t)(best.minima[p] | best.minima[p + 4] >> 4 << 6);
    block[12 + p] = (uint8_t)((best.scales[p + 4] & 15) | best.minima[p + 4] << 4);
  }
}

/** 16 parts of 16: low 4 bits [128], high 2 bits [64], an int8 scale each [16], an f16 scale of those. */
static void encodeQ6K(const float* x, const float* w, uint8_t* block) {
  constexpr int nParts = 16, low = -32, high = 31;
  float wanted[nParts], d = 0, bestD = 0;
  double least = __builtin_inf();
  int bestScales[nParts] = {};
  for (int p = 0; p < nParts; p++) {
    wanted[p] = fitScale(x + 16 * p, w + 16 * p, 16, low, high, [](float v) { return v; });
    d = __builtin_fabsf(wanted[p]) > __builtin_fabsf(d) ? wanted[p] : d;
  }
  // The largest becomes -128, which makes the finest steps.
  d = heldScale(d / -128);
  for (int turn = 0; turn < nTurns && d != 0; turn++) {
    double error = 0, xq = 0, qq = 0;
    int chosen[nParts];
    for (int p = 0; p < nParts; p++) {
      float scales[16];
      int s[16];
      FitSums sums[16];
      const int near = clamped(wanted[p] / d, -128, 127);
      for (int c = 0; c < 16; c++) {
        s[c] = clamped((float)(near + c - 8), -128, 127);
        scales[c] = s[c] == 0 ? nextToNothing : d * (float)s[c];
      }
      trySteps<Wants::both>(x + 16 * p, w + 16 * p, 16, low, high, scales, nullptr, sums);
      const int c = bestOf(sums, 8);
      chosen[p] = s[c];
      const double S = s[c];
      error += sums[c].error, xq += S * sums[c].xq, qq += S * S * sums[c].qq;
    }
    if (!(error < least)) break;
    least = error, bestD = d;
    memcpy(bestScales, chosen, sizeof chosen);
    d = qq > 0 ? heldScale((float)(xq / qq)) : 0;
  }
  putF16(block + 208, bestD);
  for (int p = 0; p < nParts; p++) block[192 + p] = (uint8_t)bestScales[p];
  for (int half = 0; half < 2; half++) {
    uint8_t q[128];
    for (int p = 0; p < 8; p++) putSteps(x + 128 * half + 16 * p, 16, {bestD * (float)bestScales[8 * half + p], 0}, low, high, q + 16 * p);
    for (int i = 0; i < 64; i++) block[64 * half + i] = (uint8_t)((q[i] & 15) | q[64 + i] << 4);
    for (int i = 0; i < 32; i++)
      block[128 + 32 * half + i] = (uint8_t)((q[i] >> 4 & 3) | (q[32 + i] >> 4 & 3) << 2 | (q[64 + i] >> 4 & 3) << 4 | (q[96 + i] >> 4 & 3) << 6);
  }
}

/** One row; w [columns]. @returns whether it is a format that can be written */
static bool encodeRow(const float* x, const float* w, int64_t columns, Stored stored, uint8_t* to) {
  void (*encode)(const float*, const float*, uint8_t*) = nullptr;
  switch (stored) {
    case Stored::q4_0: encode = encodeSimple<Stored::q4_0>; break;
    case Stored::q5_0: encode = encodeSimple<Stored::q5_0>; break;
    case Stored::q8_0: encode = encodeSimple<Stored::q8_0>; break;
    case Stored::q4_k: encode = encodeQ4K; break;
    case Stored::q6_k: encode = encodeQ6K; break;
    default: return false;
  }
  const StoredFormat format = storedFormats[(int)stored];
  for (int64_t k = 0; k < columns; k += format.values, to += format.bytes) encode(x + k, w + k, to);
  return true;
}

}  // namespace jamba::JAMBA_LEVEL
