// One vocabulary for the vector units. The only file with intrinsics: kernels are written in these words, once.
//
// F32 and I32 are W lanes; a panel of weights is 16 rows wide, V vectors of W. Which unit it is follows from what the
// compiler may use (-m flags of the translation unit). Arithmetic operators are the compiler's own on vector types.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(JAMBA_EMULATE_AVX512)
#include "emulate.h"
#define JAMBA_AVX512 1
#define JAMBA_AVX512_BF16 (JAMBA_EMULATE_AVX512 > 1)
#elif defined(__AVX512VNNI__)
#include <immintrin.h>
#define JAMBA_AVX512 1
#ifdef __AVX512BF16__
#define JAMBA_AVX512_BF16 1
#endif
#elif defined(__AVX2__)
#include <immintrin.h>
#define JAMBA_AVX2 1
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define JAMBA_NEON 1
#endif

namespace jamba::JAMBA_LEVEL {

#define JAMBA_INLINE static inline __attribute__((always_inline))

#if JAMBA_AVX512
constexpr int W = 16;
using F32 = __m512;
using I32 = __m512i;
#elif JAMBA_AVX2
constexpr int W = 8;
using F32 = __m256;
using I32 = __m256i;
#elif JAMBA_NEON
constexpr int W = 4;
using F32 = float32x4_t;
using I32 = int32x4_t;
#else
constexpr int W = 4;
typedef float F32 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));
typedef float F32Unaligned __attribute__((vector_size(16), aligned(1)));
typedef int32_t I32Unaligned __attribute__((vector_size(16), aligned(1)));
#endif

/** Vectors in a panel of 16 rows. */
constexpr int V = 16 / W;
/** Bytes of one vector of 8-bit columns: W rows of 4. */
constexpr int vectorBytes = 4 * W;

// ---- f32

#if JAMBA_AVX512
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
#elif JAMBA_AVX2
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
#elif JAMBA_NEON
JAMBA_INLINE F32 load(const float* p) { return vld1q_f32(p); }
JAMBA_INLINE void store(float* p, F32 v) { vst1q_f32(p, v); }
JAMBA_INLINE F32 set1(float v) { return vdupq_n_f32(v); }
JAMBA_INLINE F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
JAMBA_INLINE F32 mul(F32 a, F32 b) { return vmulq_f32(a, b); }
JAMBA_INLINE F32 add(F32 a, F32 b) { return vaddq_f32(a, b); }
JAMBA_INLINE F32 div(F32 a, F32 b) { return vdivq_f32(a, b); }
JAMBA_INLINE F32 max(F32 a, F32 b) { return vmaxq_f32(a, b); }
JAMBA_INLINE F32 min(F32 a, F32 b) { return vminq_f32(a, b); }
JAMBA_INLINE F32 abs(F32 v) { return vabsq_f32(v); }
JAMBA_INLINE I32 toInt(F32 v) { return vcvtnq_s32_f32(v); }
JAMBA_INLINE F32 toFloat(I32 v) { return vcvtq_f32_s32(v); }
JAMBA_INLINE F32 bytesToFloat(const uint8_t* p) {
  uint32_t four;
  memcpy(&four, p, 4);
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))))));
}
JAMBA_INLINE F32 pow2(I32 n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
JAMBA_INLINE float sum(F32 v) { return vaddvq_f32(v); }
JAMBA_INLINE float largest(F32 v) { return vmaxvq_f32(v); }
#else
JAMBA_INLINE F32 load(const float* p) { return *(const F32Unaligned*)p; }
JAMBA_INLINE void store(float* p, F32 v) { *(F32Unaligned*)p = v; }
JAMBA_INLINE F32 set1(float v) { return F32{v, v, v, v}; }
// Two roundings: without a fused unit, calling one per lane costs more than everything else.
JAMBA_INLINE F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
JAMBA_INLINE F32 mul(F32 a, F32 b) { return a * b; }
JAMBA_INLINE F32 add(F32 a, F32 b) { return a + b; }
JAMBA_INLINE F32 div(F32 a, F32 b) { return a / b; }
JAMBA_INLINE F32 max(F32 a, F32 b) { return a > b ? a : b; }
JAMBA_INLINE F32 min(F32 a, F32 b) { return a < b ? a : b; }
JAMBA_INLINE F32 abs(F32 v) { return (F32)((I32)v & 0x7fffffff); }
// Adding 1.5 · 2^23 leaves the nearest integer in the low bits: half to even, for |v| < 2^22.
JAMBA_INLINE I32 toInt(F32 v) { return (I32)(v + 12582912.0f) - 0x4b400000; }
JAMBA_INLINE F32 toFloat(I32 v) { return __builtin_convertvector(v, F32); }
JAMBA_INLINE F32 bytesToFloat(const uint8_t* p) { return toFloat(I32{p[0], p[1], p[2], p[3]}); }
JAMBA_INLINE F32 pow2(I32 n) { return (F32)((n + 127) << 23); }
JAMBA_INLINE float sum(F32 v) { return (v[0] + v[1]) + (v[2] + v[3]); }
JAMBA_INLINE float largest(F32 v) {
  float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
}
#endif

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

JAMBA_INLINE float scalarBf16(uint16_t bits) {
  uint32_t word = (uint32_t)bits << 16;
  float v;
  memcpy(&v, &word, 4);
  return v;
}
JAMBA_INLINE uint16_t toBf16(float v) {
  uint32_t word;
  memcpy(&word, &v, 4);
  if ((word & 0x7fffffff) > 0x7f800000) return (uint16_t)((word >> 16) | 0x40);
  return (uint16_t)((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}

#if JAMBA_AVX512
JAMBA_INLINE F32 loadF16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16)); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000))); }
#elif JAMBA_AVX2
JAMBA_INLINE F32 loadF16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) { _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16)); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000))); }
#elif JAMBA_NEON
JAMBA_INLINE F32 loadF16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return vreinterpretq_s32_u16(vld1q_u16(p)); }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return vreinterpretq_f32_s32(vshlq_n_s32(pairs, 16)); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return vreinterpretq_f32_s32(vandq_s32(pairs, vdupq_n_s32((int)0xffff0000))); }
#else
// A product of powers of two moves the exponent, and makes subnormals exact; infinities and NaN are set apart.
JAMBA_INLINE F32 loadF16(const uint16_t* p) {
  I32 bits = {p[0], p[1], p[2], p[3]};
  I32 magnitude = bits & 0x7fff;
  F32 v = (F32)(magnitude << 13) * 5.192296858534828e33f;  // 2^112
  v = magnitude >= 0x7c00 ? (F32)((magnitude << 13) | 0x7f800000) : v;
  return (F32)((I32)v | ((bits & 0x8000) << 16));
}
JAMBA_INLINE uint16_t scalarToF16(float v) {
  uint32_t word;
  memcpy(&word, &v, 4);
  uint32_t sign = (word >> 16) & 0x8000, magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (magnitude < 0x38800000) {
    // Adding 0.5 to a subnormal-to-be leaves its multiple of 2^-24 in the low bits, rounded half to even.
    float shifted = (v < 0 ? -v : v) + 0.5f;
    memcpy(&word, &shifted, 4);
    return (uint16_t)(sign | (word - 0x3f000000));
  }
  return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) {
  for (int i = 0; i < W; i++) p[i] = scalarToF16(v[i]);
}
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return (F32)(I32{p[0], p[1], p[2], p[3]} << 16); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return *(const I32Unaligned*)p; }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return (F32)(pairs << 16); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return (F32)(pairs & (int32_t)0xffff0000); }
#endif
JAMBA_INLINE void storeBf16(uint16_t* p, F32 v) {
  float part[W];
  store(part, v);
  for (int i = 0; i < W; i++) p[i] = toBf16(part[i]);
}
// Not by way of memory: a vector that is loaded right after a part of it was stored waits for that.
#if JAMBA_AVX512 || JAMBA_AVX2
JAMBA_INLINE float scalarF16(uint16_t bits) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))); }
#elif JAMBA_NEON
JAMBA_INLINE float scalarF16(uint16_t bits) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0); }
#else
JAMBA_INLINE float scalarF16(uint16_t bits) {
  const uint16_t part[W] = {bits};
  return loadF16(part)[0];
}
#endif

/** 2 W values as W words of two bf16 each. */
JAMBA_INLINE void storePairs(uint32_t* words, const float* x) {
#if JAMBA_AVX512_BF16
  const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + W), _mm512_loadu_ps(x));
  memcpy(words, &both, sizeof both);
#else
  storeBf16((uint16_t*)words, load(x));
  storeBf16((uint16_t*)words + W, load(x + W));
#endif
}

#if JAMBA_AVX512_BF16
/** sum + w[2k] x[2k] + w[2k + 1] x[2k + 1]; x is two bf16 for all rows. */
constexpr bool hasBf16Dot = true;
JAMBA_INLINE F32 dotBf16(F32 s, I32 w, const void* x) { return _mm512_dpbf16_ps(s, (__m512bh)w, (__m512bh)_mm512_set1_epi32(*(const int32_t*)x)); }
#else
constexpr bool hasBf16Dot = false;
JAMBA_INLINE F32 dotBf16(F32 s, I32, const void*) { return s; }
#endif

/** v / 2^n, given n · 2^23: taken off the exponent. v and the result must be normal. */
#if JAMBA_AVX512
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(n))); }
#elif JAMBA_AVX2
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(v), _mm256_set1_epi32(n))); }
#elif JAMBA_NEON
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return vreinterpretq_f32_s32(vsubq_s32(vreinterpretq_s32_f32(v), vdupq_n_s32(n))); }
#else
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return (F32)((I32)v - n); }
#endif

// ---- dot products of 8-bit columns
//
// A vector holds W rows of 4 columns. q4: the low nibbles are columns 0…3 of a unit of 8, the high ones 4…7, each + 8.
// q8: bytes + 128. The offsets come off through `correction`, -8 Σ of the block's activations, which starts or ends a sum (16 times for q8).

#if JAMBA_AVX512
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
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, const int8_t* x) { return _mm512_dpbusd_epi32(s, w, _mm512_set1_epi32(*(const int32_t*)x)); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t*) { return s; }
JAMBA_INLINE Split8 split8(Bytes w) { return w; }
JAMBA_INLINE Sum8 start8(const int32_t* correction) { return _mm512_slli_epi32(_mm512_set1_epi32(*correction), 4); }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) { return _mm512_dpbusd_epi32(s, w, _mm512_set1_epi32(*(const int32_t*)x)); }
JAMBA_INLINE I32 total8(Sum8 s, const int32_t*) { return s; }
#elif JAMBA_AVX2
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
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, const int8_t* x) { return kept(_mm256_add_epi16(s, _mm256_maddubs_epi16(w, _mm256_set1_epi32(*(const int32_t*)x)))); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t* correction) { return _mm256_add_epi32(_mm256_madd_epi16(s, _mm256_set1_epi16(1)), _mm256_set1_epi32(*correction)); }
JAMBA_INLINE Split8 split8(Bytes w) { return {_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srli_epi16(w, 8)}; }
JAMBA_INLINE Sum8 start8(const int32_t*) { return _mm256_setzero_si256(); }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) {
  s = kept(_mm256_add_epi32(s, _mm256_madd_epi16(w.even, _mm256_set1_epi32(((const int32_t*)x)[0]))));
  return kept(_mm256_add_epi32(s, _mm256_madd_epi16(w.odd, _mm256_set1_epi32(((const int32_t*)x)[1]))));
}
JAMBA_INLINE I32 total8(Sum8 s, const int32_t* correction) { return _mm256_add_epi32(s, _mm256_set1_epi32(16 * *correction)); }
#elif JAMBA_NEON
using Bytes = uint8x16_t;
using Sum4 = int32x4_t;
using Sum8 = int32x4_t;
constexpr int quadBytes8 = 4;
JAMBA_INLINE Bytes loadBytes(const uint8_t* p) { return vld1q_u8(p); }
JAMBA_INLINE Bytes lowNibbles(Bytes v) { return vandq_u8(v, vdupq_n_u8(15)); }
JAMBA_INLINE Bytes highNibbles(Bytes v) { return vshrq_n_u8(v, 4); }
JAMBA_INLINE int8x16_t quad(const int8_t* x) { return vreinterpretq_s8_s32(vdupq_n_s32(*(const int32_t*)x)); }
JAMBA_INLINE Sum4 start4(const int32_t* correction) { return vdupq_n_s32(*correction); }
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, const int8_t* x) { return vdotq_s32(s, vreinterpretq_s8_u8(w), quad(x)); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t*) { return s; }
#if defined(__ARM_FEATURE_MATMUL_INT8)
using Split8 = uint8x16_t;
JAMBA_INLINE Split8 split8(Bytes w) { return w; }
JAMBA_INLINE Sum8 start8(const int32_t* correction) { return vdupq_n_s32(16 * *correction); }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) { return vusdotq_s32(s, w, quad(x)); }
#else
using Split8 = int8x16_t;
JAMBA_INLINE Split8 split8(Bytes w) { return vreinterpretq_s8_u8(veorq_u8(w, vdupq_n_u8(128))); }
JAMBA_INLINE Sum8 start8(const int32_t*) { return vdupq_n_s32(0); }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) { return vdotq_s32(s, w, quad(x)); }
#endif
JAMBA_INLINE I32 total8(Sum8 s, const int32_t*) { return s; }
#else
// i16 lanes of even and odd columns, multiplied in 16 bits and added in pairs: what every 128-bit unit can do.
typedef uint16_t U16 __attribute__((vector_size(16)));
typedef int16_t I16 __attribute__((vector_size(16)));
typedef uint16_t U16Unaligned __attribute__((vector_size(16), aligned(1)));
using Bytes = U16;
using Sum4 = I16;
using Sum8 = I32;
struct Split8 { I16 even, odd; };
constexpr int quadBytes8 = 8;
JAMBA_INLINE Bytes loadBytes(const uint8_t* p) { return *(const U16Unaligned*)p; }
JAMBA_INLINE Bytes lowNibbles(Bytes v) { return v & 0x0f0f; }
JAMBA_INLINE Bytes highNibbles(Bytes v) { return (v >> 4) & 0x0f0f; }
JAMBA_INLINE Sum4 start4(const int32_t*) { return I16{}; }
// 8 · 2 · 15 · 127 = 30480 fits i16.
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, const int8_t* x) {
  int16_t a = x[0], b = x[1], c = x[2], d = x[3];
  I16 even = {a, c, a, c, a, c, a, c}, odd = {b, d, b, d, b, d, b, d};
  return s + (I16)(w & 255) * even + (I16)(w >> 8) * odd;
}
JAMBA_INLINE I32 pairs(I16 v) { return ((I32)v >> 16) + (((I32)v << 16) >> 16); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t* correction) { return pairs(s) + *correction; }
JAMBA_INLINE Split8 split8(Bytes w) { return {(I16)(w & 255), (I16)(w >> 8)}; }
JAMBA_INLINE Sum8 start8(const int32_t*) { return I32{}; }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) {
  const int16_t* p = (const int16_t*)x;
  int32_t a = p[0], c = p[1], b = p[2], d = p[3];
  I32 even = (I32)w.even, odd = (I32)w.odd;
  return s + (even & 0xffff) * a + (even >> 16) * c + (odd & 0xffff) * b + (odd >> 16) * d;
}
JAMBA_INLINE I32 total8(Sum8 s, const int32_t* correction) { return s + 16 * *correction; }
#endif

// ---- q4_k: sums of 32 columns times the block's whole scale, 1 … 63, over 2^n for n in 0 … 6, times 64

#if JAMBA_AVX2
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
#else
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

/** 2^y, with a relative error below 2e-7. Below 2^-126 it may end at 2^-126, above 2^127 at 2^127. */
JAMBA_INLINE F32 exp2(F32 y) {
#if JAMBA_AVX512
  const F32 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT), r = _mm512_reduce_ps(y, _MM_FROUND_TO_NEAREST_INT);
#else
  y = min(set1(127.0f), max(set1(-126.0f), y));  // in this order a NaN stays one
  const I32 n = toInt(y);
  const F32 r = fma(toFloat(n), set1(-1.0f), y);
#endif
  // 2^r on |r| <= 1 / 2, exact at 0, fitted for the least relative error.
  F32 p = fma(set1(0.00132647267643663f), r, set1(0.0096715126747475f));
  p = fma(p, r, set1(0.0555073374468558f));
  p = fma(p, r, set1(0.24022242084610124f));
  p = fma(p, r, set1(0.6931469775981765f));
  p = fma(p, r, set1(1.0f));
#if JAMBA_AVX512
  return _mm512_scalef_ps(p, n);
#else
  return mul(p, pow2(n));
#endif
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
