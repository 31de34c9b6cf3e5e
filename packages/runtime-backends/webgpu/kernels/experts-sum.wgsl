// out = Σ share · y over the picks of a token (+ out).

struct Params { L: u32, columns: u32, nActive: u32, y: u32, out: u32, outStride: u32, shares: u32, sharesStride: u32, accumulate: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.L * p.columns) { return; }
  let t = at / p.columns;
  let c = at % p.columns;
  let to = p.out + t * p.outStride + c;
  var sum = 0.0;
  if (p.accumulate != 0u) { sum = arena[to]; }
  for (var a = 0u; a < p.nActive; a++) {
    sum = fma(arena[p.shares + t * p.sharesStride + a], arena[p.y + (t * p.nActive + a) * p.columns + c], sum);
  }
  arena[to] = sum;
}
