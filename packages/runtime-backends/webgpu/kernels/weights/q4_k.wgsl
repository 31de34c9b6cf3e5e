// Blocks of 32 as q4 has them; eight share what GGML's q4_k has in front of its nibbles: an f16 for scales, one for minima, and 12 bytes
// with a scale and a minimum of 6 bits for each: value = (d · scale) · nibble - dMin · minimum.

fn weightHead(first: u32, byte: u32) -> u32 { return (weightScales[first + 1u + (byte >> 2u)] >> (8u * (byte & 3u))) & 0xffu; }

fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let at = row * p.blocks + block;
  let first = at / 8u * 4u;
  let b = at % 8u;
  var scale: u32;
  var minimum: u32;
  if (b < 4u) {
    scale = weightHead(first, b) & 63u;
    minimum = weightHead(first, b + 4u) & 63u;
  } else {
    scale = (weightHead(first, b + 4u) & 15u) | ((weightHead(first, b - 4u) >> 6u) << 4u);
    minimum = (weightHead(first, b + 4u) >> 4u) | ((weightHead(first, b) >> 6u) << 4u);
  }
  let nibbles = (weight[at][i & 3u] >> (4u * (i >> 2u))) & 0x0f0f0f0fu;
  let both = weightScales[first];
  return fromF16(both & 0xffffu) * f32(scale) * vec4<f32>(unpack4xU8(nibbles)) - fromF16(both >> 16u) * f32(minimum);
}
