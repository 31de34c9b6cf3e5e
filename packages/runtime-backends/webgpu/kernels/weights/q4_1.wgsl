// As q4, with two f16 apart: value = scale · nibble + minimum.

const weightVectors = 1u;
const weightIsScaled = true;
const weightHasOffset = true;

fn weightVector(row: u32, block: u32, i: u32) -> vec4<u32> { return weight[row * p.blocks + block]; }

fn weightPart(words: vec4<u32>, i: u32) -> vec4<f32> { return nibbles128(words[i & 3u], i); }

fn weightTerms(row: u32, block: u32) -> vec2<f32> {
  let both = weightScales[row * p.blocks + block];
  let scale = fromF16(both & 0xffffu);
  return vec2<f32>(scale, fma(-128.0, scale, fromF16(both >> 16u)));
}

const weightBytesHaveOffset = true;

/** 16 values of a block as bytes, which are its nibbles. Value = x · byte + y, by weightByteTerms. */
fn weightBytes(row: u32, block: u32, half: u32) -> vec4<u32> {
  return (weightVector(row, block, 0u) >> vec4<u32>(4u * half)) & vec4<u32>(0x0f0f0f0fu);
}

fn weightByteTerms(row: u32, block: u32) -> vec2<f32> {
  let terms = weightTerms(row, block);
  return vec2<f32>(terms.x, fma(128.0, terms.x, terms.y));
}
