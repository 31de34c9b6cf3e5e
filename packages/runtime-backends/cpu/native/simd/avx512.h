// The words of simd.h for AVX-512 with VNNI, and with BF16 where the compiler may use it.
#pragma once
#if defined(JAMBA_EMULATE_AVX512)
#include "emulate.h"
#define JAMBA_AVX512_BF16 (JAMBA_EMULATE_AVX512 > 1)
#else
#include <immintrin.h>
#ifdef __AVX512BF16__
#define JAMBA_AVX512_BF16 1
#endif
#endif
#include "shared.h"

namespace jamba::JAMBA_LEVEL {

constexpr int W = 16;
using F32 = __m512;
using I32 = __m512i;

// ---- f32

/** Whether fma rounds once. */
constexpr bool fused = true;
JAMBA_INLINE F32 load(const float* p) { return _mm512_loadu_ps(p); }
JAMBA_INLINE void store(float* p, F32 v) { _mm512_storeu_ps(p, v); }
JAMBA_INLINE F32 set1(float v) { return _mm512_set1_ps(v); }
JAMBA_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
JAMBA_INLINE F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
JAMBA_INLINE F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
JAMBA_INLINE F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
JAMBA_INLINE F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
JAMBA_INLINE F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
JAMBA_INLINE F32 abs(F32 v) { return _mm512_abs_ps(v); }
JAMBA_INLINE I32 toInt(F32 v) { return _mm512_cvtps_epi32(v); }
JAMBA_INLINE F32 toFloat(I32 v) { return _mm512_cvtepi32_ps(v); }
JAMBA_INLINE F32 bytesToFloat(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))); }
JAMBA_INLINE float sum(F32 v) { return _mm512_reduce_add_ps(v); }
JAMBA_INLINE float largest(F32 v) { return _mm512_reduce_max_ps(v); }
/** y as a whole number and the rest, within 1 / 2 of 0. */
struct Power {
  F32 whole, rest;
};
JAMBA_INLINE Power powerOf(F32 y) { return {_mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT), _mm512_reduce_ps(y, _MM_FROUND_TO_NEAREST_INT)}; }
JAMBA_INLINE F32 raise(F32 v, F32 n) { return _mm512_scalef_ps(v, n); }
/** v · 2^n, given n + 1.5 · 2^23, whose low bits are n. v and the result must be normal. */
JAMBA_INLINE F32 timesPow2(F32 v, F32 n) { return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_castps_si512(n), 23))); }
/** The upper 12 bits of the mantissa: products of two such numbers are exact. */
JAMBA_INLINE F32 upperBits(F32 v) { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32((int)0xfffff000))); }
/** v in lanes where a >= b, else 0. */
JAMBA_INLINE F32 whereAtLeast(F32 v, F32 a, F32 b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), v); }
/** A bit for each lane where a >= b. */
JAMBA_INLINE uint32_t atLeast(F32 a, F32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }

// ---- 16-bit floats

JAMBA_INLINE F32 loadF16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16)); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000))); }
JAMBA_INLINE float scalarF16(uint16_t bits) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))); }

#if JAMBA_AVX512_BF16
/** sum + w[2k] x[2k] + w[2k + 1] x[2k + 1]; x is two bf16 for all rows. */
constexpr bool hasBf16Dot = true;
JAMBA_INLINE F32 dotBf16(F32 s, I32 w, const void* x) { return _mm512_dpbf16_ps(s, (__m512bh)w, (__m512bh)_mm512_set1_epi32(*(const int32_t*)x)); }
/** 2 W values as W words of two bf16 each. */
JAMBA_INLINE void storePairs(uint32_t* words, const float* x) {
  const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + W), _mm512_loadu_ps(x));
  memcpy(words, &both, sizeof both);
}
#else
constexpr bool hasBf16Dot = false;
#endif

/** v / 2^n, given n · 2^23: taken off the exponent. v and the result must be normal. */
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(n))); }

// ---- dot products of 8-bit columns

using Bytes = __m512i;
using Sum4 = __m512i;
using Sum8 = __m512i;
using Split8 = __m512i;
/** Bytes of the activations of 4 columns as dot8 wants them. */
constexpr int quadBytes8 = 4;
JAMBA_INLINE Bytes loadBytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
JAMBA_INLINE Bytes lowNibbles(Bytes v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
JAMBA_INLINE Bytes highNibbles(Bytes v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
JAMBA_INLINE Sum4 start4(const int32_t* correction) { return _mm512_set1_epi32(*correction); }
using Four = __m512i;
JAMBA_INLINE Four fourOf(const int8_t* x) { return _mm512_set1_epi32(*(const int32_t*)x); }
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) { return _mm512_dpbusd_epi32(s, w, x); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t*) { return s; }
JAMBA_INLINE Split8 split8(Bytes w) { return w; }
JAMBA_INLINE Sum8 start8(const int32_t* correction) { return _mm512_slli_epi32(_mm512_set1_epi32(*correction), 4); }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) { return _mm512_dpbusd_epi32(s, w, _mm512_set1_epi32(*(const int32_t*)x)); }
JAMBA_INLINE I32 total8(Sum8 s, const int32_t*) { return s; }

}  // namespace jamba::JAMBA_LEVEL
