// The words of simd.h for AVX2 with FMA and F16C.
#pragma once
#include <immintrin.h>
#include "shared.h"

namespace jamba::JAMBA_LEVEL {

constexpr int W = 8;
using F32 = __m256;
using I32 = __m256i;

// ---- f32

/** Whether fma rounds once. */
constexpr bool fused = true;
JAMBA_INLINE F32 load(const float* p) { return _mm256_loadu_ps(p); }
JAMBA_INLINE void store(float* p, F32 v) { _mm256_storeu_ps(p, v); }
JAMBA_INLINE F32 set1(float v) { return _mm256_set1_ps(v); }
JAMBA_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
JAMBA_INLINE F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
JAMBA_INLINE F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
JAMBA_INLINE F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
JAMBA_INLINE F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
JAMBA_INLINE F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
JAMBA_INLINE F32 abs(F32 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
JAMBA_INLINE I32 toInt(F32 v) { return _mm256_cvtps_epi32(v); }
JAMBA_INLINE F32 toFloat(I32 v) { return _mm256_cvtepi32_ps(v); }
JAMBA_INLINE F32 bytesToFloat(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p))); }
/** 2^n for |n| <= 126. */
JAMBA_INLINE F32 pow2(I32 n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
JAMBA_INLINE float sum(F32 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
JAMBA_INLINE float largest(F32 v) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
/** v · 2^n, given n + 1.5 · 2^23, whose low bits are n. v and the result must be normal. */
JAMBA_INLINE F32 timesPow2(F32 v, F32 n) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_castps_si256(n), 23))); }
/** The upper 12 bits of the mantissa: products of two such numbers are exact. */
JAMBA_INLINE F32 upperBits(F32 v) { return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xfffff000))); }
/** v in lanes where a >= b, else 0. */
JAMBA_INLINE F32 whereAtLeast(F32 v, F32 a, F32 b) { return _mm256_and_ps(v, _mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
/** A bit for each lane where a >= b. */
JAMBA_INLINE uint32_t atLeast(F32 a, F32 b) { return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }

// ---- 16-bit floats

JAMBA_INLINE F32 loadF16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) { _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16)); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000))); }
JAMBA_INLINE float scalarF16(uint16_t bits) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))); }

constexpr bool hasBf16Dot = false;

/** v / 2^n, given n · 2^23: taken off the exponent. v and the result must be normal. */
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(v), _mm256_set1_epi32(n))); }

// ---- dot products of 8-bit columns

// q4: 8 products of at most 2 · 15 · 127 fit i16, so a block of 32 is summed there and widened once.
// q8: 255 · 127 · 2 does not fit; even and odd columns are widened to i16 pairs, and activations are stored as such pairs.
using Bytes = __m256i;
using Sum4 = __m256i;
using Sum8 = __m256i;
struct Split8 { __m256i even, odd; };
constexpr int quadBytes8 = 8;
JAMBA_INLINE Bytes loadBytes(const uint8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
JAMBA_INLINE Bytes lowNibbles(Bytes v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
JAMBA_INLINE Bytes highNibbles(Bytes v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
JAMBA_INLINE Sum4 start4(const int32_t*) { return _mm256_setzero_si256(); }
// GCC gathers long chains of integer sums at their end and spills the products; a sum that passes through `kept` stays a chain.
JAMBA_INLINE __m256i kept(__m256i v) {
  asm("" : "+x"(v));
  return v;
}
using Four = __m256i;
JAMBA_INLINE Four fourOf(const int8_t* x) { return _mm256_set1_epi32(*(const int32_t*)x); }
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) { return kept(_mm256_add_epi16(s, _mm256_maddubs_epi16(w, x))); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t* correction) { return _mm256_add_epi32(_mm256_madd_epi16(s, _mm256_set1_epi16(1)), _mm256_set1_epi32(*correction)); }
JAMBA_INLINE Split8 split8(Bytes w) { return {_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srli_epi16(w, 8)}; }
JAMBA_INLINE Sum8 start8(const int32_t*) { return _mm256_setzero_si256(); }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) {
  s = kept(_mm256_add_epi32(s, _mm256_madd_epi16(w.even, _mm256_set1_epi32(((const int32_t*)x)[0]))));
  return kept(_mm256_add_epi32(s, _mm256_madd_epi16(w.odd, _mm256_set1_epi32(((const int32_t*)x)[1]))));
}
JAMBA_INLINE I32 total8(Sum8 s, const int32_t* correction) { return _mm256_add_epi32(s, _mm256_set1_epi32(16 * *correction)); }

// ---- q4_k: sums of 32 columns times the block's whole scale, 1 … 63, over 2^n for n in 0 … 6, times 64

// 63 · 64 fits i16, and eight sums of 32 · 15 · 127 that often i32.
using Scaled = I32;
using Scales = __m256i;
/** Each row's scale twice, as its sums are pairs. */
JAMBA_INLINE Scales loadScales(const uint8_t* p) {
  return _mm256_shuffle_epi8(_mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)p)),
                             _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1));
}
JAMBA_INLINE int32_t scaleFactor(int n) { return (64 >> n) * 0x10001; }
JAMBA_INLINE Scaled addScaled(Scaled total, Sum4 s, Scales w, int32_t factor) {
  return kept(_mm256_add_epi32(total, _mm256_madd_epi16(s, _mm256_mullo_epi16(w, _mm256_set1_epi32(factor)))));
}
JAMBA_INLINE F32 scaledToFloat(Scaled total) { return toFloat(total); }

}  // namespace jamba::JAMBA_LEVEL
