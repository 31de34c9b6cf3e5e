// Rows as bf16 or f16, a thread a word of two values.

/** 1 for f16, 0 for bf16. */
override isF16 = 0u;

fn packedHalf(row: u32, column: u32) -> u32 {
  if (column >= p.columns) { return 0u; }
  let v = rawFloat(row, column);
  if (isF16 == 1u) { return toF16(v); }
  return toBf16(v);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let words = 16u * p.blocks;
  if (at >= p.rows * words) { return; }
  let row = at / words;
  let column = 2u * (at % words);
  data[(p.firstRow + row) * words + at % words] = packedHalf(row, column) | (packedHalf(row, column + 1u) << 16u);
}
