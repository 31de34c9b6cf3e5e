// Slots or pages of one segment onto others of it, before a step. Copies between segments are no kernel's.

struct Segment { first: u32, count: u32 }

struct Params { unitVectors: u32, pairs: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> step: array<i32>;
@group(0) @binding(2) var<storage, read_write> units: array<vec4<u32>>;
@group(0) @binding(3) var<uniform> segment: Segment;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let first = u32(step[p.pairs]);
  let pair = first + 2u * (at / p.unitVectors);
  if (pair >= u32(step[p.pairs + 1u])) { return; }
  let i = at % p.unitVectors;
  let source = u32(step[pair]) - segment.first;
  let to = u32(step[pair + 1u]) - segment.first;
  if (source >= segment.count || to >= segment.count) { return; }
  units[to * p.unitVectors + i] = units[source * p.unitVectors + i];
}
