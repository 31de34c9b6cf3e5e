// Rows of activations in the form that a weight's dot product wants, in tiles of a few tokens so that a tile is one stream.
#pragma once
#include "simd.h"
#include "step.h"

namespace jamba::JAMBA_LEVEL {

/** Tokens that share one pass over a panel: as many sums as registers hold beside the weights. */
#if JAMBA_AVX512
constexpr int tileTokens = 12;
#elif JAMBA_WASM
constexpr int tileTokens = 5;  // one register is the engine's own
#elif JAMBA_AVX2
constexpr int tileTokens = 6;
#else
constexpr int tileTokens = 4;
#endif

/** Sizes of tiles: the largest first, then what tails are cut into. */
constexpr int tileSizes[] = {tileTokens, 4, 2, 1};
constexpr int nTileSizes = 4;
/** Index of the tile that starts at token t of `L`. */
JAMBA_INLINE int tileKind(int64_t t, int64_t L) {
  int kind = 0;
  while (tileSizes[kind] > L - t) kind++;
  return kind;
}

/**
 * f32: [columns][T]. bf16: [columns / 2][T][2]. i8 and i16: per block of 32 columns, T × 32 values, T exponents, T corrections;
 * behind the blocks T scales. x = scale / 2^exponent · value: the scale is the row's, so that a block's own costs the inner
 * loop an integer subtraction instead of a product. Exponents are kept shifted, as `overPow2` wants them.
 * i16 holds columns 0, 2, 1, 3 of each four: pairs for multiply-and-add. Columns are filled up with zeros. Where the unit `splitsSigns`, its
 * fours are bytes instead, what is above 0 and then amounts of what is below, and corrections are the sums of those amounts.
 * i8Sums: i8 with what a block's minimum is multiplied by, Σ value / 2^exponent in f32, where i8 has corrections.
 * i8Super: per 256 columns 8 blocks of T × 32 values, T factors for the same `n` (`scaleFactor`) and T sums Σ 64 / 2^n · value in f32; behind
 * them T steps. x = step · 64 / 2^n · value.
 */
enum class Form : int32_t { f32, bf16, i8, i16, i8Sums, i8Super };
constexpr int nForms = 6;

JAMBA_INLINE Form formOf(Dtype dtype) {
  if (dtype == Dtype::q4) return Form::i8;
  if (dtype == Dtype::q4_1) return Form::i8Sums;
  if (dtype == Dtype::q4_k) return Form::i8Super;
  if (dtype == Dtype::q8) return quadBytes8 == 8 ? Form::i16 : Form::i8;
  return dtype == Dtype::bf16 && hasBf16Dot ? Form::bf16 : Form::f32;
}

constexpr int64_t blockBytes8 = blockColumns + 8, blockBytes16 = 2 * blockColumns + 8, superBytes8 = 8 * blockBytes8 + 4;

/** Bytes of one token. */
JAMBA_INLINE int64_t formBytes(Form form, int64_t columns) {
  switch (form) {
    case Form::f32: return roundUp(columns, 2) * 4;
    case Form::bf16: return roundUp(columns, 2) * 2;
    case Form::i8:
    case Form::i8Sums: return roundUp(columns, 64) / blockColumns * blockBytes8 + 4;
    case Form::i16: return roundUp(columns, 64) / blockColumns * blockBytes16 + 4;
    case Form::i8Super: return roundUp(columns, superColumns) / superColumns * superBytes8;
  }
  return 0;
}

/** y = weight · x / sqrt(mean(x²) + eps) */
static void normRow(const float* x, const float* weight, float eps, int64_t columns, float* y) {
  F32 squares = zero();
  for (int64_t i = 0; i < columns; i += W) {
    F32 v = loadFirst(x + i, (int)(columns - i));
    squares = fma(v, v, squares);
  }
  F32 scale = set1(1.0f / __builtin_sqrtf(sum(squares) / (float)columns + eps));
  for (int64_t i = 0; i < columns; i += W) {
    int n = (int)(columns - i);
    storeFirst(y + i, mul(mul(loadFirst(x + i, n), scale), loadFirst(weight + i, n)), n);
  }
}

/** One row, filled up with zeros, into place `t` of a tile of T tokens. */
static void placeFloats(const float* row, int64_t columns, float* tile, int T, int t) {
  for (int64_t k = 0; k < roundUp(columns, 2); k++) tile[k * T + t] = row[k];
}

static void placeBf16(const float* row, int64_t columns, uint32_t* tile, int T, int t) {
  uint32_t words[W];
  for (int64_t k = 0; k < columns; k += 2 * W) {
    storePairs(words, row + k);
    for (int i = 0; i < W && k + 2 * i < columns; i++) tile[(k / 2 + i) * T + t] = words[i];
  }
}

JAMBA_INLINE float largestOf(const float* x, int64_t n) {
  F32 most = zero();
  for (int64_t i = 0; i < n; i += W) most = max(most, abs(load(x + i)));
  return largest(most);
}

/** How many times `most` is halved to be below twice `part`. Floats of one sign are in the order of their bits, so this is floor(log2(most / part)). */
JAMBA_INLINE int32_t halvings(float most, float part, int32_t end) {
  int32_t mostBits, bits;
  memcpy(&mostBits, &most, 4), memcpy(&bits, &part, 4);
  const int32_t n = (mostBits - bits) >> 23;
  return n < 0 ? 0 : n < end ? n : end;  // below 0 only where a NaN is about
}

/** q = round(x · steps) */
JAMBA_INLINE void roundBlock(const float* x, float steps, int32_t (&q)[blockColumns]) {
  for (int i = 0; i < blockColumns; i += W) {
    const I32 rounded = toInt(mul(load(x + i), set1(steps)));
    memcpy(q + i, &rounded, sizeof rounded);
  }
}

/** q = round(x / step), where step = max|row| / 127 / 2^n, and n as large as the block's own maximum allows. */
static void placeQuantised(const float* row, int64_t columns, Form form, uint8_t* tile, int T, int t) {
  const bool wide = form == Form::i16;
  const int64_t perToken = wide ? blockBytes16 : blockBytes8, values = wide ? 2 * blockColumns : blockColumns;
  const int64_t nBlocks = roundUp(columns, 64) / blockColumns;
  const float rowMost = largestOf(row, nBlocks * blockColumns), inverse = rowMost > 0 ? 127.0f / rowMost : 0.0f;
  // What a scale can lose of its exponent and stay normal, whatever the weight's.
  constexpr int32_t mostExponent = 24;
  for (int64_t b = 0; b < nBlocks; b++) {
    const float* x = row + b * blockColumns;
    const float most = largestOf(x, blockColumns);
    const int32_t exponent = halvings(rowMost, most, mostExponent);
    int32_t q[blockColumns];
    roundBlock(x, inverse * (float)(1 << exponent), q);
    uint8_t* block = tile + b * T * perToken;
    int32_t total = 0, below = 0;
    if (wide && splitsSigns) {
      below = storeSigns((int8_t*)(block + t * values), q);
    } else if (wide) {
      int16_t* to = (int16_t*)(block + t * values);
      for (int i = 0; i < blockColumns; i += 4) {
        to[i] = (int16_t)q[i], to[i + 1] = (int16_t)q[i + 2], to[i + 2] = (int16_t)q[i + 1], to[i + 3] = (int16_t)q[i + 3];
      }
    } else {
      int8_t* to = (int8_t*)(block + t * values);
      for (int i = 0; i < blockColumns; i++) to[i] = (int8_t)q[i];
    }
    for (int i = 0; i < blockColumns; i++) total += wide && !splitsSigns ? (int16_t)q[i] : (int8_t)q[i];  // of a NaN, what the products see
    ((int32_t*)(block + T * values))[t] = exponent << 23;
    if (form == Form::i8Sums)
      ((float*)(block + T * values + T * 4))[t] = (float)total / (float)(1 << exponent);
    else
      ((int32_t*)(block + T * values + T * 4))[t] = wide && splitsSigns ? below : -8 * total;
  }
  ((float*)(tile + nBlocks * T * perToken))[t] = rowMost / 127.0f;
}

/** q = round(x / step), where step = max|256 columns| / 127 / 2^n, and n up to 6 as large as the block's own maximum allows. */
static void placeSuper(const float* row, int64_t columns, uint8_t* tile, int T, int t) {
  const int64_t present = roundUp(columns, 64);
  for (int64_t k = 0; k < columns; k += superColumns, tile += T * superBytes8) {
    const int64_t n = present - k < superColumns ? present - k : superColumns;
    const float most = largestOf(row + k, n), inverse = most > 0 ? 127.0f / most : 0.0f;
    for (int b = 0; b < 8; b++) {
      uint8_t* block = tile + b * T * blockBytes8;
      int8_t* to = (int8_t*)block + t * blockColumns;
      int32_t total = 0, shift = 0;
      if (b * blockColumns < n) {
        const float* x = row + k + b * blockColumns;
        shift = halvings(most, largestOf(x, blockColumns), 6);
        int32_t q[blockColumns];
        roundBlock(x, inverse * (float)(1 << shift), q);
        for (int i = 0; i < blockColumns; i++) to[i] = (int8_t)q[i], total += to[i];
      } else {
        memset(to, 0, blockColumns);
      }
      ((int32_t*)(block + T * blockColumns))[t] = scaleFactor(shift);
      ((float*)(block + T * blockColumns + T * 4))[t] = (float)(total * (64 >> shift));
    }
    ((float*)(tile + 8 * T * blockBytes8))[t] = most / (127.0f * 64.0f);
  }
}

static void place(const float* row, int64_t columns, Form form, uint8_t* tile, int T, int t) {
  switch (form) {
    case Form::f32: return placeFloats(row, columns, (float*)tile, T, t);
    case Form::bf16: return placeBf16(row, columns, (uint32_t*)tile, T, t);
    case Form::i8:
    case Form::i16:
    case Form::i8Sums: return placeQuantised(row, columns, form, tile, T, t);
    case Form::i8Super: return placeSuper(row, columns, tile, T, t);
  }
}

/** The row itself if it may be read to a whole block, else a copy with zeros behind. */
JAMBA_INLINE const float* padded(const float* row, int64_t columns, float* local) {
  if (columns % 64 == 0) return row;
  memcpy(local, row, columns * 4);
  memset(local + columns, 0, (roundUp(columns, 64) - columns) * 4);
  return local;
}

/** Where each form that a set of weights wants lies in scratch; -1 for those that none wants. */
struct Forms {
  int64_t offsets[nForms] = {-1, -1, -1, -1, -1, -1};
  int64_t bytes = 0;
  void want(Form form, int64_t rows, int64_t columns) {
    if (offsets[(int)form] >= 0) return;
    offsets[(int)form] = bytes;
    bytes += roundUp(rows * formBytes(form, columns), 64);
  }
};

/** Tokens [t0, t1) of the command's x, normed on the way if asked, in every form that is wanted. */
static void prepareTokens(const Command& c, const Step& step, const int64_t (&offsets)[nForms], int64_t t0, int64_t t1, float* local) {
  const Tensor& x = c.in[0];
  const int64_t columns = x.columns, L = x.rows;
  for (int64_t start = t0; start < t1;) {
    const int T = tileSizes[tileKind(start, L)];
    for (int t = 0; t < T; t++) {
      const float* row = step.at(x) + (start + t) * x.stride;
      if (c.norm.data) {
        normRow(row, c.norm.vector(), c.eps, columns, local);
        memset(local + columns, 0, (roundUp(columns, 64) - columns) * 4);
        row = local;
      } else {
        row = padded(row, columns, local);
      }
      for (int form = 0; form < nForms; form++) {
        if (offsets[form] < 0) continue;
        place(row, columns, (Form)form, step.scratch + offsets[form] + start * formBytes((Form)form, columns), T, t);
      }
    }
    start += T;
  }
}

/** A phase that prepares all rows of x. */
static void planPrepare(const Command& c, const Forms& forms, Step& step) {
  const Tensor& x = c.in[0];
  constexpr int tokensPerTask = 4 * tileTokens;
  Phase& p = step.add(
      [](const Phase& p, int task, Worker& worker) {
        const Tensor& x = p.command->in[0];
        int64_t offsets[nForms];
        memcpy(offsets, p.args, sizeof offsets);
        const int64_t t0 = (int64_t)task * tokensPerTask, t1 = t0 + tokensPerTask < x.rows ? t0 + tokensPerTask : x.rows;
        prepareTokens(*p.command, *p.step, offsets, t0, t1, (float*)worker.local);
      },
      c, (x.rows + tokensPerTask - 1) / tokensPerTask);
  memcpy(p.args, forms.offsets, sizeof forms.offsets);
  step.needLocal(roundUp(x.columns, 64) * 4);
}

}  // namespace jamba::JAMBA_LEVEL
