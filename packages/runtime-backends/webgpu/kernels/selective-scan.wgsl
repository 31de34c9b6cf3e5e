// Δ = softplus(dt + dtBias); h = exp(Δ A) h + Δ B x; out = (C · h + D x) · silu(z). A thread a channel of a sequence, h in registers.

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

struct Params {
  nSequences: u32, dInner: u32, dState: u32, out: u32,
  x: u32, xStride: u32, z: u32, zStride: u32, dt: u32, dtStride: u32, B: u32, BStride: u32, C: u32, CStride: u32,
  slotWords: u32, h: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> A: array<f32>;
@group(0) @binding(4) var<storage, read> D: array<f32>;
@group(0) @binding(5) var<storage, read> dtBias: array<f32>;
@group(0) @binding(6) var<storage, read_write> slots: array<f32>;
@group(0) @binding(7) var<uniform> segment: Segment;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let dInner = p.dInner;
  if (at >= p.nSequences * dInner) { return; }
  let d = at % dInner;
  let sequence = sequences() + at / dInner * 5u;
  let slot = u32(step[sequence + 3u]) - segment.first;
  if (slot >= segment.count) { return; }
  let N = p.dState;
  let held = slot * p.slotWords + p.h + d * N;
  let isFresh = step[sequence + 2u] == 0;
  var h: array<f32, 32>;
  for (var n = 0u; n < N; n++) { h[n] = select(slots[held + n], 0.0, isFresh); }
  for (var t = u32(step[sequence]); t < u32(step[sequence + 1u]); t++) {
    let x = arena[p.x + t * p.xStride + d];
    let delta = softplus(arena[p.dt + t * p.dtStride + d] + dtBias[d]);
    var y = D[d] * x;
    for (var n = 0u; n < N; n++) {
      h[n] = exp(delta * A[d * N + n]) * h[n] + delta * arena[p.B + t * p.BStride + n] * x;
      y = fma(arena[p.C + t * p.CStride + n], h[n], y);
    }
    arena[p.out + t * dInner + d] = y * silu(arena[p.z + t * p.zStride + d]);
  }
  for (var n = 0u; n < N; n++) { slots[held + n] = h[n]; }
}
