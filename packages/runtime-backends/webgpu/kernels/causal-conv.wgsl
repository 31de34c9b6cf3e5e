// out = silu(Σ weight[k] x[t - dConv + 1 + k] (+ bias)), a thread a channel of a sequence. The window holds the last dConv - 1 values of x.

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

struct Params { nSequences: u32, dInner: u32, dConv: u32, out: u32, x: u32, xStride: u32, hasBias: u32, slotWords: u32, window: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> slots: array<f32>;
@group(0) @binding(6) var<uniform> segment: Segment;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let D = p.dInner;
  if (at >= p.nSequences * D) { return; }
  let d = at % D;
  let sequence = sequences() + at / D * 5u;
  let slot = u32(step[sequence + 3u]) - segment.first;
  if (slot >= segment.count) { return; }
  let W = p.dConv;
  let held = slot * p.slotWords + p.window + d * (W - 1u);
  let isFresh = step[sequence + 2u] == 0;
  var h: array<f32, 8>;
  for (var k = 0u; k + 1u < W; k++) { h[k] = select(slots[held + k], 0.0, isFresh); }
  for (var t = u32(step[sequence]); t < u32(step[sequence + 1u]); t++) {
    let x = arena[p.x + t * p.xStride + d];
    var sum = weight[d * W + W - 1u] * x;
    if (p.hasBias != 0u) { sum += bias[d]; }
    for (var k = 0u; k + 1u < W; k++) { sum = fma(weight[d * W + k], h[k], sum); }
    arena[p.out + t * D + d] = silu(sum);
    for (var k = 0u; k + 2u < W; k++) { h[k] = h[k + 1u]; }
    if (W > 1u) { h[W - 2u] = x; }
  }
  for (var k = 0u; k + 1u < W; k++) { slots[held + k] = h[k]; }
}
