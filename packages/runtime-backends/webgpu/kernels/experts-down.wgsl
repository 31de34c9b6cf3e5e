// out = Σ share · (down hidden) over a token's active experts (+ out), for those whose rows this part has: as matvec.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  hidden: u32, out: u32, outStride: u32, accumulate: u32,
  dModel: u32, nActive: u32, experts: u32, expertsStride: u32, shares: u32, sharesStride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;

const rowVectors = weightVectors;
const rowIsScaled = weightIsScaled;
const rowHasOffset = weightHasOffset;

fn rowVector(r: u32, row: u32, block: u32, i: u32) -> vec4<u32> { return weightVector(row, block, i); }
fn rowPart(words: vec4<u32>, i: u32) -> vec4<f32> { return weightPart(words, i); }
fn rowTerms(r: u32, row: u32, block: u32) -> vec2<f32> { return weightTerms(row, block); }

/** Which of the token's experts is at work. */
var<private> pick: u32;
var<private> token: u32;
var<workgroup> expert: u32;

fn xFirst() -> u32 { return p.hidden + (token * p.nActive + pick) * p.columns; }
fn xTaken(v: vec4<f32>, k: u32) -> vec4<f32> { return v; }

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  token = group.z;
  let teamRows = rows * (threads / lanes);
  let first = teamRows * (group.x + group.y * groups.x);
  var sums = vec4<f32>();
  for (var a = 0u; a < p.nActive; a++) {
    pick = a;
    if (l == 0u) { expert = bitcast<u32>(arena[p.experts + token * p.expertsStride + a]); }
    let before = p.dModel * workgroupUniformLoad(&expert);
    let begin = before + first;
    if (begin >= p.firstRow + p.rows || min(begin + teamRows, before + p.dModel) <= p.firstRow) { continue; }
    // Rows that are not here are read as others that are, and count nothing.
    let row = begin + rows * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u);
    let there = clamp(row, vec4<u32>(p.firstRow), vec4<u32>(p.firstRow + p.rows - 1u));
    let share = arena[p.shares + token * p.sharesStride + a];
    sums = fma(select(vec4<f32>(), vec4<f32>(share), row == there), sweep(there - p.firstRow, l), sums);
  }
  share(sums, l);
  for (var i = l; i < teamRows; i += threads) {
    let n = first + i;
    if (n >= p.dModel) { continue; }
    let to = p.out + token * p.outStride + n;
    var y = product(i / rows, i % rows);
    if (p.accumulate != 0u) { y += arena[to]; }
    arena[to] = y;
  }
}
