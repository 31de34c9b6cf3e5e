// Sums of exponentials with a relative error below 1e-6, however far the exponents reach.
#pragma once
#include <numbers>

#include "simd.h"

namespace jamba::JAMBA_LEVEL {

/** A factor of exponents, in a part whose products lose nothing on their way into a sum, and the rest. What is below `least` ends at 0. */
struct Rate {
  F32 whole, high, low, least;
  explicit Rate(double rate) {
    whole = set1((float)rate);
    high = fused ? whole : upperBits(whole);
    float part[W];
    store(part, high);
    low = set1((float)(rate - part[0])), least = set1((float)(-125 / rate));
  }
};

/** Vectors whose sums go step by step together: each step waits for the one before it, and the unit has little room for what waits. */
constexpr int together = 4;
using Group = F32[together];
template <class Step>
JAMBA_INLINE void each(const Step& step) {
#pragma GCC unroll 4
  for (int i = 0; i < together; i++) step(i);
}

/** 2^(rate (d + lost)), with a relative error below 3e-7 however large the exponent. `high` is the part of d whose products lose nothing, `low` the rest and what d lost. */
JAMBA_INLINE void power(const Rate& rate, const Group& d, const Group& high, const Group& low, Group& e) {
  // Adding 1.5 · 2^23 leaves the nearest integer in the low bits.
  const F32 magic = set1(12582912.0f);
  Group shifted, rest;
  each([&](int i) { shifted[i] = fma(d[i], rate.whole, magic); });
  each([&](int i) { rest[i] = fma(high[i], rate.high, magic - shifted[i]); });
  each([&](int i) { rest[i] = fma(d[i], rate.low, rest[i]); });
  each([&](int i) { rest[i] = fma(low[i], rate.high, rest[i]); });
  each([&](int i) { e[i] = set1(exp2Terms[0]); });
#pragma GCC unroll 8
  for (int term = 1; term < 6; term++) each([&](int i) { e[i] = fma(e[i], rest[i], set1(exp2Terms[term])); });
  each([&](int i) { e[i] = whereAtLeast(timesPow2(e[i], shifted[i]), d[i], rate.least); });
}

/**
 * Adds Σ e^(x - most), Σ e^(x - most) (most - x) and Σ e^((x - most) / temperature) to `sums`. n is a multiple of 4 W; -∞ counts for nothing.
 * Not warm: the temperature is 1, and the last sum is the first.
 */
template <bool warm>
static void addExponentials(const float* x, int64_t n, float most, float temperature, double* sums) {
  const double t = temperature < 1e-30f ? 1e-30 : temperature > 1e30f ? 1e30 : temperature;
  const Rate rate(std::numbers::log2e), warmRate(std::numbers::log2e / t);
  // Few values are summed in f32, and those in pairs, or their roundings would add up.
  constexpr int64_t blockValues = 32 * W;
  for (int64_t from = 0; from < n; from += blockValues) {
    F32 total = zero(), moment = zero(), warmTotal = zero();
    for (int64_t i = from; i < n && i < from + blockValues; i += together * W) {
      Group l, d, back, lost, high, low, e;
      each([&](int v) { l[v] = load(x + i + v * W); });
      each([&](int v) { d[v] = max(l[v] - set1(most), set1(-1e37f)); });
      // What the difference was rounded by, exactly (Knuth, TAOCP 4.2.2).
      each([&](int v) { back[v] = d[v] - l[v]; });
      each([&](int v) { lost[v] = (l[v] - (d[v] - back[v])) - (set1(most) + back[v]); });
      each([&](int v) { high[v] = fused ? d[v] : upperBits(d[v]), low[v] = fused ? lost[v] : (d[v] - high[v]) + lost[v]; });
      power(rate, d, high, low, e);
      total = add(total, add(add(e[0], e[1]), add(e[2], e[3])));
      moment = add(moment, add(fma(e[0], d[0], mul(e[1], d[1])), fma(e[2], d[2], mul(e[3], d[3]))));
      if constexpr (warm) {
        power(warmRate, d, high, low, e);
        warmTotal = add(warmTotal, add(add(e[0], e[1]), add(e[2], e[3])));
      }
    }
    sums[0] += sum(total), sums[1] -= sum(moment), sums[2] += sum(warm ? warmTotal : total);
  }
}

}  // namespace jamba::JAMBA_LEVEL
