// GGML's block formats, a part of 32 values at a time: the integers that are stored and what they are multiplied by, or floats.
#pragma once
#include <type_traits>

#include "simd.h"
#include "step.h"

namespace jamba::JAMBA_LEVEL {

/** Value i is scale[i / 16] · (q[i] - zero) + minimum[i / 16]. */
struct Part {
  uint8_t q[blockColumns];
  float scale[2], minimum[2];
};

struct PartTraits {
  int zero;
  /** Scales of a part, 1 or 2; where it is 1 both are the same. */
  int scales;
  bool hasMinimum;
  /** As q8 is: the integers can stay. */
  constexpr bool isQ8() const { return scales == 1 && !hasMinimum; }
};
constexpr PartTraits traitsOf(Stored s) {
  switch (s) {
    case Stored::q4_0: return {8, 1, false};
    case Stored::q5_0: return {16, 1, false};
    case Stored::q8_0:
    case Stored::iq4_nl:
    case Stored::iq4_xs: return {128, 1, false};
    case Stored::q2_k: return {0, 2, true};
    case Stored::q3_k: return {4, 2, false};
    case Stored::q6_k: return {32, 2, false};
    default: return {0, 1, true};
  }
}

JAMBA_INLINE float halfAt(const uint8_t* p) { return scalarF16((uint16_t)(p[0] | p[1] << 8)); }

/** 32 nibbles of 16 bytes: the low ones first. */
JAMBA_INLINE void openNibbles(const uint8_t* from, uint8_t* q) {
  for (int i = 0; i < 16; i += 8) {
    uint64_t both;
    memcpy(&both, from + i, 8);
    const uint64_t low = both & 0x0f0f0f0f0f0f0f0f, high = both >> 4 & 0x0f0f0f0f0f0f0f0f;
    memcpy(q + i, &low, 8), memcpy(q + 16 + i, &high, 8);
  }
}

/** Adds 16 to the values whose bit is set. */
JAMBA_INLINE void addFifthBits(const uint8_t* bits, uint8_t* q) {
  for (int i = 0; i < 4; i++) {
    // Byte j of eight copies keeps bit j alone, and reaches 128 if that is set.
    const uint64_t set = (((uint64_t)bits[i] * 0x0101010101010101) & 0x8040201008040201) + 0x00406070787c7e7f;
    uint64_t eight;
    memcpy(&eight, q + 8 * i, 8);
    eight |= (set & 0x8080808080808080) >> 3;
    memcpy(q + 8 * i, &eight, 8);
  }
}

struct ScaleK {
  int scale, minimum;
};
/** Scale and minimum p of eight in the 12 bytes of q4_k and q5_k, 6 bits each. */
JAMBA_INLINE ScaleK scaleK(const uint8_t* block, int p) {
  const uint8_t* b = block + 4;
  if (p < 4) return {b[p] & 63, b[p + 4] & 63};
  return {(b[p + 4] & 15) | b[p - 4] >> 6 << 4, b[p + 4] >> 4 | b[p] >> 6 << 4};
}

template <Stored S>
JAMBA_INLINE void openPart(const uint8_t* block, int p, Part& part) {
  uint8_t* q = part.q;
  part.minimum[0] = part.minimum[1] = 0;
  if constexpr (S == Stored::q4_0 || S == Stored::q5_0 || S == Stored::q8_0 || S == Stored::iq4_nl || S == Stored::q4_1 || S == Stored::q5_1)
    part.scale[0] = part.scale[1] = halfAt(block);
  if constexpr (S == Stored::q4_1 || S == Stored::q5_1) part.minimum[0] = part.minimum[1] = halfAt(block + 2);

  if constexpr (S == Stored::q4_0) openNibbles(block + 2, q);
  if constexpr (S == Stored::q4_1) openNibbles(block + 4, q);
  if constexpr (S == Stored::q5_0) openNibbles(block + 6, q), addFifthBits(block + 2, q);
  if constexpr (S == Stored::q5_1) openNibbles(block + 8, q), addFifthBits(block + 4, q);
  if constexpr (S == Stored::q8_0)
    for (int i = 0; i < blockColumns; i++) q[i] = block[2 + i] ^ 128;
  if constexpr (S == Stored::q2_k) {
    const uint8_t *scales = block + 2 * p, *low = block + 16 + p / 4 * 32;
    for (int i = 0; i < blockColumns; i++) q[i] = low[i] >> p % 4 * 2 & 3;
    for (int half = 0; half < 2; half++) {
      part.scale[half] = halfAt(block + 80) * (float)(scales[half] & 15);
      part.minimum[half] = -(halfAt(block + 82) * (float)(scales[half] >> 4));
    }
  }
  if constexpr (S == Stored::q3_k) {
    const uint8_t* low = block + 32 + p / 4 * 32;
    for (int i = 0; i < blockColumns; i++) q[i] = (low[i] >> p % 4 * 2 & 3) | (block[i] >> p & 1) << 2;
    for (int half = 0; half < 2; half++) {
      const int n = 2 * p + half, scale = (block[96 + n % 8] >> n / 8 * 4 & 15) | (block[104 + n % 4] >> n / 4 * 2 & 3) << 4;
      part.scale[half] = halfAt(block + 108) * (float)(scale - 32);
    }
  }
  if constexpr (S == Stored::q4_k || S == Stored::q5_k) {
    const ScaleK own = scaleK(block, p);
    part.scale[0] = part.scale[1] = halfAt(block) * (float)own.scale;
    part.minimum[0] = part.minimum[1] = -(halfAt(block + 2) * (float)own.minimum);
    const uint8_t* low = block + (S == Stored::q4_k ? 16 : 48) + p / 2 * 32;
    for (int i = 0; i < blockColumns; i++) q[i] = low[i] >> p % 2 * 4 & 15;
    if constexpr (S == Stored::q5_k)
      for (int i = 0; i < blockColumns; i++) q[i] |= (block[16 + i] >> p & 1) << 4;
  }
  if constexpr (S == Stored::q6_k) {
    const uint8_t *low = block + p / 4 * 64 + p % 2 * 32, *high = block + 128 + p / 4 * 32;
    for (int i = 0; i < blockColumns; i++) q[i] = (low[i] >> p % 4 / 2 * 4 & 15) | (high[i] >> p % 4 * 2 & 3) << 4;
    for (int half = 0; half < 2; half++) part.scale[half] = halfAt(block + 208) * (float)(int8_t)block[192 + 2 * p + half];
  }
  if constexpr (S == Stored::iq4_nl || S == Stored::iq4_xs) {
    // What the 4 bits stand for, and 128.
    constexpr uint8_t codebook[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
    const uint8_t* from = block + (S == Stored::iq4_nl ? 2 : 8 + 16 * p);
    for (int i = 0; i < 16; i++) q[i] = codebook[from[i] & 15], q[16 + i] = codebook[from[i] >> 4];
  }
  if constexpr (S == Stored::iq4_xs) {
    const int high = (block[2] | block[3] << 8) >> 2 * p & 3, scale = (block[4 + p / 2] >> p % 2 * 4 & 15) | high << 4;
    part.scale[0] = part.scale[1] = halfAt(block) * (float)(scale - 32);
  }
}

/** Values i … i + W - 1. */
template <Stored S>
JAMBA_INLINE F32 floatsOf(const Part& part, int i) {
  constexpr PartTraits traits = traitsOf(S);
  const F32 value = mul(set1(part.scale[i / 16]), add(bytesToFloat(part.q + i), set1((float)-traits.zero)));
  return traits.hasMinimum ? add(value, set1(part.minimum[i / 16])) : value;
}

/** n values, whole blocks, as f32. */
template <Stored S>
static void decodeBlocks(float* to, const uint8_t* from, int64_t n) {
  constexpr StoredFormat format = storedFormats[(int)S];
  for (int64_t k = 0; k < n; k += format.values, from += format.bytes)
    for (int p = 0; p < format.values / blockColumns; p++) {
      Part part;
      openPart<S>(from, p, part);
      for (int i = 0; i < blockColumns; i += W) store(to + k + p * blockColumns + i, floatsOf<S>(part, i));
    }
}

/** Calls `body` with the format as a constant; nothing for floats. */
template <class Body>
JAMBA_INLINE void withFormat(Stored stored, const Body& body) {
#define JAMBA_FORMAT(name) \
  case Stored::name: return body(std::integral_constant<Stored, Stored::name>());
  switch (stored) {
    JAMBA_FORMAT(q4_0)
    JAMBA_FORMAT(q4_1)
    JAMBA_FORMAT(q5_0)
    JAMBA_FORMAT(q5_1)
    JAMBA_FORMAT(q8_0)
    JAMBA_FORMAT(q2_k)
    JAMBA_FORMAT(q3_k)
    JAMBA_FORMAT(q4_k)
    JAMBA_FORMAT(q5_k)
    JAMBA_FORMAT(q6_k)
    JAMBA_FORMAT(iq4_nl)
    JAMBA_FORMAT(iq4_xs)
    default: return;
  }
#undef JAMBA_FORMAT
}

}  // namespace jamba::JAMBA_LEVEL
