// out = silu(gate) · up, each [L, dFf]

struct Params { rows: u32, columns: u32, out: u32, gate: u32, gateStride: u32, up: u32, upStride: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.rows * p.columns) { return; }
  let t = at / p.columns;
  let c = at % p.columns;
  arena[p.out + at] = silu(arena[p.gate + t * p.gateStride + c]) * arena[p.up + t * p.upStride + c];
}
