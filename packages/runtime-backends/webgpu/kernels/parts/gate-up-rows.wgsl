// Half of a thread's rows are of `gate`, and the others the same rows of `up`, which has the same dtype.

const rowVectors = gateVectors;
const rowIsScaled = gateIsScaled;
const rowHasOffset = gateHasOffset;

fn rowVector(r: u32, row: u32, block: u32, i: u32) -> vec4<u32> {
  if (r < rows / 2u) { return gateVector(row, block, i); }
  return upVector(row, block, i);
}
fn rowPart(words: vec4<u32>, i: u32) -> vec4<f32> { return gatePart(words, i); }
fn rowTerms(r: u32, row: u32, block: u32) -> vec2<f32> {
  if (r < rows / 2u) { return gateTerms(row, block); }
  return upTerms(row, block);
}
