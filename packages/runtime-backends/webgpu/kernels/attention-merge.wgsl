// What shares of the pages found, weighed against each other: out = Σ e^(most - top) y / Σ e^(most - top) total.

struct Params { L: u32, nHeads: u32, headDim: u32, found: u32, nShares: u32, out: u32, outStride: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.L * p.nHeads * p.headDim) { return; }
  let c = at % p.headDim;
  let head = at / p.headDim % p.nHeads;
  let t = at / (p.headDim * p.nHeads);
  let size = p.headDim + 2u;
  let first = p.found + (t * p.nHeads + head) * p.nShares * size;
  var top = -3e38;
  for (var i = 0u; i < p.nShares; i++) { top = max(top, arena[first + i * size]); }
  var y = 0.0;
  var total = 0.0;
  for (var i = 0u; i < p.nShares; i++) {
    let source = first + i * size;
    let weight = exp(max(arena[source] - top, -100.0));
    total = fma(weight, arena[source + 1u], total);
    y = fma(weight, arena[source + 2u + c], y);
  }
  arena[p.out + t * p.outStride + head * p.headDim + c] = y / total;
}
