/** What a row is stored in: 0 f32, 1 bf16, 2 f16. */
override stored = 0u;

fn rawFloat(row: u32, column: u32) -> f32 {
  if (column >= p.columns) { return 0.0; }
  let at = (p.rawRow + row) * p.columns + column;
  if (stored == 0u) { return bitcast<f32>(raw[at]); }
  let bits = (raw[at >> 1u] >> (16u * (at & 1u))) & 0xffffu;
  if (stored == 1u) { return bitcast<f32>(bits << 16u); }
  return fromF16(bits);
}
