// Keys and values in f16: a vector has two quads. Some devices read those below 2^-14 as 0, which no sum over keys feels.

const kvQuads = 2u;

fn openKv(vector: vec4<u32>, i: u32) -> vec4<f32> {
  let pair = select(vector.xy, vector.zw, i == 1u);
  return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
