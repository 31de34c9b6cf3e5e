@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

// Four rows of threads apart, so that each load and store is one of neighbours.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) i: u32) {
  let at = 1024u * (group.y * groups.x + group.x) + i;
  let a = x[at];
  let b = x[at + 256u];
  let c = x[at + 512u];
  let d = x[at + 768u];
  y[at] = a;
  y[at + 256u] = b;
  y[at + 512u] = c;
  y[at + 768u] = d;
}
