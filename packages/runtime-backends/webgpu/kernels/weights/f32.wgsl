// Rows lie dense, as they are stored.

const weightVectors = 8u;
const weightIsScaled = false;
const weightHasOffset = false;

fn weightWord(at: u32) -> u32 { return weight[at >> 2u][at & 3u]; }

fn weightVector(row: u32, block: u32, i: u32) -> vec4<u32> {
  let column = 32u * block + 4u * i;
  // x is 0 there, and what lies there may be no number.
  if (column >= p.columns) { return vec4<u32>(); }
  let at = row * p.columns + column;
  if ((p.columns & 3u) == 0u) { return weight[at >> 2u]; }
  // What lies behind the row belongs to the next one.
  let there = column + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns);
  return select(vec4<u32>(), vec4<u32>(weightWord(at), weightWord(at + 1u), weightWord(at + 2u), weightWord(at + 3u)), there);
}

fn weightPart(words: vec4<u32>, i: u32) -> vec4<f32> { return bitcast<vec4<f32>>(words); }

fn weightTerms(row: u32, block: u32) -> vec2<f32> { return vec2<f32>(1.0, 0.0); }
