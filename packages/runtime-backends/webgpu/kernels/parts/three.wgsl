// Rows of up to three weights of one dtype, or of parts of weights, which one dispatch multiplies with the same x: groups of threads from 0 on
// have rows of the first one, those behind them rows of the second, and then of the third. A group never has rows of two.

struct Params {
  columns: u32, blocks: u32, L: u32, x: u32, xStride: u32, accumulate: u32, hasNorm: u32, eps: f32,
  // Of each one: how many rows it has (0: it is not there), and where the first one's results go.
  rows: u32, out: u32, outStride: u32,
  secondRows: u32, secondOut: u32, secondStride: u32,
  thirdRows: u32, thirdOut: u32, thirdStride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> second: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> secondScales: array<u32>;
@group(0) @binding(6) var<storage, read> third: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read> thirdScales: array<u32>;

const rowVectors = weightVectors;
const rowIsScaled = weightIsScaled;
const rowHasOffset = weightHasOffset;

/** Which of the three this group has rows of. */
var<private> which: u32;

/** What a group has: rows from `first` on, of so many. */
struct Piece { first: u32, rows: u32, out: u32, outStride: u32 }

fn pieceOf(group: u32, groupRows: u32) -> Piece {
  let atSecond = (p.rows + groupRows - 1u) / groupRows;
  let atThird = atSecond + (p.secondRows + groupRows - 1u) / groupRows;
  let own = u32(group >= atSecond) + u32(group >= atThird);
  which = own;
  if (own == 0u) { return Piece(groupRows * group, p.rows, p.out, p.outStride); }
  if (own == 1u) { return Piece(groupRows * (group - atSecond), p.secondRows, p.secondOut, p.secondStride); }
  return Piece(groupRows * (group - atThird), p.thirdRows, p.thirdOut, p.thirdStride);
}

fn rowVector(r: u32, row: u32, block: u32, i: u32) -> vec4<u32> {
  if (which == 0u) { return weightVector(row, block, i); }
  if (which == 1u) { return secondVector(row, block, i); }
  return thirdVector(row, block, i);
}
fn rowPart(words: vec4<u32>, i: u32) -> vec4<f32> { return weightPart(words, i); }
fn rowTerms(r: u32, row: u32, block: u32) -> vec2<f32> {
  if (which == 0u) { return weightTerms(row, block); }
  if (which == 1u) { return secondTerms(row, block); }
  return thirdTerms(row, block);
}
