// A block of 32 values is 2 vectors of 4 words of 4 bytes, and one f16 apart: value = scale · byte.

fn weightScale(block: u32) -> f32 { return fromF16((weightScales[block >> 1u] >> (16u * (block & 1u))) & 0xffffu); }

fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let at = row * p.blocks + block;
  return weightScale(at) * vec4<f32>(unpack4xI8(weight[2u * at + (i >> 2u)][i & 3u]));
}
