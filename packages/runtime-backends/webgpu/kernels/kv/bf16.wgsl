// Keys and values in bf16: a vector has two quads.

const kvQuads = 2u;

fn openKv(vector: vec4<u32>, i: u32) -> vec4<f32> {
  let pair = select(vector.xy, vector.zw, i == 1u);
  return bitcast<vec4<f32>>(vec4<u32>(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u));
}
