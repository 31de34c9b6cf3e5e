// Whether an engine's relaxed dot product of four is right: there is one that computes it wrongly in tiles of several tokens. Whether it is
// fast is known before this module is fetched: see src/wasm/probe-dots.ts.
#pragma once

#include "tiles.h"

namespace jamba::JAMBA_LEVEL {

/** One block row of 64 columns and T tokens against sums taken one by one. */
template <class Block, int T>
static bool isDotRight(Dtype dtype, Form form) {
  constexpr int columns = 64;
  alignas(64) static uint8_t panel[groupedPanels * sizeof(Block)], tile[T * (2 * blockBytes16 + 64)];
  uint32_t seed = 7;
  const auto next = [&] { return seed = seed * 1664525u + 1013904223u, (int32_t)(seed >> 8); };
  Block& block = *(Block*)panel;
  for (uint8_t& byte : panel) byte = (uint8_t)next();
  for (int half = 0; half < 2; half++)
    for (uint16_t& scale : block.scale[half]) scale = 0x3c00;  // 1
  float rows[T][columns];
  for (int t = 0; t < T; t++) {
    for (int k = 0; k < columns; k++) rows[t][k] = (float)(next() % 255 - 127);
    rows[t][t] = 127, rows[t][columns - 1 - t] = -127;
    placeQuantised(rows[t], columns, form, tile, T, t);
  }
  float out[T * panelRows];
  tileOf<T>(dtype)(panel, columns, tile, out);
  for (int t = 0; t < T; t++)
    for (int r = 0; r < panelRows; r++) {
      int32_t sum = 0;
      for (int k = 0; k < columns; k++) {
        const int half = k / blockColumns, c = k % blockColumns;
        int32_t w;
        if constexpr (sizeof(Block) == sizeof(Q8Block))
          w = block.q[half][c / 4][4 * r + c % 4] - 128;
        else
          w = (block.q[half][c / 8][4 * r + c % 4] >> (c % 8 / 4 * 4) & 15) - 8;
        sum += w * (int32_t)rows[t][k];
      }
      if (__builtin_fabsf(out[t * panelRows + r] - (float)sum) > 0.5f) return false;
    }
  return true;
}

template <class Block>
static bool areDotsRight(Dtype dtype, Form form) {
  return isDotRight<Block, tileSizes[0]>(dtype, form) && isDotRight<Block, tileSizes[1]>(dtype, form) && isDotRight<Block, tileSizes[2]>(dtype, form) &&
         isDotRight<Block, 1>(dtype, form);
}

/** So often, as an engine may run what it compiled in haste or, later, what it compiled well. */
extern "C" __attribute__((export_name("checkDots"))) bool checkDots(int32_t times) {
  bool right = true;
  for (int32_t i = 0; i < times; i++) right &= areDotsRight<Q4Block>(Dtype::q4, Form::i8) && areDotsRight<Q8Block>(Dtype::q8, Form::i16);
  return right;
}

}  // namespace jamba::JAMBA_LEVEL
