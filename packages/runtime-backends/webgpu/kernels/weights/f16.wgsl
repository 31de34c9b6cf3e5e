// A block of 32 values is 4 vectors of 4 words of 2 values, the lower half first.

fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let words = weight[4u * (row * p.blocks + block) + (i >> 1u)];
  let pair = select(words.xy, words.zw, (i & 1u) == 1u);
  return vec4<f32>(fromF16(pair.x & 0xffffu), fromF16(pair.x >> 16u), fromF16(pair.y & 0xffffu), fromF16(pair.y >> 16u));
}
