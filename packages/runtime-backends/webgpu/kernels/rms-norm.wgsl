// out = x / sqrt(mean(x²) + eps) · weight, a group of threads a row; of two values at a time where one norm follows the other, since a
// dispatch costs more than they do. Four columns a thread and turn, so that the sum waits for memory a quarter as often.

override threads = 64u;

struct Params {
  columns: u32, eps: f32,
  out: u32, x: u32, xStride: u32,
  secondOut: u32, secondX: u32, secondXStride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> secondWeight: array<f32>;

var<workgroup> sums: array<f32, threads>;

fn at(first: u32, i: u32) -> f32 {
  if (i >= p.columns) { return 0.0; }
  return arena[first + i];
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let isSecond = group.y == 1u;
  let x = select(p.x + group.x * p.xStride, p.secondX + group.x * p.secondXStride, isSecond);
  let out = select(p.out, p.secondOut, isSecond) + group.x * p.columns;
  var sum = vec4<f32>();
  for (var i = l; i < p.columns; i += 4u * threads) {
    let v = vec4<f32>(at(x, i), at(x, i + threads), at(x, i + 2u * threads), at(x, i + 3u * threads));
    sum = fma(v, v, sum);
  }
  sums[l] = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  for (var half = threads / 2u; half > 0u; half >>= 1u) {
    if (l < half) { sums[l] += sums[l + half]; }
    workgroupBarrier();
  }
  let scale = 1.0 / sqrt(sums[0] / f32(p.columns) + p.eps);
  for (var i = l; i < p.columns; i += threads) {
    var w = weight[i];
    if (isSecond) { w = secondWeight[i]; }
    arena[out + i] = arena[x + i] * scale * w;
  }
}
