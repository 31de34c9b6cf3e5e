// out = silu(Σ weight[k] x[t - dConv + 1 + k] (+ bias)), a thread 8 tokens of a channel, so that long steps go in parallel. What lies before
// them is x itself; before the step's first token it is the window, the last dConv - 1 values of x, which the thread of the first 8
// tokens alone reads and renews. The last 8 values stand in two vectors, weights likewise with zeros before them.

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

struct Params { dInner: u32, dConv: u32, out: u32, x: u32, xStride: u32, hasBias: u32, slotWords: u32, window: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> slots: array<f32>;
@group(0) @binding(6) var<uniform> segment: Segment;

/** Tokens of a thread; dConv is at most as much. */
const run = 8u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let d = group.x * 64u + l;
  let sequence = sequences() + group.z * 5u;
  let begin = u32(step[sequence]);
  let end = u32(step[sequence + 1u]);
  let slot = u32(step[sequence + 3u]) - segment.first;
  let first = begin + group.y * run;
  if (d >= p.dInner || slot >= segment.count || first >= end) { return; }
  let W = p.dConv;
  let x = p.x + d;
  let held = slot * p.slotWords + p.window + d * (W - 1u);
  let isFresh = step[sequence + 2u] == 0;
  var older = vec4<f32>(); // x[t - 7] … x[t - 4]
  var newer = vec4<f32>(); // x[t - 3] … x[t]
  var olderWeights = vec4<f32>();
  var newerWeights = vec4<f32>();
  for (var i = 0u; i < 4u; i++) {
    if (i + W >= 8u) { olderWeights[i] = weight[d * W + i + W - 8u]; }
    if (i + W >= 4u) { newerWeights[i] = weight[d * W + i + W - 4u]; }
  }
  // x[first - k]
  for (var k = W - 1u; k > 0u; k--) {
    var v = 0.0;
    if (group.y > 0u) { v = arena[x + (first - k) * p.xStride]; } else if (!isFresh) { v = slots[held + W - 1u - k]; }
    older = vec4<f32>(older.yzw, newer.x);
    newer = vec4<f32>(newer.yzw, v);
  }
  var start = 0.0;
  if (p.hasBias != 0u) { start = bias[d]; }
  for (var t = first; t < min(first + run, end); t++) {
    older = vec4<f32>(older.yzw, newer.x);
    newer = vec4<f32>(newer.yzw, arena[x + t * p.xStride]);
    arena[p.out + t * p.dInner + d] = silu(start + dot(olderWeights, older) + dot(newerWeights, newer));
  }
  if (group.y > 0u) { return; }
  let n = end - begin;
  for (var k = 0u; k + 1u < W; k++) {
    var v = 0.0;
    if (n + k + 1u >= W) { v = arena[x + (end + k + 1u - W) * p.xStride]; } else if (!isFresh) { v = slots[held + k + n]; }
    slots[held + k] = v;
  }
}
