// softmax(q Kᵀ / sqrt(headDim)) V over all that a token sees, a group of threads a query head and a share of the pages, in one pass (running
// maximum and sum). What shares find meets in attention-merge. A segment of the states serves the pages that it has: what another one
// found before is gone on from.

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

struct Params {
  nHeads: u32, nKvHeads: u32, headDim: u32, pageTokens: u32, rowVectors: u32,
  q: u32, qStride: u32, scale: f32,
  pageVectors: u32, layer: u32,
  // [L, nHeads, nShares, headDim + 2]: the largest score, the sum of exponentials, and values weighted by them
  found: u32, nShares: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> pageData: array<vec4<u32>>;
@group(0) @binding(4) var<uniform> segment: Segment;

const least = -3e38;
var<workgroup> scores: array<f32, 64>;
var<workgroup> red: array<f32, 64>;
var<workgroup> query: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let head = group.x;
  let t = group.y;
  let share = group.z;
  let kvHead = head * p.nKvHeads / p.nHeads;
  let sequence = sequences() + u32(step[sequenceOf() + t]) * 5u;
  let seen = u32(step[sequence + 2u]) + t - u32(step[sequence]) + 1u;
  let table = pages() + u32(step[sequence + 4u]);
  let nPages = (seen + p.pageTokens - 1u) / p.pageTokens;
  let perShare = (nPages + p.nShares - 1u) / p.nShares;
  let to = p.found + ((t * p.nHeads + head) * p.nShares + share) * (p.headDim + 2u);
  let queryAt = p.q + t * p.qStride + head * p.headDim;
  let quads = p.rowVectors * kvQuads;
  // The segment that begins: the first one of those in use.
  let isFirst = segment.first == u32(step[firstSegment()]);
  var most = least;
  var total = 0.0;
  var q = vec4<f32>();
  var y = vec4<f32>();
  if (!isFirst) {
    most = arena[to];
    total = arena[to + 1u];
  }
  for (var j = 0u; j < 4u; j++) {
    if (4u * l + j < p.headDim) {
      q[j] = arena[queryAt + 4u * l + j] * p.scale;
      if (!isFirst) { y[j] = arena[to + 2u + 4u * l + j]; }
    }
  }
  query[l] = q;
  workgroupBarrier();
  for (var n = share * perShare; n < min((share + 1u) * perShare, nPages); n++) {
    let page = u32(step[table + n]) - segment.first;
    if (page >= segment.count) { continue; }
    let keys = page * p.pageVectors + p.layer + kvHead * p.pageTokens * p.rowVectors;
    let values = keys + p.nKvHeads * p.pageTokens * p.rowVectors;
    let inPage = min(p.pageTokens, seen - n * p.pageTokens);
    for (var first = 0u; first < inPage; first += 64u) {
      let key = first + l;
      var score = least;
      if (key < inPage) {
        score = 0.0;
        for (var i = 0u; i < quads; i++) { score += dot(openKv(pageData[keys + key * p.rowVectors + i / kvQuads], i % kvQuads), query[i]); }
      }
      red[l] = score;
      workgroupBarrier();
      for (var half = 32u; half > 0u; half >>= 1u) {
        if (l < half) { red[l] = max(red[l], red[l + half]); }
        workgroupBarrier();
      }
      let now = max(most, red[0]);
      let weight = select(0.0, exp(score - now), key < inPage);
      scores[l] = weight;
      workgroupBarrier();
      red[l] = weight;
      workgroupBarrier();
      for (var half = 32u; half > 0u; half >>= 1u) {
        if (l < half) { red[l] += red[l + half]; }
        workgroupBarrier();
      }
      let keep = exp(max(most - now, -100.0));
      total = total * keep + red[0];
      most = now;
      if (l < quads) {
        y *= keep;
        for (var c = 0u; c < min(64u, inPage - first); c++) {
          y = fma(vec4<f32>(scores[c]), openKv(pageData[values + (first + c) * p.rowVectors + l / kvQuads], l % kvQuads), y);
        }
      }
      workgroupBarrier();
    }
  }
  if (l == 0u) {
    arena[to] = most;
    arena[to + 1u] = total;
  }
  for (var j = 0u; j < 4u; j++) {
    if (4u * l + j < p.headDim) { arena[to + 2u + 4u * l + j] = y[j]; }
  }
}
