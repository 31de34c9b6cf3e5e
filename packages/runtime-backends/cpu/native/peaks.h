// What the unit could do if nothing but the inner instruction mattered: the peaks that kernels are measured by.
#pragma once
#include <chrono>

#include "tiles.h"

namespace jamba::JAMBA_LEVEL {

// A value that passes through here is in a register, and is not known to the compiler.
#if defined(JAMBA_EMULATE_AVX512)
#define JAMBA_OPAQUE(v) asm volatile("" : "+m"(v))
#elif JAMBA_AVX512
#define JAMBA_OPAQUE(v) asm volatile("" : "+v"(v))
#elif defined(__x86_64__)
#define JAMBA_OPAQUE(v) asm volatile("" : "+x"(v))
#elif defined(__aarch64__)
#define JAMBA_OPAQUE(v) asm volatile("" : "+w"(v))
#else
#define JAMBA_OPAQUE(v) (void)v
#endif

JAMBA_INLINE void opaque(Split8& w) {
#if JAMBA_AVX2 || !(JAMBA_AVX512 || JAMBA_NEON)
  JAMBA_OPAQUE(w.even);
  JAMBA_OPAQUE(w.odd);
#else
  JAMBA_OPAQUE(w);
#endif
}

/** As many sums as hide the latency of two units. */
constexpr int nSums = 10;

/** Operations a second, multiply and add counting as two, of sums of W rows by `columns`; `dot(sum)` is one instruction or what stands for it. */
template <class Sum, class Dot>
JAMBA_INLINE double rate(Sum first, int columns, const Dot& dot) {
  constexpr int64_t rounds = 3'000'000;
  Sum s[nSums];
  for (Sum& one : s) one = first;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 16
    for (int j = 0; j < nSums; j++) s[j] = dot(s[j]);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return 2.0 * nSums * W * columns * (double)rounds / seconds;
}

static Limits measureOperations() {
  alignas(64) static const int8_t bytes[128] = {1, 2, 3, 4, 5, 6, 7, 8};
  const Bytes w4 = lowNibbles(loadBytes((const uint8_t*)bytes));
  const Split8 w8 = split8(loadBytes((const uint8_t*)bytes));
  const F32 w = set1(0.5f);
  Limits limits{};
  // Weights are made unknown each time, or products would be taken once for all rounds.
  limits.q4Ops = rate(start4((const int32_t*)bytes), 4, [&](Sum4 s) __attribute__((always_inline)) {
    Bytes w = w4;
    JAMBA_OPAQUE(w);
    s = dot4(s, w, fourOf(bytes));
    JAMBA_OPAQUE(s);
    return s;
  });
  limits.q8Ops = rate(start8((const int32_t*)bytes), 4, [&](Sum8 s) __attribute__((always_inline)) {
    Split8 w = w8;
    opaque(w);
    s = dot8(s, w, bytes);
    JAMBA_OPAQUE(s);
    return s;
  });
  limits.f32Flops = rate(zero(), 1, [&](F32 s) __attribute__((always_inline)) {
    s = fma(w, w, s);
    JAMBA_OPAQUE(s);
    return s;
  });
  limits.bf16Flops = limits.f32Flops;
  if constexpr (hasBf16Dot) {
    const I32 pairs = loadPairs((const uint16_t*)bytes);
    limits.bf16Flops = rate(zero(), 2, [&](F32 s) __attribute__((always_inline)) {
      s = dotBf16(s, pairs, bytes);
      JAMBA_OPAQUE(s);
      return s;
    });
  }
  return limits;
}

/** Reads a range with four streams in flight; the result only keeps the reads alive. */
static float readRange(const uint8_t* from, int64_t bytes) {
  F32 sums[4] = {};
  for (int64_t i = 0; i + 16 * W <= bytes; i += 16 * W)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) sums[j] = add(sums[j], load((const float*)(from + i + j * 4 * W)));
  return sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

}  // namespace jamba::JAMBA_LEVEL
