// out = Σ share · (down hidden) over a token's active experts (+ out), for those whose rows this part has.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  hidden: u32, out: u32, outStride: u32, accumulate: u32,
  dModel: u32, nActive: u32, experts: u32, expertsStride: u32, shares: u32, sharesStride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let t = group.y;
  let lane = l % 16u;
  let n = group.x * 4u + l / 16u;
  var sum = 0.0;
  for (var a = 0u; a < p.nActive; a++) {
    let row = bitcast<u32>(arena[p.experts + t * p.expertsStride + a]) * p.dModel + n;
    if (n >= p.dModel || row < p.firstRow || row >= p.firstRow + p.rows) { continue; }
    let x = p.hidden + (t * p.nActive + a) * p.columns;
    var own = 0.0;
    for (var block = lane; block < p.blocks; block += 16u) {
      for (var i = 0u; i < 8u; i++) {
        let k = 32u * block + 4u * i;
        if (k >= p.columns) { break; }
        let w = weightQuad(row - p.firstRow, block, i);
        for (var j = 0u; j < 4u && k + j < p.columns; j++) { own = fma(w[j], arena[x + k + j], own); }
      }
    }
    sum = fma(arena[p.shares + t * p.sharesStride + a], own, sum);
  }
  sums[l] = sum;
  workgroupBarrier();
  for (var half = 8u; half > 0u; half >>= 1u) {
    if (lane < half) { sums[l] += sums[l + half]; }
    workgroupBarrier();
  }
  if (lane != 0u || n >= p.dModel) { return; }
  let to = p.out + t * p.outStride + n;
  var y = sums[l];
  if (p.accumulate != 0u) { y += arena[to]; }
  arena[to] = y;
}
