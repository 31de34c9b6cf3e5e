// Keys and values in f16: a vector has two quads.

const kvQuads = 2u;

fn openKv(vector: vec4<u32>, i: u32) -> vec4<f32> {
  let pair = select(vector.xy, vector.zw, i == 1u);
  return vec4<f32>(fromF16(pair.x & 0xffffu), fromF16(pair.x >> 16u), fromF16(pair.y & 0xffffu), fromF16(pair.y >> 16u));
}
