// A block of 32 values is one vector of 4 words, and one f16 apart: value = scale · (nibble - 8). Word w has values 4 w … 4 w + 3 in the
// low nibbles of its bytes and those 16 further in the high ones, as GGML's q4_0 has them.

const weightVectors = 1u;
const weightIsScaled = true;
const weightHasOffset = true;

fn weightVector(row: u32, block: u32, i: u32) -> vec4<u32> { return weight[row * p.blocks + block]; }

fn weightPart(words: vec4<u32>, i: u32) -> vec4<f32> { return nibbles128(words[i & 3u], i); }

fn weightTerms(row: u32, block: u32) -> vec2<f32> {
  let at = row * p.blocks + block;
  let scale = fromF16((weightScales[at >> 1u] >> (16u * (at & 1u))) & 0xffffu);
  return vec2<f32>(scale, -136.0 * scale);
}

const weightBytesHaveOffset = false;

/** 16 values of a block as bytes: 16 (nibble - 8), a nibble's highest bit turned round. Value = x · byte + y, by weightByteTerms. */
fn weightBytes(row: u32, block: u32, half: u32) -> vec4<u32> {
  let words = weightVector(row, block, 0u) ^ vec4<u32>(0x88888888u);
  return select(words << vec4<u32>(4u), words, half == 1u) & vec4<u32>(0xf0f0f0f0u);
}

fn weightByteTerms(row: u32, block: u32) -> vec2<f32> { return vec2<f32>(weightTerms(row, block).x / 16.0, 0.0); }
