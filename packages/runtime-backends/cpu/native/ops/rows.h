// Ops that move rows and compute nothing: embed, gatherRows, and the ways in and out of the arena.
#pragma once
#include "../simd.h"
#include "../step.h"

namespace jamba::JAMBA_LEVEL {

/** Row `row` of a packed matrix, from wherever its columns lie in the panel. */
static void unpackRow(const Matrix& m, int64_t row, float* to) {
  const uint8_t* panel = m.panel(0, row / panelRows);
  const int r = (int)(row % panelRows);
  // One block of 32 columns: `value` of its column i times the scale, and the minimum where there is one.
  const auto blocks = [&](const auto* all, const auto& value) {
    for (int64_t k = 0; k < m.columns; k += blockColumns) {
      const auto& block = all[k / 64 * groupedPanels];
      const int half = (int)(k / blockColumns % 2), n = m.columns - k < blockColumns ? (int)(m.columns - k) : blockColumns;
      const float scale = scalarF16(block.scale[half][r]);
      for (int i = 0; i < n; i++) to[k + i] = scale * (float)value(block.q[half], i);
      if constexpr (requires { block.minimum; }) {
        const float minimum = scalarF16(block.minimum[half][r]);
        for (int i = 0; i < n; i++) to[k + i] += minimum;
      }
    }
  };
  const auto nibble = [&](const auto& q, int i) { return q[i / 8][4 * r + i % 4] >> (i % 8 < 4 ? 0 : 4) & 15; };
  switch (m.dtype) {
    case Dtype::f32:
      for (int64_t k = 0; k < m.columns; k++) to[k] = ((const float*)panel)[k * panelRows + r];
      break;
    case Dtype::f16:
      for (int64_t k = 0; k < m.columns; k++) to[k] = scalarF16(((const uint16_t*)panel)[k * panelRows + r]);
      break;
    case Dtype::bf16:
      for (int64_t k = 0; k < m.columns; k++) to[k] = scalarBf16(((const uint16_t*)panel)[(k / 2 * panelRows + r) * 2 + k % 2]);
      break;
    case Dtype::q8: blocks((const Q8Block*)panel, [&](const auto& q, int i) { return q[i / 4][4 * r + i % 4] - 128; }); break;
    case Dtype::q4: blocks((const Q4Block*)panel, [&](const auto& q, int i) { return nibble(q, i) - 8; }); break;
    case Dtype::q4_1: blocks((const Q4_1Block*)panel, nibble); break;
    case Dtype::q4_k:
      for (int64_t k = 0; k < m.columns; k++) {
        const Q4KBlock& block = ((const Q4KBlock*)panel)[k / superColumns * groupedPanels];
        const int b = (int)(k % superColumns / blockColumns);
        const float scale = scalarF16(block.superScale[r]) * (float)block.scale[b][r];
        const float minimum = scalarF16(block.superMinimum[r]) * (float)block.minimum[b][r];
        to[k] = scale * (float)nibble(block.q[b], (int)(k % blockColumns)) + minimum;
      }
      break;
  }
}

static void planEmbed(const Command& c, Step& step) {
  step.add(
      [](const Phase& p, int task, Worker&) {
        const Tensor& y = p.command->out[0];
        unpackRow(p.command->weights[0], p.step->ids[task], p.step->at(y) + (int64_t)task * y.stride);
      },
      c, c.out[0].rows);
}

JAMBA_INLINE void copyRow(float* to, const float* from, int64_t columns) {
  if (columns > 0) memcpy(to, from, columns * 4);
}

static void planGatherRows(const Command& c, Step& step) {
  step.add(
      [](const Phase& p, int task, Worker&) {
        const Tensor &x = p.command->in[0], &y = p.command->out[0];
        copyRow(p.step->at(y) + (int64_t)task * y.stride, p.step->at(x) + (int64_t)p.step->rows[task] * x.stride, x.columns);
      },
      c, c.out[0].rows);
}

/** About as many floats as one task copies: far more than it costs to take one. */
constexpr int64_t copiedFloats = 16384;

/** Rows of a tensor between the arena and dense memory of the `host`th buffer of a step's list. */
template <std::vector<HostBuffer> Step::* buffers, bool out>
static void planCopy(const Command& c, Step& step) {
  const Tensor& x = out ? c.in[0] : c.out[0];
  const int64_t rowsPerTask = x.columns < copiedFloats ? copiedFloats / (x.columns > 0 ? x.columns : 1) : 1;
  Phase& p = step.add(
      [](const Phase& p, int task, Worker&) {
        const Tensor& x = out ? p.command->in[0] : p.command->out[0];
        float* dense = (float*)(p.step->*buffers)[p.command->host].data;
        for (int64_t t = task * p.args[0]; t < x.rows && t < (task + 1) * p.args[0]; t++) {
          float *held = p.step->at(x) + t * x.stride, *there = dense + t * x.columns;
          copyRow(out ? there : held, out ? held : there, x.columns);
        }
      },
      c, (x.rows + rowsPerTask - 1) / rowsPerTask);
  p.args[0] = rowsPerTask;
}
constexpr auto planInput = planCopy<&Step::inputs, false>;
constexpr auto planRead = planCopy<&Step::outputs, true>;
constexpr auto planKeep = planCopy<&Step::kept, true>;

}  // namespace jamba::JAMBA_LEVEL
