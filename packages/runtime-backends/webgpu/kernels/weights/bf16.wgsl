// A block of 32 values is 4 vectors of 4 words of 2 values, the lower half first.

fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let words = weight[4u * (row * p.blocks + block) + (i >> 1u)];
  let pair = select(words.xy, words.zw, (i & 1u) == 1u);
  return bitcast<vec4<f32>>(vec4<u32>(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u));
}
