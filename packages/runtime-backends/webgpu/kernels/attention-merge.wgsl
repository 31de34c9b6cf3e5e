// What shares of the context found, weighed against each other: out = Σ 2^(most - top) y / Σ 2^(most - top) total. A group a head of a
// token; its threads share columns, and four of them the shares of a column. A token whose sequence is one share is done already.

struct Params {
  nHeads: u32, headDim: u32, out: u32, outStride: u32,
  leastShare: u32, mostShares: u32, found: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;

const tile = 64u;
const most = 128u;
var<workgroup> weights: array<f32, most>;
var<workgroup> totals: array<f32, most>;
var<workgroup> sums: array<f32, 256>;

/** As in attention. */
fn shareOf(context: u32, least: u32, most: u32) -> u32 {
  let even = (context + most - 1u) / most;
  return max(least, (even + tile - 1u) / tile * tile);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let head = group.x;
  let t = group.y;
  let sequence = sequences() + u32(step[sequenceOf() + t]) * 5u;
  let begin = u32(step[sequence]);
  let seen = u32(step[sequence + 2u]);
  let whole = seen + u32(step[sequence + 1u]) - begin;
  let share = shareOf(whole, p.leastShare, p.mostShares);
  if (share >= whole) { return; }
  let n = (seen + t - begin + share) / share;
  let size = p.headDim + 2u;
  let first = p.found + (t * p.nHeads + head) * p.mostShares * size;
  if (l < n) {
    weights[l] = arena[first + l * size];
    totals[l] = arena[first + l * size + 1u];
  }
  workgroupBarrier();
  var top = -3e38;
  for (var i = 0u; i < n; i++) { top = max(top, weights[i]); }
  workgroupBarrier();
  if (l < n) {
    let weight = exp2(max(weights[l] - top, -150.0));
    weights[l] = weight;
    totals[l] *= weight;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < n; i++) { total += totals[i]; }
  let part = l / 64u;
  for (var c = 0u; c < p.headDim; c += 64u) {
    let column = c + l % 64u;
    var y = 0.0;
    if (column < p.headDim) {
      for (var i = part; i < n; i += 4u) { y = fma(weights[i], arena[first + i * size + 2u + column], y); }
    }
    sums[l] = y;
    workgroupBarrier();
    if (l < 64u && column < p.headDim) {
      let all = sums[l] + sums[l + 64u] + sums[l + 128u] + sums[l + 192u];
      arena[p.out + t * p.outStride + head * p.headDim + column] = all / total;
    }
    workgroupBarrier();
  }
}
