// The words of simd.h for NEON with dot products, and with i8mm where the compiler may use it.
#pragma once
#include <arm_neon.h>
#include "shared.h"

namespace jamba::JAMBA_LEVEL {

constexpr int W = 4;
using F32 = float32x4_t;
using I32 = int32x4_t;

// ---- f32

/** Whether fma rounds once. */
constexpr bool fused = true;
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
/** v · 2^n, given n + 1.5 · 2^23, whose low bits are n. v and the result must be normal. */
JAMBA_INLINE F32 timesPow2(F32 v, F32 n) { return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(v), vshlq_n_s32(vreinterpretq_s32_f32(n), 23))); }
/** The upper 12 bits of the mantissa: products of two such numbers are exact. */
JAMBA_INLINE F32 upperBits(F32 v) { return vreinterpretq_f32_s32(vandq_s32(vreinterpretq_s32_f32(v), vdupq_n_s32((int)0xfffff000))); }
/** v in lanes where a >= b, else 0. */
JAMBA_INLINE F32 whereAtLeast(F32 v, F32 a, F32 b) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vcgeq_f32(a, b))); }
/** A bit for each lane where a >= b. */
JAMBA_INLINE uint32_t atLeast(F32 a, F32 b) {
  const uint32x4_t bits = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vcgeq_f32(a, b), bits));
}

// ---- 16-bit floats

JAMBA_INLINE F32 loadF16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
JAMBA_INLINE void storeF16(uint16_t* p, F32 v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
JAMBA_INLINE F32 loadBf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
JAMBA_INLINE I32 loadPairs(const uint16_t* p) { return vreinterpretq_s32_u16(vld1q_u16(p)); }
JAMBA_INLINE F32 evenBf16(I32 pairs) { return vreinterpretq_f32_s32(vshlq_n_s32(pairs, 16)); }
JAMBA_INLINE F32 oddBf16(I32 pairs) { return vreinterpretq_f32_s32(vandq_s32(pairs, vdupq_n_s32((int)0xffff0000))); }
JAMBA_INLINE float scalarF16(uint16_t bits) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0); }

constexpr bool hasBf16Dot = false;

/** v / 2^n, given n · 2^23: taken off the exponent. v and the result must be normal. */
JAMBA_INLINE F32 overPow2(F32 v, int32_t n) { return vreinterpretq_f32_s32(vsubq_s32(vreinterpretq_s32_f32(v), vdupq_n_s32(n))); }

// ---- dot products of 8-bit columns

using Bytes = uint8x16_t;
using Sum4 = int32x4_t;
using Sum8 = int32x4_t;
constexpr int quadBytes8 = 4;
JAMBA_INLINE Bytes loadBytes(const uint8_t* p) { return vld1q_u8(p); }
JAMBA_INLINE Bytes lowNibbles(Bytes v) { return vandq_u8(v, vdupq_n_u8(15)); }
JAMBA_INLINE Bytes highNibbles(Bytes v) { return vshrq_n_u8(v, 4); }
JAMBA_INLINE int8x16_t quad(const int8_t* x) { return vreinterpretq_s8_s32(vdupq_n_s32(*(const int32_t*)x)); }
JAMBA_INLINE Sum4 start4(const int32_t* correction) { return vdupq_n_s32(*correction); }
using Four = int8x16_t;
JAMBA_INLINE Four fourOf(const int8_t* x) { return quad(x); }
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) { return vdotq_s32(s, vreinterpretq_s8_u8(w), x); }
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

}  // namespace jamba::JAMBA_LEVEL
