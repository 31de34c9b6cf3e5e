// What the words of every instruction set start from, and bf16 one number at a time.
#pragma once
#include <cstdint>
#include <cstring>

namespace jamba::JAMBA_LEVEL {

#define JAMBA_INLINE static inline __attribute__((always_inline))

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

}  // namespace jamba::JAMBA_LEVEL
