// out = silu(gate x) · (up x) for two to eight tokens: as matvec-few, with two of a thread's rows from each weight. Both have one dtype.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, x: u32, xStride: u32, out: u32, outStride: u32,
  hasNorm: u32, eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> gateScales: array<u32>;
@group(0) @binding(4) var<storage, read> up: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> upScales: array<u32>;
@group(0) @binding(6) var<storage, read> norm: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let token = tokens * group.z;
  let teamRows = 128u / lanes;
  let begin = teamRows * (group.x + group.y * groups.x);
  // Rows that are not there are read as the last one, and not written.
  multiply(min(begin + 2u * (l / lanes) + vec4<u32>(0u, 1u, 0u, 1u), vec4<u32>(p.rows - 1u)), token, l);
  for (var i = l; i < teamRows * tokens; i += 64u) {
    let r = i % teamRows;
    let t = i / teamRows;
    if (begin + r >= p.rows || token + t >= p.L) { continue; }
    let g = product(r / 2u, r % 2u, t);
    arena[p.out + (token + t) * p.outStride + p.firstRow + begin + r] = silu(g) * product(r / 2u, r % 2u + 2u, t);
  }
}
