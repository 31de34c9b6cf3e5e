// The words of simd.h for WebAssembly: SIMD of 128 bits, relaxed SIMD, and its dot product of four where an engine has a good one.
#pragma once
#include "vectors128.h"

namespace jamba::JAMBA_LEVEL {

/** As loadF16, of what is finite. */
JAMBA_INLINE F32 loadScale(const uint16_t* p) { return (F32)(((I32)wasm_i32x4_load16x4(p) << 13) & (int32_t)0x8fffe000) * 5.192296858534828e33f; }

// ---- dot products of 8-bit columns

using Bytes = U16;
JAMBA_INLINE Bytes loadBytes(const uint8_t* p) { return (Bytes)wasm_v128_load(p); }
JAMBA_INLINE Bytes lowNibbles(Bytes v) { return v & 0x0f0f; }
JAMBA_INLINE Bytes highNibbles(Bytes v) { return (v >> 4) & 0x0f0f; }
JAMBA_INLINE v128_t quad(const void* x) { return wasm_v128_load32_splat(x); }
using Four = v128_t;
JAMBA_INLINE Four fourOf(const int8_t* x) { return quad(x); }
using Sum8 = I32;
struct Split8 { v128_t even, odd; };
constexpr int quadBytes8 = 8;

#if defined(JAMBA_DOT_OF_FOUR)
// An engine may take the second operand for signed or unsigned, and add pairs with saturation: it is kept in 0 … 127, where all agree.
JAMBA_INLINE I32 dotOfFour(v128_t bytes, v128_t sevenBits, I32 sum) { return (I32)wasm_i32x4_relaxed_dot_i8x16_i7x16_add(bytes, sevenBits, (v128_t)sum); }

using Sum4 = I32;
JAMBA_INLINE Sum4 start4(const int32_t* correction) { return (I32)quad(correction); }
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) { return dotOfFour(x, (v128_t)w, s); }
JAMBA_INLINE I32 total4(Sum4 s, const int32_t*) { return s; }

/** q8 has all 8 bits, so activations are the ones with seven: positive ones, then amounts of negative ones, whose weights are -w - 1. */
constexpr bool splitsSigns = true;
// -q - 1 is q with every bit turned, and q is what lies there with its highest bit turned.
JAMBA_INLINE v128_t halfOf8(Bytes w, int odd) { return wasm_v128_xor((v128_t)w, odd ? wasm_i8x16_splat(127) : wasm_i8x16_splat(-128)); }
/** 32 activations as such fours; the sum of the amounts. */
JAMBA_INLINE int32_t storeSigns(int8_t* to, const int32_t* q) {
  I32 amounts = {};
  for (int i = 0; i < 32; i += 16, to += 32) {
    const v128_t low = wasm_i16x8_narrow_i32x4(wasm_v128_load(q + i), wasm_v128_load(q + i + 4)), high = wasm_i16x8_narrow_i32x4(wasm_v128_load(q + i + 8), wasm_v128_load(q + i + 12));
    const v128_t all = wasm_i8x16_narrow_i16x8(low, high), none = wasm_i8x16_splat(0);
    const v128_t above = wasm_i8x16_max(all, none), below = wasm_i8x16_max(wasm_i8x16_neg(all), none);
    wasm_v128_store(to, wasm_i32x4_shuffle(above, below, 0, 4, 1, 5));
    wasm_v128_store(to + 16, wasm_i32x4_shuffle(above, below, 2, 6, 3, 7));
    amounts += (I32)wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extadd_pairwise_i8x16(below));
  }
  return (amounts[0] + amounts[1]) + (amounts[2] + amounts[3]);
}
JAMBA_INLINE Sum8 dotHalf8(Sum8 s, v128_t half, Four x) { return dotOfFour(half, x, s); }
JAMBA_INLINE Sum8 start8(const int32_t* correction) { return (I32)quad(correction); }
JAMBA_INLINE I32 total8(Sum8 s, const int32_t*) { return s; }
#else
using Sum4 = I16;
JAMBA_INLINE Sum4 start4(const int32_t*) { return I16{}; }
// 8 · 2 · 15 · 127 = 30480 fits i16.
#if defined(__wasm_relaxed_simd__)
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) { return s + (I16)wasm_i16x8_relaxed_dot_i8x16_i7x16(x, (v128_t)w); }
#else
JAMBA_INLINE Sum4 dot4(Sum4 s, Bytes w, Four x) {
  const I16 four = (I16)x;
  return s + (I16)(w & 255) * ((four << 8) >> 8) + (I16)(w >> 8) * (four >> 8);
}
#endif
JAMBA_INLINE I32 total4(Sum4 s, const int32_t* correction) { return (I32)wasm_i32x4_extadd_pairwise_i16x8((v128_t)s) + (I32)quad(correction); }

constexpr bool splitsSigns = false;
JAMBA_INLINE int32_t storeSigns(int8_t*, const int32_t*) { return 0; }
JAMBA_INLINE v128_t halfOf8(Bytes w, int odd) { return (v128_t)(odd ? w >> 8 : w & 255); }
JAMBA_INLINE Sum8 dotHalf8(Sum8 s, v128_t half, Four x) { return s + (I32)wasm_i32x4_dot_i16x8(half, x); }
JAMBA_INLINE Sum8 start8(const int32_t*) { return I32{}; }
JAMBA_INLINE I32 total8(Sum8 s, const int32_t* correction) { return s + 16 * *correction; }
#endif

JAMBA_INLINE Split8 split8(Bytes w) { return {halfOf8(w, 0), halfOf8(w, 1)}; }
JAMBA_INLINE Sum8 dot8(Sum8 s, Split8 w, const int8_t* x) { return dotHalf8(dotHalf8(s, w.even, quad(x)), w.odd, quad(x + 4)); }

}  // namespace jamba::JAMBA_LEVEL
