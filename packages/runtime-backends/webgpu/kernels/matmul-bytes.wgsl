// out = x Wᵀ (+ bias) (+ out) for many tokens, of weights in blocks with x in bytes (see quantise): as matmul, with words of four bytes for
// columns and dot products of words for fma. Scales and offsets meet the sums of a block.
//
// Of 64 columns a thread takes 48 vectors from workgroup memory (10.5 KiB) for 512 dot products of four. It holds 32 sums twice, and some 30
// other values.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, bytes: u32, scales: u32, xBlocks: u32, out: u32, outStride: u32,
  accumulate: u32, hasBias: u32,
  // Rows of a matrix; and of groups by expert: picks by tile, experts of tiles, picks for each row of x.
  each: u32, order: u32, tiles: u32, perRow: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

// Of weights and, from `forTokens` on, of x, two blocks: [16 words, 16] with a gap of one behind each. Then results: [64 rows, 32 tokens].
var<workgroup> work: array<vec4<u32>, 544>;
const forTokens = 272u;
// [2 blocks, 64]: scale and scale · Σ byte of x, scale and offset of weights.
var<workgroup> xTerms: array<vec2<f32>, 128>;
var<workgroup> wTerms: array<vec2<f32>, 128>;

/** 64 threads: each four words of four rows. */
fn stageWeights(first: u32, pair: u32, l: u32) {
  let four = l / 4u;
  let quad = l % 4u;
  let row = min(first + 4u * four + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.rows - 1u));
  let block = min(2u * pair + quad / 2u, p.blocks - 1u);
  let v0 = weightBytes(row.x, block, quad % 2u);
  let v1 = weightBytes(row.y, block, quad % 2u);
  let v2 = weightBytes(row.z, block, quad % 2u);
  let v3 = weightBytes(row.w, block, quad % 2u);
  let to = 68u * quad + four;
  work[to] = vec4<u32>(v0.x, v1.x, v2.x, v3.x);
  work[to + 17u] = vec4<u32>(v0.y, v1.y, v2.y, v3.y);
  work[to + 34u] = vec4<u32>(v0.z, v1.z, v2.z, v3.z);
  work[to + 51u] = vec4<u32>(v0.w, v1.w, v2.w, v3.w);
}

/** 64 threads: each a word of four times four tokens. */
fn stageTokens(pair: u32, l: u32) {
  let word = l % 16u;
  let at = p.bytes + 8u * min(2u * pair + word / 8u, p.blocks - 1u) + word % 8u;
  for (var four = l / 16u; four < 16u; four += 4u) {
    let x = at + 8u * p.xBlocks * vec4<u32>(xRows[4u * four], xRows[4u * four + 1u], xRows[4u * four + 2u], xRows[4u * four + 3u]);
    work[forTokens + 17u * word + four] = bitcast<vec4<u32>>(vec4<f32>(arena[x.x], arena[x.y], arena[x.z], arena[x.w]));
  }
}

/** All threads: each the terms of a row and of a token. Behind the last block they are 0. */
fn stageTerms(first: u32, pair: u32, l: u32) {
  let block = min(2u * pair + l / 64u, p.blocks - 1u);
  let isThere = 2u * pair + l / 64u < p.blocks;
  let at = p.scales + 2u * (xRows[l % 64u] * p.xBlocks + block);
  xTerms[l] = select(vec2<f32>(), vec2<f32>(arena[at], arena[at + 1u]), isThere);
  wTerms[l] = weightByteTerms(min(first + l % 64u, p.rows - 1u), block);
}

fn dots(w: u32, x: vec4<u32>, sums: vec4<i32>) -> vec4<i32> {
  return sums + vec4<i32>(dot4I8Packed(w, x.x), dot4I8Packed(w, x.y), dot4I8Packed(w, x.z), dot4I8Packed(w, x.w));
}

fn scaled(own: vec4<i32>, w: vec2<f32>, scales: vec4<f32>, byteSums: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  let more = fma(vec4<f32>(own), w.x * scales, sums);
  if (!weightBytesHaveOffset) { return more; }
  return fma(vec4<f32>(w.y), byteSums, more);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let tile = tileOf(group.xy, l);
  if (!tile.isThere) { return; }
  let first = 64u * group.x;
  let mine = vec2<u32>(l % 8u, l / 8u); // rows 4 mine.x and 32 + 4 mine.x, tokens 4 mine.y
  // Of a row, four tokens.
  var r0 = vec4<f32>();
  var r1 = vec4<f32>();
  var r2 = vec4<f32>();
  var r3 = vec4<f32>();
  var r4 = vec4<f32>();
  var r5 = vec4<f32>();
  var r6 = vec4<f32>();
  var r7 = vec4<f32>();
  let isBusy = hasTokens(4u * mine.y);
  for (var pair = 0u; 2u * pair < p.blocks; pair++) {
    if (l < 64u) { stageWeights(tile.base + first, pair, l); } else { stageTokens(pair, l - 64u); }
    stageTerms(tile.base + first, pair, l);
    workgroupBarrier();
    if (isBusy) {
      for (var b = 0u; b < 2u; b++) {
        var i0 = vec4<i32>();
        var i1 = vec4<i32>();
        var i2 = vec4<i32>();
        var i3 = vec4<i32>();
        var i4 = vec4<i32>();
        var i5 = vec4<i32>();
        var i6 = vec4<i32>();
        var i7 = vec4<i32>();
        for (var word = 8u * b; word < 8u * b + 8u; word++) {
          let x = work[forTokens + 17u * word + mine.y];
          let w = work[17u * word + mine.x];
          let v = work[17u * word + 8u + mine.x];
          i0 = dots(w.x, x, i0);
          i1 = dots(w.y, x, i1);
          i2 = dots(w.z, x, i2);
          i3 = dots(w.w, x, i3);
          i4 = dots(v.x, x, i4);
          i5 = dots(v.y, x, i5);
          i6 = dots(v.z, x, i6);
          i7 = dots(v.w, x, i7);
        }
        let t = 64u * b + 4u * mine.y;
        let scales = vec4<f32>(xTerms[t].x, xTerms[t + 1u].x, xTerms[t + 2u].x, xTerms[t + 3u].x);
        let byteSums = vec4<f32>(xTerms[t].y, xTerms[t + 1u].y, xTerms[t + 2u].y, xTerms[t + 3u].y);
        let n = 64u * b + 4u * mine.x;
        r0 = scaled(i0, wTerms[n], scales, byteSums, r0);
        r1 = scaled(i1, wTerms[n + 1u], scales, byteSums, r1);
        r2 = scaled(i2, wTerms[n + 2u], scales, byteSums, r2);
        r3 = scaled(i3, wTerms[n + 3u], scales, byteSums, r3);
        r4 = scaled(i4, wTerms[n + 32u], scales, byteSums, r4);
        r5 = scaled(i5, wTerms[n + 33u], scales, byteSums, r5);
        r6 = scaled(i6, wTerms[n + 34u], scales, byteSums, r6);
        r7 = scaled(i7, wTerms[n + 35u], scales, byteSums, r7);
      }
    }
    workgroupBarrier();
  }
  for (var half = 0u; half < 2u; half++) {
    if (mine.y / 8u == half) {
      let to = 32u * mine.x + mine.y % 8u;
      work[to] = bitcast<vec4<u32>>(r0);
      work[to + 8u] = bitcast<vec4<u32>>(r1);
      work[to + 16u] = bitcast<vec4<u32>>(r2);
      work[to + 24u] = bitcast<vec4<u32>>(r3);
      work[to + 256u] = bitcast<vec4<u32>>(r4);
      work[to + 264u] = bitcast<vec4<u32>>(r5);
      work[to + 272u] = bitcast<vec4<u32>>(r6);
      work[to + 280u] = bitcast<vec4<u32>>(r7);
    }
    workgroupBarrier();
    for (var i = l; i < 2048u; i += 128u) {
      let token = i / 64u;
      put(tile, 32u * half + token, first + i % 64u, bitcast<f32>(work[8u * (i % 64u) + token / 4u][token % 4u]));
    }
    workgroupBarrier();
  }
}
