// out = x / sqrt(mean(x²) + eps) · weight, a group of threads a row.

struct Params { columns: u32, out: u32, x: u32, xStride: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let x = p.x + group.x * p.xStride;
  var sum = 0.0;
  for (var i = l; i < p.columns; i += 64u) { sum = fma(arena[x + i], arena[x + i], sum); }
  sums[l] = sum;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (l < half) { sums[l] += sums[l + half]; }
    workgroupBarrier();
  }
  let scale = 1.0 / sqrt(sums[0] / f32(p.columns) + p.eps);
  for (var i = l; i < p.columns; i += 64u) { arena[p.out + group.x * p.columns + i] = arena[x + i] * scale * weight[i]; }
}
