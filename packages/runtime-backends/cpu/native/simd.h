// One vocabulary for the vector units. Only simd/ has intrinsics: kernels are written in these words, once.
//
// F32 and I32 are W lanes; a panel of weights is 16 rows wide, V vectors of W. Which unit it is follows from what the
// compiler may use (-m flags of the translation unit). Arithmetic operators are the compiler's own on vector types.
//
// Dot products of 8-bit columns: a vector holds W rows of 4 columns. q4: the low nibbles are columns 0…3 of a unit of 8, the high ones
// 4…7, each + 8. q8: bytes + 128. The offsets come off through `correction`, -8 Σ of the block's activations, which starts or ends a sum
// (16 times for q8).
#pragma once

#if defined(JAMBA_EMULATE_AVX512) || defined(__AVX512VNNI__)
#define JAMBA_AVX512 1
#include "simd/avx512.h"
#elif defined(__AVX2__)
#define JAMBA_AVX2 1
#include "simd/avx2.h"
#elif defined(__ARM_FEATURE_DOTPROD)
#define JAMBA_NEON 1
#include "simd/neon.h"
#elif defined(__wasm_simd128__)
#define JAMBA_WASM 1
#include "simd/wasm.h"
#else
#include "simd/portable.h"
#endif
#include "simd/functions.h"
