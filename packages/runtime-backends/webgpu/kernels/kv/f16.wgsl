// Keys and values in f16: a vector has two quads.

const kvQuads = 2u;

fn openKv(vector: vec4<u32>, i: u32) -> vec4<f32> {
  let pair = select(vector.xy, vector.zw, i == 1u);
  return vec4<f32>(fromHalves(pair.x), fromHalves(pair.y));
}
