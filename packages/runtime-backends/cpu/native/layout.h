// How weights lie in memory: panels of 16 rows, columns interleaved so that one stream of reads feeds 16 sums at once.
// The same bytes serve every instruction set. Rows and columns that a shape lacks are filled up with zeros.
#pragma once
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace jamba {

constexpr int panelRows = 16;
/**
 * Panels of quantised weights whose blocks lie in turn: block 0 of each, block 1 of each, and so on. In decode a block of activations then
 * serves all of them from the first-level cache. A long row falls out of it between two panels, and fetching it again slows the
 * stream of weights by a fifth.
 */
constexpr int groupedPanels = 4;
/** Columns that share a scale. */
constexpr int blockColumns = 32;
/** Columns of q4_k whose scales share another. */
constexpr int superColumns = 256;

enum class Dtype : int32_t { f32, bf16, f16, q8, q4, q4_1, q4_k };
constexpr const char* dtypeNames[] = {"f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"};
static_assert(std::size(dtypeNames) == (int)Dtype::q4_k + 1);

/** What a checkpoint's rows are stored in: floats, whose numbers are those of Dtype, or GGML's blocks (blocks.h). */
enum class Stored : int32_t { f32, bf16, f16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs };

struct StoredFormat {
  const char* name;
  /** Values that lie together, and their bytes. */
  int32_t values, bytes;
};
constexpr StoredFormat storedFormats[] = {{"f32", 1, 4},      {"bf16", 1, 2},     {"f16", 1, 2},      {"q4_0", 32, 18},   {"q4_1", 32, 20},
                                          {"q5_0", 32, 22},   {"q5_1", 32, 24},   {"q8_0", 32, 34},   {"q2_k", 256, 84},  {"q3_k", 256, 110},
                                          {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210}, {"iq4_nl", 32, 18}, {"iq4_xs", 256, 136}};
constexpr int nStored = std::size(storedFormats);
static_assert(nStored == (int)Stored::iq4_xs + 1);
/** Of a row of whole blocks. */
constexpr int64_t storedBytes(Stored stored, int64_t columns) {
  const StoredFormat f = storedFormats[(int)stored];
  return columns / f.values * f.bytes;
}

/**
 * 64 columns of 16 rows, w = scale · (q - 8); no scale is 0. Unit u of block b holds columns 8u … 8u + 7 of the block: byte 4 r + c has
 * column 8u + c of row r in its low nibble and column 8u + 4 + c in its high one.
 */
struct Q4Block {
  uint8_t q[2][4][64];
  uint16_t scale[2][panelRows];  // f16
};
static_assert(sizeof(Q4Block) == 576);

/** The same with w = scale · q + minimum. */
struct Q4_1Block {
  uint8_t q[2][4][64];
  uint16_t scale[2][panelRows], minimum[2][panelRows];  // f16
};
static_assert(sizeof(Q4_1Block) == 640);

/**
 * 256 columns of 16 rows in blocks of 32, w = superScale · scale · q + superMinimum · minimum: what GGML's block of the same name has,
 * whose minimum is counted downwards. Whole scales and minima are below 64; no scale is 0. q as in Q4Block.
 */
struct Q4KBlock {
  uint8_t scale[8][panelRows];
  uint8_t q[8][4][64];
  uint8_t minimum[8][panelRows];
  uint16_t superScale[panelRows], superMinimum[panelRows];  // f16
};
static_assert(sizeof(Q4KBlock) == 2368);

/** 64 columns of 16 rows, w = scale · (q - 128); no scale is 0. Unit u of block b holds columns 4u … 4u + 3: byte 4 r + c. */
struct Q8Block {
  uint8_t q[2][8][64];
  uint16_t scale[2][panelRows];  // f16
};
static_assert(sizeof(Q8Block) == 1088);

/** f32 and f16: [columns][16]. bf16: [columns / 2][16][2], so that a dot product of pairs can take them as they lie. */
inline int64_t panelBytes(Dtype dtype, int64_t columns) {
  switch (dtype) {
    case Dtype::f32: return columns * panelRows * 4;
    case Dtype::f16: return columns * panelRows * 2;
    case Dtype::bf16: return (columns + 1) / 2 * panelRows * 4;
    case Dtype::q8: return (columns + 63) / 64 * (int64_t)sizeof(Q8Block);
    case Dtype::q4: return (columns + 63) / 64 * (int64_t)sizeof(Q4Block);
    case Dtype::q4_1: return (columns + 63) / 64 * (int64_t)sizeof(Q4_1Block);
    case Dtype::q4_k: return (columns + superColumns - 1) / superColumns * (int64_t)sizeof(Q4KBlock);
  }
  return 0;
}

inline bool isQuantised(Dtype dtype) { return dtype >= Dtype::q8; }
inline int64_t panelsOf(int64_t rows) { return (rows + panelRows - 1) / panelRows; }

/**
 * A weight as kernels see it: `stack` matrices [rows, columns] one after another, each a whole number of panels.
 * A vector (norm, bias) of `columns` values lies as plain f32.
 */
struct Matrix {
  const uint8_t* data = nullptr;
  Dtype dtype = Dtype::f32;
  bool isVector = false;
  int64_t stack = 1, rows = 0, columns = 0;

  int64_t panels() const { return panelsOf(rows); }
  /** With those that only fill a group. */
  int64_t storedPanels() const { return isQuantised(dtype) ? (panels() + groupedPanels - 1) / groupedPanels * groupedPanels : panels(); }
  /** Where a panel starts; blocks of a quantised one are every `groupedPanels`th from there on. */
  const uint8_t* panel(int64_t expert, int64_t i) const {
    const int64_t within = isQuantised(dtype) ? i % groupedPanels : 0;
    return data + (expert * storedPanels() + i - within) * panelBytes(dtype, columns) + within * panelBytes(dtype, 1);
  }
  const float* vector() const { return (const float*)data; }
  int64_t bytes() const {
    const int64_t all = isVector ? columns * 4 : stack * storedPanels() * panelBytes(dtype, columns);
    return (all + 63) / 64 * 64;
  }
};

}  // namespace jamba
