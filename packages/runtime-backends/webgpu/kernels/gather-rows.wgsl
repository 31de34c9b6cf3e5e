// out[i] = x[rows[i]]: x [L, columns], out [nRows, columns]

struct Params { nRows: u32, columns: u32, out: u32, x: u32, xStride: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.nRows * p.columns) { return; }
  arena[p.out + at] = arena[p.x + u32(step[rows() + at / p.columns]) * p.xStride + at % p.columns];
}
