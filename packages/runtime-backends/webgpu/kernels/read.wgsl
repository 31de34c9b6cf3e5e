// A value of the arena, x [rows, columns], goes to the results, dense. Where the results of a step start only the step knows; those that are kept stand first.

struct Params { rows: u32, columns: u32, x: u32, xStride: u32, first: u32, isOutput: u32, output: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.rows * p.columns) { return; }
  var to = p.first;
  if (p.isOutput != 0u) { to += u32(step[outputs() + p.output]); }
  results[to + at] = arena[p.x + at / p.columns * p.xStride + at % p.columns];
}
