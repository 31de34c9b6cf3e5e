// A block of 32 values is 2 vectors of 4 words of 4 bytes, and one f16 apart: value = scale · byte.

const weightVectors = 2u;
const weightIsScaled = true;
const weightHasOffset = false;

fn weightVector(row: u32, block: u32, i: u32) -> vec4<u32> { return weight[2u * (row * p.blocks + block) + i]; }

fn weightPart(words: vec4<u32>, i: u32) -> vec4<f32> { return vec4<f32>(unpack4xI8(words[i])); }

fn weightTerms(row: u32, block: u32) -> vec2<f32> {
  let at = row * p.blocks + block;
  return vec2<f32>(fromF16((weightScales[at >> 1u] >> (16u * (at & 1u))) & 0xffffu), 0.0);
}

const weightBytesHaveOffset = false;

/** 16 values of a block as bytes; value = x · byte + y, by weightByteTerms. */
fn weightBytes(row: u32, block: u32, half: u32) -> vec4<u32> { return weightVector(row, block, half); }

fn weightByteTerms(row: u32, block: u32) -> vec2<f32> { return weightTerms(row, block); }
