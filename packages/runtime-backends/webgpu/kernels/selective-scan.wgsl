// Δ = softplus(dt + dtBias); h = exp(Δ A) h + Δ B x; out = (C · h + D x) · silu(z).
//
// `lanes` threads a channel, each with 4 of its states in registers: 16 channels a group where dState is 16, so that states and A come in
// vectors that lie one after another. Tokens go in batches of 16: what all lanes of a channel need of them (Δ, x, B, C) is worked out once
// and staged, and what the lanes find of C · h is summed after the batch: two barriers for 16 tokens, none for one. e^(Δ A) is
// 2^(Δ · A log2 e), with A scaled once.
//
// Where channels are too few to keep a GPU busy, a long sequence goes in chunks, in two passes. The first finds what each chunk adds to
// h = 0, and its Σ Δ; the second takes h through the chunks before its own, h = e^(A Σ Δ) h + end, and goes on from there. That is each
// exponential twice: it pays for small models alone.
//
// A token of a channel: 16 exponentials, 80 operations, 16 bytes; h 128 bytes a step. 8 KB of workgroup memory at most, about 30 registers.

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

/** Threads of a channel. */
override lanes = 4u;
/** The first of two passes. */
override isFirstPass = false;

struct Params {
  dInner: u32, dState: u32, out: u32,
  x: u32, xStride: u32, z: u32, zStride: u32, dt: u32, dtStride: u32, B: u32, BStride: u32, C: u32, CStride: u32,
  slotVectors: u32, h: u32,
  // Tokens of a chunk, and where the first pass leaves what it finds: [chunks of all sequences, dInner, 4 rowVectors], [chunks, dInner]
  chunk: u32, ends: u32, sums: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> A: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> D: array<f32>;
@group(0) @binding(5) var<storage, read> dtBias: array<f32>;
@group(0) @binding(6) var<storage, read_write> slots: array<vec4<f32>>;
@group(0) @binding(7) var<uniform> segment: Segment;

const log2e = 1.4426950408889634;
const batch = 16u;
const threads = 64u;
override channels = threads / lanes;
// [batch, channels]
var<workgroup> deltas: array<f32, batch * channels>;
var<workgroup> xs: array<f32, batch * channels>;
// [batch, lanes]
var<workgroup> Bs: array<vec4<f32>, batch * lanes>;
var<workgroup> Cs: array<vec4<f32>, batch * lanes>;
// [batch, channels, lanes]
var<workgroup> parts: array<f32, batch * threads>;

/** 4 states from state 4 i on; behind the last one is 0. */
fn within(i: u32, v: vec4<f32>) -> vec4<f32> { return select(vec4<f32>(), v, 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.dState)); }

fn quadOf(source: u32, i: u32) -> vec4<f32> {
  var v = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    if (4u * i + j < p.dState) { v[j] = arena[source + 4u * i + j]; }
  }
  return v;
}

fn rates(d: u32, lane: u32) -> vec4<f32> {
  let at = d * p.dState + 4u * lane;
  if (p.dState % 4u == 0u) { return log2e * A[at / 4u]; }
  var v = vec4<f32>();
  for (var j = 0u; j < 4u; j++) { v[j] = A[(at + j) / 4u][(at + j) % 4u]; }
  return within(lane, log2e * v);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let sequence = sequences() + group.z * 5u;
  let begin = u32(step[sequence]);
  let end = u32(step[sequence + 1u]);
  let slot = u32(step[sequence + 3u]) - segment.first;
  let chunk = group.y;
  let nChunks = (end - begin + p.chunk - 1u) / p.chunk;
  if (slot >= segment.count || chunk + u32(isFirstPass) >= nChunks) { return; }
  let lane = l % lanes;
  let firstChannel = group.x * channels;
  let d = firstChannel + l / lanes;
  let rowVectors = (p.dState + 3u) / 4u;
  let isMine = d < p.dInner && lane < rowVectors;
  // Where this sequence's entries begin: what has several chunks has at most 2 for each `chunk` of its tokens. The first is h before them.
  let entry = 2u * begin / p.chunk;
  let endAt = p.ends + (entry * p.dInner + d) * 4u * rowVectors + 4u * lane;
  let endSize = p.dInner * 4u * rowVectors;
  let sumAt = p.sums + entry * p.dInner + d;
  let held = slot * p.slotVectors + p.h + d * rowVectors + lane;
  let isFresh = step[sequence + 2u] == 0;
  var a = vec4<f32>();
  var h = vec4<f32>();
  if (isMine) {
    a = rates(d, lane);
    if (chunk == 0u && !isFresh) { h = within(lane, slots[held]); }
    if (isFirstPass && chunk == 0u) {
      for (var i = 0u; i < 4u; i++) { arena[endAt + i] = h[i]; }
    }
    if (!isFirstPass && nChunks > 1u) {
      // The last chunk overwrites what the slot held.
      for (var i = 0u; i < 4u; i++) { h[i] = arena[endAt + i]; }
      for (var before = 0u; before < chunk; before++) {
        let at = endAt + (before + 1u) * endSize;
        let added = vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
        h = fma(exp2(a * arena[sumAt + before * p.dInner]), h, added);
      }
    }
  }
  if (isFirstPass) { h = vec4<f32>(); }
  var sum = 0.0;
  let last = min(begin + (chunk + 1u) * p.chunk, end);
  for (var first = begin + chunk * p.chunk; first < last; first += batch) {
    let n = min(batch, last - first);
    for (var i = l; i < n * channels; i += threads) {
      let t = first + i / channels;
      let channel = firstChannel + i % channels;
      if (channel < p.dInner) {
        xs[i] = arena[p.x + t * p.xStride + channel];
        deltas[i] = softplus(arena[p.dt + t * p.dtStride + channel] + dtBias[channel]);
      }
    }
    for (var i = l; i < n * lanes; i += threads) {
      let t = first + i / lanes;
      Bs[i] = quadOf(p.B + t * p.BStride, i % lanes);
      Cs[i] = quadOf(p.C + t * p.CStride, i % lanes);
    }
    workgroupBarrier();
    for (var k = 0u; k < n; k++) {
      let i = k * channels + l / lanes;
      let delta = deltas[i];
      h = fma(exp2(a * delta), h, (delta * xs[i]) * Bs[k * lanes + lane]);
      if (isFirstPass) { sum += delta; } else { parts[k * threads + l] = dot(Cs[k * lanes + lane], h); }
    }
    workgroupBarrier();
    if (!isFirstPass) {
      // Each thread takes the tokens and channels that it staged: no other one overwrites its xs.
      for (var i = l; i < n * channels; i += threads) {
        let t = first + i / channels;
        let channel = firstChannel + i % channels;
        if (channel < p.dInner) {
          var y = D[channel] * xs[i];
          for (var j = 0u; j < lanes; j++) { y += parts[i * lanes + j]; }
          arena[p.out + t * p.dInner + channel] = y * silu(arena[p.z + t * p.zStride + channel]);
        }
      }
    }
  }
  if (!isMine) { return; }
  if (isFirstPass) {
    let at = endAt + (chunk + 1u) * endSize;
    for (var i = 0u; i < 4u; i++) { arena[at + i] = h[i]; }
    if (lane == 0u) { arena[sumAt + chunk * p.dInner] = sum; }
  } else if (chunk + 1u == nChunks) {
    slots[held] = h;
  }
}
