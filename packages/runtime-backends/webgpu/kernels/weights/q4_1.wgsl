// As q4, with two f16 apart: value = scale · nibble + minimum.

fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let at = row * p.blocks + block;
  let nibbles = (weight[at][i & 3u] >> (4u * (i >> 2u))) & 0x0f0f0f0fu;
  let both = weightScales[at];
  return fromF16(both & 0xffffu) * vec4<f32>(unpack4xU8(nibbles)) + fromF16(both >> 16u);
}
