// out = silu(gate x) · (up x) for 2 to 16 tokens and each one's active experts: as gate-up-few, with a layer of groups for each expert, which
// reads its rows once for every four or eight tokens that it has. Both weights have one dtype.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, x: u32, xStride: u32, out: u32, outStride: u32,
  nActive: u32, experts: u32, expertsStride: u32, dFf: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> gateScales: array<u32>;
@group(0) @binding(4) var<storage, read> up: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> upScales: array<u32>;

fn xRows(first: u32) -> vec4<u32> { return picksFrom(first) / p.nActive; }

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let groupRows = 128u / lanes;
  let first = groupRows * (group.x + group.y * groups.x);
  let before = p.dFf * group.z;
  let begin = before + first;
  // Another part may have this expert, or the rest of its rows.
  if (begin >= p.firstRow + p.rows || min(begin + groupRows, before + p.dFf) <= p.firstRow) { return; }
  // Rows that are not here are read as others that are, and not written.
  let own = begin + 2u * (l / lanes) + vec4<u32>(0u, 1u, 0u, 1u);
  let row = clamp(own, vec4<u32>(p.firstRow), vec4<u32>(p.firstRow + p.rows - 1u)) - p.firstRow;
  let n = findPicks(group.z, l);
  for (var some = 0u; some < n; some += tokens) {
    multiply(row, some, l);
    for (var i = l; i < groupRows * tokens; i += 64u) {
      let r = i % groupRows;
      let t = i / groupRows;
      let isHere = begin + r >= p.firstRow && begin + r < p.firstRow + p.rows;
      if (some + t >= n || first + r >= p.dFf || !isHere) { continue; }
      let g = product(r / 2u, r % 2u, t);
      arena[p.out + picks[some + t] * p.outStride + first + r] = silu(g) * product(r / 2u, r % 2u + 2u, t);
    }
  }
}
