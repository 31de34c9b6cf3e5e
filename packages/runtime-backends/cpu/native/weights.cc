// Rows of checkpoints into panels, and values into a checkpoint's blocks, on all threads.
#include <cstring>

#include "machine.h"

namespace jamba {

void Machine::pack(Weight& weight, int64_t from, int64_t to, const uint8_t* bytes, Stored stored) {
  const int64_t rowBytes = storedBytes(stored, weight.matrix.columns);
  pack(weight, from, to, stored, false, [=](int64_t row, int64_t, uint8_t*) { return bytes + (row - from) * rowBytes; });
}

void Machine::pack(Weight& weight, int64_t from, int64_t to, Stored stored, bool fetched, const Fetch& fetch) {
  const Matrix& m = weight.matrix;
  uint8_t* data = weight.pages->data();
  const int64_t columns = m.columns, rowBytes = storedBytes(stored, columns);
  if (m.isVector) {
    std::vector<uint8_t> room(fetched ? (size_t)((to - from) * rowBytes) : 0);
    kernels.decode((float*)data + from * columns, fetch(from, to - from, room.data()), stored, (to - from) * columns);
    return;
  }
  // Panels do not cross from one matrix of a stack to the next.
  struct Piece {
    int64_t row, count;
  };
  std::vector<Piece> pieces;
  for (int64_t row = from; row < to;) {
    const int64_t inMatrix = row % m.rows, left = m.rows - inMatrix, wanted = panelRows - inMatrix % panelRows;
    int64_t count = wanted < left ? wanted : left;
    if (row + count > to) count = to - row;
    pieces.push_back({row, count});
    row += count;
  }
  const int64_t floats = panelRows * roundUp(columns, 64) * 4;
  spread((int64_t)pieces.size(), floats + (fetched ? panelRows * rowBytes : 0), [&](int64_t i, uint8_t* local) {
    const auto [row, count] = pieces[i];
    uint8_t* panel = (uint8_t*)m.panel(row / m.rows, row % m.rows / panelRows);
    kernels.packRows(panel, m.dtype, fetch(row, count, local + floats), stored, count, columns, (float*)local);
  });
}

void Machine::encode(const float* values, int64_t rows, int64_t columns, Stored to, const float* importance, uint8_t* blocks) {
  // Nothing weighs nothing: a column that was never seen still keeps its value where that costs others nothing.
  constexpr double leastWeight = 1e-6;
  std::vector<float> weights(columns, 1.0f);
  double sum = 0;
  for (int64_t i = 0; importance && i < columns; i++) sum += importance[i];
  for (int64_t i = 0; sum > 0 && i < columns; i++) weights[i] = (float)(importance[i] / (sum / (double)columns) + leastWeight);
  // Far above any weight, and below what the smallest format's scale reaches.
  constexpr float most = 262144.0f;
  std::atomic<bool> known{true};
  std::atomic<int64_t> unheld{-1};
  spread(rows, 0, [&](int64_t row, uint8_t*) {
    const float* x = values + row * columns;
    for (int64_t i = 0; i < columns; i++)
      if (!(x[i] >= -most && x[i] <= most)) unheld = row * columns + i;
    if (unheld < 0 && !kernels.encodeRow(x, weights.data(), columns, to, blocks + row * storedBytes(to, columns))) known = false;
  });
  if (!known) fail("DTYPE", "encodeBlocks: expected a format that can be written, found number " + std::to_string((int)to));
  if (unheld >= 0)
    fail("DTYPE", "encodeBlocks: value " + std::to_string(unheld) + ": expected a number within 2^18, as blocks hold them, found " +
                               std::to_string(values[unheld]) + "; use bf16 or f32");
}

}  // namespace jamba
