// Logits [nRows, vocabSize] of the ids that were asked for, row by row.

struct Params { logits: u32, stride: u32, first: u32, output: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let pair = asked() + 2u * at;
  if (pair >= outputs()) { return; }
  results[p.first + u32(step[outputs() + p.output]) + at] = arena[p.logits + u32(step[pair]) * p.stride + u32(step[pair + 1u])];
}
