// out = W x (+ bias) (+ out) for one token: see parts/sweep.wgsl.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  x: u32, out: u32, accumulate: u32, hasBias: u32,
  hasNorm: u32, eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;

const rowVectors = weightVectors;
const rowIsScaled = weightIsScaled;
const rowHasOffset = weightHasOffset;

fn rowVector(r: u32, row: u32, block: u32, i: u32) -> vec4<u32> { return weightVector(row, block, i); }
fn rowPart(words: vec4<u32>, i: u32) -> vec4<f32> { return weightPart(words, i); }
fn rowTerms(r: u32, row: u32, block: u32) -> vec2<f32> { return weightTerms(row, block); }

fn xFirst() -> u32 { return p.x; }

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let teamRows = rows * (threads / lanes);
  let first = teamRows * (group.x + group.y * groups.x);
  // Rows that are not there are read as the last one, and not written.
  let row = first + rows * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u);
  let sums = sweep(min(row, vec4<u32>(p.rows - 1u)), l);
  shareSquares(l);
  share(sums, l);
  for (var i = l; i < teamRows; i += threads) {
    if (first + i >= p.rows) { continue; }
    var y = normFactor() * product(i / rows, i % rows);
    let n = p.firstRow + first + i;
    if (p.hasBias != 0u) { y += bias[n]; }
    if (p.accumulate != 0u) { y += arena[p.out + n]; }
    arena[p.out + n] = y;
  }
}
