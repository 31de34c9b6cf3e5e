// Words of simd.h in the compiler's own vectors of 128 bits: what portable.h and wasm.h have in common. WebAssembly's instructions stand
// where the compiler does not find them by itself; but for relaxed SIMD they give the same bits.
#pragma once
#include "shared.h"

#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace jamba::JAMBA_LEVEL {

constexpr int W = 4;
typedef float F32 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));
typedef uint32_t U32 __attribute__((vector_size(16)));
typedef float F32Unaligned __attribute__((vector_size(16), aligned(1)));
typedef int32_t I32Unaligned __attribute__((vector_size(16), aligned(1)));
typedef uint16_t U16 __attribute__((vector_size(16)));
typedef int16_t I16 __attribute__((vector_size(16)));

// ---- f32

JAMBA_INLINE F32 load(const float* p) { return *(const F32Unaligned*)p; }
JAMBA_INLINE void store(float* p, F32 v) { *(F32Unaligned*)p = v; }
JAMBA_INLINE F32 set1(float v) { return F32{v, v, v, v}; }
/** Whether fma rounds once; a machine may, with relaxed SIMD, but none has to. */
constexpr bool fused = false;
#if defined(__wasm_relaxed_simd__)
JAMBA_INLINE F32 fma(F32 a, F32 b, F32 c) { return (F32)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c); }
#else
// Two roundings: without a fused unit, calling one per lane costs more than everything else.
JAMBA_INLINE F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
#endif
JAMBA_INLINE F32 mul(F32 a, F32 b) { return a * b; }
JAMBA_INLINE F32 add(F32 a, F32 b) { return a + b; }
JAMBA_INLINE F32 div(F32 a, F32 b) { return a / b; }
#if defined(__wasm_simd128__)
JAMBA_INLINE F32 max(F32 a, F32 b) { return (F32)wasm_f32x4_pmax((v128_t)b, (v128_t)a); }
JAMBA_INLINE F32 min(F32 a, F32 b) { return (F32)wasm_f32x4_pmin((v128_t)b, (v128_t)a); }
#else
JAMBA_INLINE F32 max(F32 a, F32 b) { return a > b ? a : b; }
JAMBA_INLINE F32 min(F32 a, F32 b) { return a < b ? a : b; }
#endif
JAMBA_INLINE F32 abs(F32 v) { return (F32)((I32)v & 0x7fffffff); }
// Adding 1.5 · 2^23 leaves the nearest integer in the low bits: half to even, for |v| < 2^22.
JAMBA_INLINE I32 toInt(F32 v) { return (I32)(v + 12582912.0f) - 0x4b400000; }
JAMBA_INLINE F32 toFloat(I32 v) { return __builtin_convertvector(v, F32); }
#if defined(__wasm_simd128__)
JAMBA_INLINE I32 loadWords(const uint16_t* p) { return (I32)wasm_u32x4_load16x4(p); }
JAMBA_INLINE F32 bytesToFloat(const uint8_t* p) {
  return (F32)wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p))));
}
#else
JAMBA_INLINE I32 loadWords(const uint16_t* p) { return I32{p[0], p[1], p[2], p[3]}; }
JAMBA_INLINE F32 bytesToFloat(const uint8_t* p) { return toFloat(I32{p[0], p[1], p[2], p[3]}); }
#endif
JAMBA_INLINE F32 pow2(I32 n) { return (F32)((n + 127) << 23); }
JAMBA_INLINE float sum(F32 v) { return (v[0] + v[1]) + (v[2] + v[3]); }
JAMBA_INLINE float largest(F32 v) {
  float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
}
/** v · 2^n, given n + 1.5 · 2^23, whose low bits are n. v and the result must be normal. */
JAMBA_INLINE F32 timesPow2(F32 v, F32 n) { return (F32)((U32)v + ((U32)n << 23)); }
/** The upper 12 bits of the mantissa: products of two such numbers are exact. */
JAMBA_INLINE F32 upperBits(F32 v) { return (F32)((I32)v & (int32_t)0xfffff000); }
/** v in lanes where a >= b, else 0. */
JAMBA_INLINE F32 whereAtLeast(F32 v, F32 a, F32 b) { return (F32)((I32)v & (I32)(a >= b)); }
/** A bit for each lane where a >= b. */
JAMBA_INLINE uint32_t atLeast(F32 a, F32 b) {
  const I32 bits = (I32)(a >= b) & I32{1, 2, 4, 8};
  return (uint32_t)((bits[0] | bits[1]) | (bits[2] | bits[3]));
}

// ---- 16-bit floats

JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return (F32)(loadWords(p) << 16); }
// A product of powers of two moves the exponent, and makes subnormals exact; infinities and NaN are set apart.
JAMBA_INLINE F32 loadF16(const uint16_t* p) {
  I32 bits = loadWords(p);
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
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return *(const I32Unaligned*)p; }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return (F32)(pairs << 16); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return (F32)(pairs & (int32_t)0xffff0000); }
JAMBA_INLINE float scalarF16(uint16_t bits) {
  const uint16_t part[W] = {bits};
  return loadF16(part)[0];
}

constexpr bool hasBf16Dot = false;

/** v / 2^n, given n · 2^23: taken off the exponent. v and the result must be normal. */
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return (F32)((I32)v - n); }

}  // namespace jamba::JAMBA_LEVEL
