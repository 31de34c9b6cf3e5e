// Blocks of 32 as q4 has them; eight share what GGML's q4_k has in front of its nibbles: an f16 for scales, one for minima, and 12 bytes
// with a scale and a minimum of 6 bits for each: value = (d · scale) · nibble - dMin · minimum.

const weightVectors = 1u;
const weightIsScaled = true;
const weightHasOffset = true;

fn weightVector(row: u32, block: u32, i: u32) -> vec4<u32> { return weight[row * p.blocks + block]; }

fn weightPart(words: vec4<u32>, i: u32) -> vec4<f32> { return nibbles128(words[i & 3u], i); }

fn weightTerms(row: u32, block: u32) -> vec2<f32> {
  let at = row * p.blocks + block;
  let first = at / 8u * 4u;
  let shift = 8u * (at & 3u);
  // Bytes of this block: a low one of its scale, one of its minimum, and for the last four blocks one with the low bits of both.
  let scales = weightScales[first + 1u] >> shift;
  let minima = weightScales[first + 2u] >> shift;
  let low = weightScales[first + 3u] >> shift;
  let isLate = (at & 4u) != 0u;
  let scale = select(scales & 63u, (low & 15u) | ((scales >> 2u) & 0x30u), isLate);
  let minimum = select(minima & 63u, ((low >> 4u) & 15u) | ((minima >> 2u) & 0x30u), isLate);
  let both = weightScales[first];
  let d = fromF16(both & 0xffffu) * f32(scale);
  return vec2<f32>(d, -fma(128.0, d, fromF16(both >> 16u) * f32(minimum)));
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
