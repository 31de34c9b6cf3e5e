// out = W x (+ bias) (+ out) for two to eight tokens: see parts/few.wgsl.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, x: u32, xStride: u32, out: u32, outStride: u32,
  accumulate: u32, hasBias: u32, hasNorm: u32, eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> norm: array<f32>;

const rowVectors = weightVectors;
const rowIsScaled = weightIsScaled;

fn rowVector(r: u32, row: u32, block: u32, i: u32) -> vec4<u32> { return weightVector(row, block, i); }
fn rowPart(words: vec4<u32>, i: u32) -> vec4<f32> { return weightPart(words, i); }
fn rowTerms(r: u32, row: u32, block: u32) -> vec2<f32> { return weightTerms(row, block); }

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let token = tokens * group.z;
  let teamRows = 256u / lanes;
  let begin = teamRows * (group.x + group.y * groups.x);
  // Rows that are not there are read as the last one, and not written.
  multiply(min(begin + 4u * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.rows - 1u)), token, l);
  for (var i = l; i < teamRows * tokens; i += 64u) {
    let r = i % teamRows;
    let t = i / teamRows;
    if (begin + r >= p.rows || token + t >= p.L) { continue; }
    let n = p.firstRow + begin + r;
    let to = p.out + (token + t) * p.outStride + n;
    var y = product(r / 4u, r % 4u, t);
    if (p.hasBias != 0u) { y += bias[n]; }
    if (p.accumulate != 0u) { y += arena[to]; }
    arena[to] = y;
  }
}
