// The AVX-512 words of avx512.h on AVX2, by SIMDe, for machines without them. What Debian's SIMDe 0.7.4 lacks is here.
#pragma once
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <cmath>
#include <cstring>

namespace jamba::emulated {

struct Halves {
  __m256 part[2];
};
static inline Halves halvesOf(const simde__m512& v) {
  Halves h;
  memcpy(&h, &v, sizeof h);
  return h;
}
template <class To, class Part>
static inline To joined(Part first, Part second) {
  To whole;
  memcpy(&whole, &first, 32), memcpy((char*)&whole + 32, &second, 32);
  return whole;
}

static inline simde__m512i cvtps_epi32(simde__m512 v) {
  const Halves h = halvesOf(v);
  return joined<simde__m512i>(_mm256_cvtps_epi32(h.part[0]), _mm256_cvtps_epi32(h.part[1]));
}
static inline simde__m512 cvtepi32_ps(simde__m512i v) {
  __m256i part[2];
  memcpy(part, &v, sizeof part);
  return joined<simde__m512>(_mm256_cvtepi32_ps(part[0]), _mm256_cvtepi32_ps(part[1]));
}
static inline simde__m512i cvtepu16_epi32(__m256i v) {
  return joined<simde__m512i>(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)));
}
static inline simde__m512i cvtepu8_epi32(__m128i v) {
  return joined<simde__m512i>(_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)));
}
static inline simde__m512 cvtph_ps(__m256i v) {
  return joined<simde__m512>(_mm256_cvtph_ps(_mm256_castsi256_si128(v)), _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}
static inline __m256i cvtps_ph(simde__m512 v, int) {
  const Halves h = halvesOf(v);
  return _mm256_set_m128i(_mm256_cvtps_ph(h.part[1], _MM_FROUND_TO_NEAREST_INT), _mm256_cvtps_ph(h.part[0], _MM_FROUND_TO_NEAREST_INT));
}
/** In the order of GCC's own. */
template <class Op>
static inline float reduce(const simde__m512& v, Op op) {
  float lanes[16];
  memcpy(lanes, &v, sizeof lanes);
  for (int width : {8, 4, 2, 1})
    for (int i = 0; i < width; i++) lanes[i] = op(lanes[width + i], lanes[i]);
  return lanes[0];
}
static inline float reduce_add_ps(simde__m512 v) {
  return reduce(v, [](float a, float b) { return a + b; });
}
static inline float reduce_max_ps(simde__m512 v) {
  return reduce(v, [](float a, float b) { return a > b ? a : b; });
}
static inline simde__m512 reduce_ps(simde__m512 v, int) {
  float lanes[16];
  memcpy(lanes, &v, sizeof lanes);
  for (float& x : lanes) x = std::isinf(x) ? 0.0f : x - std::nearbyintf(x);
  simde__m512 to;
  memcpy(&to, lanes, sizeof lanes);
  return to;
}
/** Halves to even; what has no exponent becomes 0. */
static inline simde__m512bh cvtne2ps_pbh(simde__m512 high, simde__m512 low) {
  uint32_t bits[32];
  memcpy(bits, &low, 64), memcpy(bits + 16, &high, 64);
  uint16_t rounded[32];
  for (int i = 0; i < 32; i++) {
    const uint32_t b = bits[i], magnitude = b & 0x7fffffff;
    rounded[i] = magnitude > 0x7f800000 ? (uint16_t)(b >> 16 | 64) : magnitude < 0x00800000 ? (uint16_t)(b >> 16 & 0x8000) : (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
  }
  simde__m512bh to;
  memcpy(&to, rounded, sizeof rounded);
  return to;
}

}  // namespace jamba::emulated

#define _mm512_cvtps_epi32 jamba::emulated::cvtps_epi32
#define _mm512_cvtepi32_ps jamba::emulated::cvtepi32_ps
#define _mm512_cvtepu16_epi32 jamba::emulated::cvtepu16_epi32
#define _mm512_cvtepu8_epi32 jamba::emulated::cvtepu8_epi32
#define _mm512_cvtph_ps jamba::emulated::cvtph_ps
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph jamba::emulated::cvtps_ph
#define _mm512_reduce_add_ps jamba::emulated::reduce_add_ps
#define _mm512_reduce_max_ps jamba::emulated::reduce_max_ps
#undef _mm512_reduce_ps
#define _mm512_reduce_ps jamba::emulated::reduce_ps
#define _mm512_cvtne2ps_pbh jamba::emulated::cvtne2ps_pbh
