// Rows as blocks of 32 nibbles, value = scale · (nibble - 8), a thread two blocks. The scale with the least squared error among some near
// max|x| / 8, each improved by least squares for its own rounding: d = Σ x q / Σ q². Nibbles of q4_0 stay.

@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

fn nibble(v: f32, step: f32) -> f32 { return clamp(round(v / step), -8.0, 7.0); }

fn packBlock(row: u32, block: u32) -> u32 {
  let to = 4u * ((p.firstRow + row) * p.blocks + block);
  if (stored == Q4_0 && 32u * block < p.columns) {
    let first = rawPlace(row, 32u * block).x;
    for (var i = 0u; i < 4u; i++) {
      let at = first + 2u + 4u * i;
      data[to + i] = rawByte(at) | (rawByte(at + 1u) << 8u) | (rawByte(at + 2u) << 16u) | (rawByte(at + 3u) << 24u);
    }
    return rawByte(first) | (rawByte(first + 1u) << 8u);
  }
  var x: array<f32, 32>;
  var most = 0.0;
  let count = rawCount(32u * block);
  for (var i = 0u; i < count; i++) {
    x[i] = rawFloat(row, 32u * block + i);
    if (abs(x[i]) > abs(most)) { most = x[i]; }
  }
  var best = 0.0;
  if (abs(most) > 0.0) {
    var least = 3e38;
    for (var c = 0u; c < 6u; c++) {
      // The end with 8 steps goes to the side of the largest value; from 8.4 steps down to 6.9.
      var d = -most / (8.4 - 0.3 * f32(c));
      var xq = 0.0;
      var qq = 0.0;
      for (var i = 0u; i < 32u; i++) {
        let q = nibble(x[i], d);
        xq = fma(x[i], q, xq);
        qq = fma(q, q, qq);
      }
      if (qq > 0.0) { d = xq / qq; }
      var error = 0.0;
      for (var i = 0u; i < 32u; i++) {
        let rest = x[i] - nibble(x[i], d) * d;
        error = fma(rest, rest, error);
      }
      if (error < least) {
        least = error;
        best = d;
      }
    }
  }
  let scale = scaleBits(best);
  let step = fromF16(scale);
  for (var i = 0u; i < 4u; i++) {
    var word = 0u;
    for (var j = 0u; j < 4u; j++) {
      let both = u32(nibble(x[4u * i + j], step) + 8.0) | (u32(nibble(x[16u + 4u * i + j], step) + 8.0) << 4u);
      word |= both << (8u * j);
    }
    data[to + i] = word;
  }
  return scale;
}
