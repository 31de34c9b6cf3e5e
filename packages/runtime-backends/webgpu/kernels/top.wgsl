// The k largest logits of a row, best first, ties to the lower id, and sums over all finite ones: the largest, Σ e^(l - max),
// Σ e^(l - max) (max - l), Σ e^((l - max) / T), their count. Radix select over keys that rise with the logits, in 11, 11 and 10 bits; what
// is chosen goes to `found` in any order and finds its rank there. NaN and infinities count for nothing.
//
// Of a long row each group of threads does this for its share, and then one group for what those found: equal ones stand there by their
// group, and within it by their rank, so in the order of their ids.

struct Params {
  // Values of a row, and of them those of a group.
  length: u32, share: u32,
  k: u32, logits: u32, stride: u32,
  // [nRows, groups, k] and, of sums, [nRows, groups, 5]
  ids: u32, values: u32, sums: u32,
  // [nRows, groups, 2 k]
  found: u32,
  // What groups found, to be merged: ids [nRows, length], sums [nRows, nParts, 5].
  partIds: u32, partSums: u32, nParts: u32,
  // WGSL can't write them: a float that is none, and -1 where integers lie among floats.
  minusInfinity: f32, noId: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;

var<workgroup> bins: array<atomic<u32>, 2048>;
var<workgroup> red: array<f32, 256>;
var<workgroup> ties: array<u32, 256>;
var<workgroup> prefix: u32;
var<workgroup> rest: u32;
var<workgroup> count: atomic<u32>;

/** 0 for what counts for nothing; -0 and 0 have one key. */
fn keyOf(v: f32) -> u32 {
  var bits = bitcast<u32>(v);
  if ((bits & 0x7fffffffu) >= 0x7f800000u) { return 0u; }
  if (bits == 0x80000000u) { bits = 0u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn sumOf(l: u32, v: f32) -> f32 {
  red[l] = v;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (l < half) { red[l] += red[l + half]; }
    workgroupBarrier();
  }
  let sum = red[0];
  workgroupBarrier();
  return sum;
}

/** Of values, with e^(l - max): Σ, Σ · (max - l), Σ at temperature T, and their count. */
fn weighed(v: f32, top: f32, T: f32, own: vec4<f32>) -> vec4<f32> {
  // Halved, or the gap between two large logits would be infinite; e^-200 is 0.
  let gap = 2.0 * min(top * 0.5 - v * 0.5, 1.6e38);
  let weight = exp(-min(gap, 200.0));
  return vec4<f32>(own.x * weight, select(0.0, weight * (own.y + own.x * gap), gap < 150.0), own.z * exp(-min(gap, 200.0 * T) / T), own.w);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let row = group.y;
  let first = group.x * p.share;
  let V = min(p.share, p.length - first);
  let at = p.logits + row * p.stride + first;
  let slot = row * groups.x + group.x;
  let found = p.found + slot * 2u * p.k;
  if (l == 0u) {
    prefix = 0u;
    rest = p.k;
    atomicStore(&count, 0u);
  }
  for (var digit = 0u; digit < 3u; digit++) {
    let shift = select(select(0u, 10u, digit == 1u), 21u, digit == 0u);
    let width = select(11u, 10u, digit == 2u);
    let size = 1u << width;
    for (var i = l; i < 2048u; i += 256u) { atomicStore(&bins[i], 0u); }
    workgroupBarrier();
    let above = workgroupUniformLoad(&prefix);
    for (var i = l; i < V; i += 256u) {
      let key = keyOf(arena[at + i]);
      if (select(key >> (shift + width), 0u, digit == 0u) == above) { atomicAdd(&bins[(key >> shift) & (size - 1u)], 1u); }
    }
    workgroupBarrier();
    if (l == 0u) {
      var left = rest;
      var bin = size - 1u;
      loop {
        let n = atomicLoad(&bins[bin]);
        if (n >= left || bin == 0u) { break; }
        left -= n;
        bin--;
      }
      rest = left;
      prefix = (above << width) | bin;
    }
    workgroupBarrier();
  }
  let cut = workgroupUniformLoad(&prefix);
  let tiesKept = workgroupUniformLoad(&rest);
  // Each thread has a run of ids and knows how many ties lie before it.
  let per = (V + 255u) / 256u;
  var mine = 0u;
  var most = -3.4e38;
  for (var i = l * per; i < min(V, (l + 1u) * per); i++) {
    let v = arena[at + i];
    let key = keyOf(v);
    if (key == cut) { mine++; }
    if (key != 0u) { most = max(most, v); }
  }
  ties[l] = mine;
  red[l] = most;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (l < half) { red[l] = max(red[l], red[l + half]); }
    workgroupBarrier();
  }
  let top = red[0];
  workgroupBarrier();
  var before = 0u;
  for (var i = 0u; i < l; i++) { before += ties[i]; }
  let T = bitcast<f32>(step[temperatures() + row]);
  var own = vec4<f32>();
  if (p.nParts > 0u) {
    for (var i = l; i < p.nParts; i += 256u) {
      let part = p.partSums + 5u * (row * p.nParts + i);
      let sums = vec4<f32>(arena[part + 1u], arena[part + 2u], arena[part + 3u], arena[part + 4u]);
      if (sums.w > 0.0) { own += weighed(arena[part], top, T, sums); }
    }
  }
  for (var i = l * per; i < min(V, (l + 1u) * per); i++) {
    let v = arena[at + i];
    let key = keyOf(v);
    if (key == 0u) { continue; }
    if (p.nParts == 0u) { own += weighed(v, top, T, vec4<f32>(1.0, 0.0, 1.0, 1.0)); }
    if (key > cut || (key == cut && before < tiesKept)) {
      let to = atomicAdd(&count, 1u);
      if (p.nParts == 0u) { arena[found + to] = bitcast<f32>(first + i); } else { arena[found + to] = arena[p.partIds + row * p.length + i]; }
      arena[found + p.k + to] = v;
    }
    if (key == cut) { before++; }
  }
  let sums = vec4<f32>(sumOf(l, own.x), sumOf(l, own.y), sumOf(l, own.z), sumOf(l, own.w));
  if (l == 0u) {
    let to = p.sums + slot * 5u;
    arena[to] = select(p.minusInfinity, top, sums.w > 0.0);
    for (var i = 0u; i < 4u; i++) { arena[to + 1u + i] = sums[i]; }
  }
  storageBarrier();
  let chosen = atomicLoad(&count);
  let to = slot * p.k;
  for (var c = l; c < p.k; c += 256u) {
    if (c >= chosen) {
      arena[p.ids + to + c] = bitcast<f32>(p.noId);
      arena[p.values + to + c] = p.minusInfinity;
      continue;
    }
    let v = arena[found + p.k + c];
    let id = bitcast<u32>(arena[found + c]);
    var rank = 0u;
    for (var b = 0u; b < chosen; b++) {
      let other = arena[found + p.k + b];
      if (other > v || (other == v && bitcast<u32>(arena[found + b]) < id)) { rank++; }
    }
    arena[p.ids + to + rank] = bitcast<f32>(id);
    arena[p.values + to + rank] = v;
  }
}
