// A block of 32 values is 4 vectors of 4 words of 2 values, the lower half first.

const weightVectors = 4u;
const weightIsScaled = false;
const weightHasOffset = false;

fn weightVector(row: u32, block: u32, i: u32) -> vec4<u32> { return weight[4u * (row * p.blocks + block) + i]; }

fn weightPart(words: vec4<u32>, i: u32) -> vec4<f32> {
  let pair = select(words.xy, words.zw, i == 1u);
  return vec4<f32>(fromHalves(pair.x), fromHalves(pair.y));
}

fn weightTerms(row: u32, block: u32) -> vec2<f32> { return vec2<f32>(1.0, 0.0); }
