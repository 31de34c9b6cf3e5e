// out = silu(gate x) · (up x) for few tokens, or for each token's active experts, whose matrices stand one after another. As matvec, with
// two rows of each weight a thread.

override lanes = 16u;

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  x: u32, xStride: u32, out: u32, outStride: u32,
  hasNorm: u32, eps: f32,
  // nActive of 0: no experts; else out [L · nActive, dFf], and matrix `expert` begins at row expert · dFf of all parts together.
  nActive: u32, experts: u32, expertsStride: u32, dFf: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> gateScales: array<u32>;
@group(0) @binding(4) var<storage, read> up: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> upScales: array<u32>;
@group(0) @binding(6) var<storage, read> norm: array<f32>;

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
  let t = group.y / max(1u, p.nActive);
  let lane = l % lanes;
  let n = 2u * (group.x * (64u / lanes) + l / lanes);
  var before = 0u;
  if (p.nActive != 0u) { before = p.dFf * bitcast<u32>(arena[p.experts + t * p.expertsStride + group.y % p.nActive]); }
  // Another part may have this expert, or the rest of its rows: what is not here is read as row 0 and not written.
  let row = before + n + vec2<u32>(0u, 1u);
  let here = (row >= vec2<u32>(p.firstRow)) & (row < vec2<u32>(p.firstRow + p.rows)) & (n + vec2<u32>(0u, 1u) < vec2<u32>(p.dFf));
  let rows = select(vec2<u32>(), row - p.firstRow, here);
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
          dot(gateQuad(rows.x, block, i), x), dot(gateQuad(rows.y, block, i), x),
          dot(upQuad(rows.x, block, i), x), dot(upQuad(rows.y, block, i), x));
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
  if (lane >= 2u || !here[lane]) { return; }
  let y = sums[l - lane];
  arena[p.out + group.y * p.outStride + n + lane] = silu(y[lane]) * y[2u + lane];
}
