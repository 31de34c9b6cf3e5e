// The words of simd.h in the compiler's own vectors of 128 bits, which every processor has.
#pragma once
#include "vectors128.h"

namespace jamba::JAMBA_LEVEL {

// ---- dot products of 8-bit columns

// i16 lanes of even and odd columns, multiplied in 16 bits and added in pairs: what every 128-bit unit can do.
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
using Four = const int8_t*;
JAMBA_INLINE Four fourOf(const int8_t* x) { return x; }
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) {
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

}  // namespace jamba::JAMBA_LEVEL
