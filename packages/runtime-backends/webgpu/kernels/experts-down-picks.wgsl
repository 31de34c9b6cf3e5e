// out = Σ share · (down hidden) over each token's active experts (+ out) for 2 to 16 tokens, for those experts whose rows this part has. A
// group has rows of every expert, one expert after another, each read once for every four or eight tokens that it has: so that no two groups
// add to one sum. The sums of 16 tokens take 4 KiB of workgroup memory at most, beside parts/few.wgsl.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, x: u32, xStride: u32, out: u32, outStride: u32, accumulate: u32,
  dModel: u32, nExperts: u32, nActive: u32, experts: u32, expertsStride: u32, shares: u32, sharesStride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;

const rowVectors = weightVectors;
const rowIsScaled = weightIsScaled;

fn rowVector(r: u32, row: u32, block: u32, i: u32) -> vec4<u32> { return weightVector(row, block, i); }
fn rowPart(words: vec4<u32>, i: u32) -> vec4<f32> { return weightPart(words, i); }
fn rowTerms(r: u32, row: u32, block: u32) -> vec2<f32> { return weightTerms(row, block); }

fn xRows(first: u32) -> vec4<u32> { return picksFrom(first); }

// [16 tokens, 256 / lanes rows]
var<workgroup> sums: array<f32, 1024>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let groupRows = 256u / lanes;
  let first = groupRows * (group.x + group.y * groups.x);
  for (var i = l; i < groupRows * p.L; i += 64u) { sums[i] = 0.0; }
  for (var e = 0u; e < p.nExperts; e++) {
    let before = p.dModel * e;
    let begin = before + first;
    if (begin >= p.firstRow + p.rows || min(begin + groupRows, before + p.dModel) <= p.firstRow) { continue; }
    // Rows that are not here are read as others that are, and count nothing.
    let own = begin + 4u * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u);
    let row = clamp(own, vec4<u32>(p.firstRow), vec4<u32>(p.firstRow + p.rows - 1u)) - p.firstRow;
    let n = findPicks(e, l);
    for (var some = 0u; some < n; some += tokens) {
      multiply(row, some, l);
      for (var i = l; i < groupRows * tokens; i += 64u) {
        let r = i % groupRows;
        let t = i / groupRows;
        let isHere = begin + r >= p.firstRow && begin + r < p.firstRow + p.rows;
        if (some + t >= n || !isHere) { continue; }
        let pick = picks[some + t];
        let token = pick / p.nActive;
        let share = arena[p.shares + token * p.sharesStride + pick % p.nActive];
        let at = groupRows * token + r;
        sums[at] = fma(share, product(r / 4u, r % 4u, t), sums[at]);
      }
    }
  }
  workgroupBarrier();
  for (var i = l; i < groupRows * p.L; i += 64u) {
    let n = first + i % groupRows;
    if (n >= p.dModel) { continue; }
    let to = p.out + i / groupRows * p.outStride + n;
    var y = sums[i];
    if (p.accumulate != 0u) { y += arena[to]; }
    arena[to] = y;
  }
}
