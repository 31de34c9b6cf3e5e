// A block of 32 values is one vector of 4 words, and one f16 apart: value = scale · (nibble - 8). Word w has values 4 w … 4 w + 3 in the
// low nibbles of its bytes and those 16 further in the high ones, as GGML's q4_0 has them.

fn weightScale(block: u32) -> f32 { return fromF16((weightScales[block >> 1u] >> (16u * (block & 1u))) & 0xffffu); }

fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let at = row * p.blocks + block;
  let nibbles = (weight[at][i & 3u] >> (4u * (i >> 2u))) & 0x0f0f0f0fu;
  return weightScale(at) * (vec4<f32>(unpack4xU8(nibbles)) - 8.0);
}
