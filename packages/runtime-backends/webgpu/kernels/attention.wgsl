// softmax(q Kᵀ / sqrt(headDim)) V over all that a token sees, in one pass (running maximum and sum).
//
// A group has rows: the query heads of one key-value head, of a token or of some that follow each other, so that each key and value is read
// once for all of them. Its keys are a share of the context, in tiles of 64: first a thread has a key and half of the rows, whose scores go
// to workgroup memory; then each row its maximum and its exponentials; then a thread has four columns of the values and four rows, whose
// sums it keeps in registers. Four barriers a tile. What shares find meets in attention-merge; a share alone writes `out` itself.
// A segment of the states serves the pages that it has: what another one found before is gone on from.
//
// Jamba 3B, 20 rows of 128 columns: a key and its value are 512 bytes and 10,240 operations; 160 threads, 16 KB of workgroup memory, some
// 50 registers. A tile's key is read by two threads, a value by five: all but the first time from the cache.

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

/** A multiple of 4: (token, head) with the heads in a row. */
override nRows = 4u;
/** Query heads of a group. */
override heads = 1u;
/** Vectors of 4 values in a key as it is stored. */
override quads = 1u;
override threads = 64u;

struct Params {
  nSequences: u32, nHeads: u32, nKvHeads: u32, headDim: u32, pageTokens: u32, rowVectors: u32,
  q: u32, qStride: u32, scale: f32, out: u32, outStride: u32,
  pageVectors: u32, layer: u32,
  // Of a group. Shares have at least so many keys, and a sequence has at most so many shares.
  tokens: u32, leastShare: u32, mostShares: u32,
  // [L, nHeads, mostShares, headDim + 2]: the largest score, the sum of exponentials, and values weighted by them
  found: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> pageData: array<vec4<u32>>;
@group(0) @binding(4) var<uniform> segment: Segment;

const least = -3e38;
const tile = 64u;
const elsewhere = 0xffffffffu;
const log2e = 1.4426950408889634;
const four = vec4<u32>(0u, 1u, 2u, 3u);
override rowQuads = nRows / 4u;
/** Threads that share a tile's keys while they look for maxima. */
const parts = 8u;
/** Threads that share a key's rows, and how many of its quads of rows each has: 4 at most. */
override halves = min(2u, threads / tile);
override halfQuads = (rowQuads + halves - 1u) / halves;

var<workgroup> query: array<vec4<f32>, nRows * quads>;
// [tile, rowQuads]
var<workgroup> scores: array<vec4<f32>, tile * rowQuads>;
var<workgroup> places: array<u32, tile>;
// [parts, rowQuads]
var<workgroup> partial: array<vec4<f32>, parts * rowQuads>;
var<workgroup> kept: array<vec4<f32>, rowQuads>;

/** The share of the context and of the tokens that this group has; a row's token and head are there, or are none. */
struct Part { firstToken: u32, nTokens: u32, firstHead: u32, nHeads: u32, share: u32 }
var<private> part: Part;

fn isThere(row: u32) -> bool { return row / heads < part.nTokens && row % heads < part.nHeads; }
fn tokenOf(row: u32) -> u32 { return part.firstToken + row / heads; }
fn headOf(row: u32) -> u32 { return part.firstHead + row % heads; }
fn foundOf(row: u32) -> u32 {
  return p.found + ((tokenOf(row) * p.nHeads + headOf(row)) * p.mostShares + part.share) * (p.headDim + 2u);
}

fn dots(k: vec4<f32>, rowQuad: u32, i: u32) -> vec4<f32> {
  let at = 4u * rowQuad * quads + i;
  return vec4<f32>(dot(k, query[at]), dot(k, query[at + quads]), dot(k, query[at + 2u * quads]), dot(k, query[at + 3u * quads]));
}

fn resumed(row: u32, column: u32) -> vec4<f32> {
  var y = vec4<f32>();
  if (!isThere(row)) { return y; }
  let at = foundOf(row) + 2u + column;
  for (var j = 0u; j < 4u; j++) {
    if (column + j < p.headDim) { y[j] = arena[at + j]; }
  }
  return y;
}

fn put(row: u32, column: u32, y: vec4<f32>, most: f32, total: f32, isWhole: bool) {
  if (!isThere(row)) { return; }
  var to = foundOf(row);
  var scale = 1.0;
  if (isWhole) {
    to = p.out + tokenOf(row) * p.outStride + headOf(row) * p.headDim;
    scale = 1.0 / total;
  } else {
    if (column == 0u) {
      arena[to] = most;
      arena[to + 1u] = total;
    }
    to += 2u;
  }
  for (var j = 0u; j < 4u; j++) {
    if (column + j < p.headDim) { arena[to + column + j] = y[j] * scale; }
  }
}

/** Whether this segment has a page of the keys from `first` to before `end`. */
fn hasPages(table: u32, first: u32, end: u32) -> bool {
  for (var page = first / p.pageTokens; page <= (end - 1u) / p.pageTokens; page++) {
    if (u32(step[table + page]) - segment.first < segment.count) { return true; }
  }
  return false;
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let perKvHead = p.nHeads / p.nKvHeads;
  let blocks = (perKvHead + heads - 1u) / heads;
  let kvHead = group.x / blocks;
  let firstOfGroup = group.x % blocks * heads;
  let mostShares = groups.z / p.nSequences;
  let sequence = sequences() + group.z / mostShares * 5u;
  let begin = u32(step[sequence]);
  let end = u32(step[sequence + 1u]);
  let seen = u32(step[sequence + 2u]);
  let table = pages() + u32(step[sequence + 4u]);
  let firstToken = begin + group.y * p.tokens;
  if (firstToken >= end) { return; }
  let nTokens = min(p.tokens, end - firstToken);
  let which = group.z % mostShares;
  part = Part(firstToken, nTokens, kvHead * perKvHead + firstOfGroup, min(heads, perKvHead - firstOfGroup), which);
  // Keys that the first token sees; the last one sees all that this group has.
  let context = seen + firstToken - begin + 1u;
  let share = shareOf(seen + end - begin, p.leastShare, p.mostShares);
  let firstKey = which * share;
  let lastKey = min(firstKey + share, context + nTokens - 1u);
  if (firstKey >= lastKey) { return; }
  let isFirst = segment.first == u32(step[firstSegment()]);
  let isLast = segment.first == u32(step[lastSegment()]);
  let isOnly = isFirst && isLast;
  let isWhole = isLast && share >= seen + end - begin;
  // Where the segment has nothing of the share, what others found stays. The first one begins it, and the last one ends what is whole.
  if (!isFirst && !isWhole && !hasPages(table, firstKey, lastKey)) { return; }

  for (var i = l; i < nRows * quads; i += threads) {
    let row = i / quads;
    let column = 4u * (i % quads);
    var v = vec4<f32>();
    if (isThere(row)) {
      let at = p.q + tokenOf(row) * p.qStride + headOf(row) * p.headDim + column;
      for (var j = 0u; j < 4u; j++) {
        if (column + j < p.headDim) { v[j] = arena[at + j] * (p.scale * log2e); }
      }
    }
    query[i] = v;
  }

  // While scores are worked out: one key, and some rows. While maxima are looked for: four rows, and every `parts`th key. While values
  // are summed: four rows and four columns.
  let half = l / tile;
  let maxQuad = l % rowQuads;
  let maxPart = l / rowQuads;
  let column = 4u * (l % quads);
  let sumQuad = l / quads;
  var most = vec4<f32>(least);
  var total = vec4<f32>();
  var y0 = vec4<f32>();
  var y1 = vec4<f32>();
  var y2 = vec4<f32>();
  var y3 = vec4<f32>();
  if (!isFirst) {
    for (var j = 0u; j < 4u; j++) {
      if (isThere(4u * maxQuad + j)) {
        most[j] = arena[foundOf(4u * maxQuad + j)];
        if (maxPart == 0u) { total[j] = arena[foundOf(4u * maxQuad + j) + 1u]; }
      }
    }
    if (sumQuad < rowQuads) {
      y0 = resumed(4u * sumQuad, column);
      y1 = resumed(4u * sumQuad + 1u, column);
      y2 = resumed(4u * sumQuad + 2u, column);
      y3 = resumed(4u * sumQuad + 3u, column);
    }
  }
  workgroupBarrier();

  for (var start = firstKey; start < lastKey; start += tile) {
    let n = min(tile, lastKey - start);
    if (!isOnly && !hasPages(table, start, start + n)) { continue; }
    if (half < halves) {
      let i = l % tile;
      let key = start + i;
      var at = elsewhere;
      if (i < n) {
        let page = u32(step[table + key / p.pageTokens]) - segment.first;
        if (page < segment.count) { at = page * p.pageVectors + p.layer + (kvHead * p.pageTokens + key % p.pageTokens) * p.rowVectors; }
      }
      if (half == 0u) { places[i] = at; }
      let quad = half * halfQuads;
      let nQuads = min(halfQuads, rowQuads - min(quad, rowQuads));
      var s0 = vec4<f32>();
      var s1 = vec4<f32>();
      var s2 = vec4<f32>();
      var s3 = vec4<f32>();
      if (at != elsewhere) {
        for (var v = 0u; v < p.rowVectors; v++) {
          let vector = pageData[at + v];
          for (var j = 0u; j < kvQuads; j++) {
            let k = openKv(vector, j);
            let c = v * kvQuads + j;
            if (nQuads > 0u) { s0 += dots(k, quad, c); }
            if (nQuads > 1u) { s1 += dots(k, quad + 1u, c); }
            if (nQuads > 2u) { s2 += dots(k, quad + 2u, c); }
            if (nQuads > 3u) { s3 += dots(k, quad + 3u, c); }
          }
        }
      }
      for (var r = 0u; r < nQuads; r++) {
        let s = select(select(select(s3, s2, r == 2u), s1, r == 1u), s0, r == 0u);
        // A key that is elsewhere or behind a row's own token counts for nothing.
        let sees = vec4<u32>(key) < context + (4u * (quad + r) + four) / heads;
        scores[i * rowQuads + quad + r] = select(vec4<f32>(least), s, sees & vec4<bool>(at != elsewhere));
      }
    }
    workgroupBarrier();
    if (maxPart < parts) {
      var found = vec4<f32>(least);
      for (var i = maxPart; i < n; i += parts) { found = max(found, scores[i * rowQuads + maxQuad]); }
      partial[maxPart * rowQuads + maxQuad] = found;
    }
    workgroupBarrier();
    if (maxPart < parts) {
      var now = most;
      for (var i = 0u; i < parts; i++) { now = max(now, partial[i * rowQuads + maxQuad]); }
      let keep = exp2(max(most - now, vec4<f32>(-150.0)));
      total *= keep;
      most = now;
      for (var i = maxPart; i < n; i += parts) {
        let s = scores[i * rowQuads + maxQuad];
        let weight = select(exp2(s - now), vec4<f32>(), s <= vec4<f32>(least));
        scores[i * rowQuads + maxQuad] = weight;
        total += weight;
      }
      if (maxPart == 0u) { kept[maxQuad] = keep; }
    }
    workgroupBarrier();
    if (sumQuad < rowQuads) {
      let keep = kept[sumQuad];
      y0 *= keep.x;
      y1 *= keep.y;
      y2 *= keep.z;
      y3 *= keep.w;
      let values = p.nKvHeads * p.pageTokens * p.rowVectors + column / 4u / kvQuads;
      for (var i = 0u; i < n; i++) {
        let at = places[i];
        if (at == elsewhere) { continue; }
        let v = openKv(pageData[at + values], column / 4u % kvQuads);
        let weight = scores[i * rowQuads + sumQuad];
        y0 = fma(vec4<f32>(weight.x), v, y0);
        y1 = fma(vec4<f32>(weight.y), v, y1);
        y2 = fma(vec4<f32>(weight.z), v, y2);
        y3 = fma(vec4<f32>(weight.w), v, y3);
      }
    }
    workgroupBarrier();
  }

  if (maxPart < parts) {
    partial[maxPart * rowQuads + maxQuad] = total;
    if (maxPart == 0u) { kept[maxQuad] = most; }
  }
  workgroupBarrier();
  if (sumQuad >= rowQuads) { return; }
  var sum = vec4<f32>();
  for (var i = 0u; i < parts; i++) { sum += partial[i * rowQuads + sumQuad]; }
  let top = kept[sumQuad];
  put(4u * sumQuad, column, y0, top.x, sum.x, isWhole);
  put(4u * sumQuad + 1u, column, y1, top.y, sum.y, isWhole);
  put(4u * sumQuad + 2u, column, y2, top.z, sum.z, isWhole);
  put(4u * sumQuad + 3u, column, y3, top.w, sum.w, isWhole);
}

/** Keys of a share: whole tiles, so many that there are not too many shares. */
fn shareOf(context: u32, least: u32, most: u32) -> u32 {
  let even = (context + most - 1u) / most;
  return max(least, (even + tile - 1u) / tile * tile);
}
