// out = silu(gate x) · (up x) for one token, or for each token's active experts, whose matrices stand one after another: as matvec,
// with half of a thread's rows from each weight. Both weights have one dtype.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  x: u32, xStride: u32, out: u32, outStride: u32,
  hasNorm: u32, eps: f32,
  // nActive of 0: no experts, and one token; else out [L · nActive, dFf], and matrix `expert` begins at row expert · dFf of all parts together.
  nActive: u32, experts: u32, expertsStride: u32, dFf: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> gateScales: array<u32>;
@group(0) @binding(4) var<storage, read> up: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> upScales: array<u32>;
@group(0) @binding(6) var<storage, read> norm: array<vec4<f32>>;

var<private> token: u32;
var<workgroup> expert: u32;

fn xFirst() -> u32 { return p.x + token * p.xStride; }

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  var before = 0u;
  if (p.nActive != 0u) {
    token = group.z / p.nActive;
    if (l == 0u) { expert = bitcast<u32>(arena[p.experts + token * p.expertsStride + group.z % p.nActive]); }
    before = p.dFf * workgroupUniformLoad(&expert);
  }
  let half = rows / 2u;
  let teamRows = half * (threads / lanes);
  let first = teamRows * (group.x + group.y * groups.x);
  // Another part may have this expert, or the rest of its rows.
  let begin = before + first;
  if (begin >= p.firstRow + p.rows || min(begin + teamRows, before + p.dFf) <= p.firstRow) { return; }
  // Rows that are not here are read as others that are, and not written.
  let own = begin + half * (l / lanes) + vec4<u32>(0u, half - 1u, 0u, 1u);
  let row = clamp(own, vec4<u32>(p.firstRow), vec4<u32>(p.firstRow + p.rows - 1u)) - p.firstRow;
  let sums = sweep(row, l);
  shareSquares(l);
  share(sums, l);
  for (var i = l; i < teamRows; i += threads) {
    let n = first + i;
    if (n >= p.dFf || before + n < p.firstRow || before + n >= p.firstRow + p.rows) { continue; }
    let factor = normFactor();
    let g = factor * product(i / half, i % half);
    let u = factor * product(i / half, i % half + half);
    arena[p.out + group.z * p.outStride + n] = silu(g) * u;
  }
}
