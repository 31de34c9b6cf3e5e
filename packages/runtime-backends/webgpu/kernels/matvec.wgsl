// out = W x (+ bias) (+ out) for few tokens. Lanes of a row take its blocks of 32 in turns; each thread has four rows, so that what it reads
// of x serves four times. x comes through workgroup memory, where it may take its norm on the way.

/** Threads that share a row; 64 in a group. */
override lanes = 16u;

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  x: u32, xStride: u32, out: u32, outStride: u32,
  accumulate: u32, hasBias: u32, hasNorm: u32, eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> norm: array<f32>;

var<workgroup> xs: array<vec4<f32>, 512>;
var<workgroup> sums: array<vec4<f32>, 64>;
var<private> normScale: f32;

/** Values 2048 of x, or fewer, from column `first` on: what lies behind the row is 0. */
fn stage(l: u32, first: u32, t: u32) {
  let x = p.x + t * p.xStride;
  for (var i = l; i < 512u; i += 64u) {
    let k = first + 4u * i;
    var v = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
      if (k + j < p.columns) {
        v[j] = arena[x + k + j];
        if (p.hasNorm != 0u) { v[j] *= normScale * norm[k + j]; }
      }
    }
    xs[i] = v;
  }
}

/** Of the norm that x takes on the way: 1 / sqrt(mean(x²) + eps). */
fn normOf(l: u32, t: u32) -> f32 {
  let x = p.x + t * p.xStride;
  var sum = 0.0;
  for (var k = l; k < p.columns; k += 64u) { sum = fma(arena[x + k], arena[x + k], sum); }
  sums[l].x = sum;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (l < half) { sums[l].x += sums[l + half].x; }
    workgroupBarrier();
  }
  let mean = sums[0].x / f32(p.columns);
  workgroupBarrier();
  return 1.0 / sqrt(mean + p.eps);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let t = group.y;
  let lane = l % lanes;
  let row = 4u * (group.x * (64u / lanes) + l / lanes);
  // Rows that are not there are read as the last one, and not written.
  let last = p.rows - 1u;
  let rows = min(row + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last));
  normScale = 1.0;
  if (p.hasNorm != 0u) { normScale = normOf(l, t); }
  var sum = vec4<f32>();
  for (var first = 0u; first < p.blocks; first += 64u) {
    workgroupBarrier();
    stage(l, 32u * first, t);
    workgroupBarrier();
    for (var block = first + lane; block < min(first + 64u, p.blocks); block += lanes) {
      for (var i = 0u; i < 8u; i++) {
        let x = xs[8u * (block - first) + i];
        sum += vec4<f32>(
          dot(weightQuad(rows.x, block, i), x), dot(weightQuad(rows.y, block, i), x),
          dot(weightQuad(rows.z, block, i), x), dot(weightQuad(rows.w, block, i), x));
      }
    }
  }
  workgroupBarrier();
  sums[l] = sum;
  workgroupBarrier();
  for (var half = lanes / 2u; half > 0u; half >>= 1u) {
    if (lane < half) { sums[l] += sums[l + half]; }
    workgroupBarrier();
  }
  if (lane >= 4u || row + lane >= p.rows) { return; }
  let n = p.firstRow + row + lane;
  let to = p.out + t * p.outStride + n;
  var y = sums[l - lane][lane];
  if (p.hasBias != 0u) { y += bias[n]; }
  if (p.accumulate != 0u) { y += arena[to]; }
  arena[to] = y;
}
