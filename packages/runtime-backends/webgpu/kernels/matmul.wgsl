// out = x Wᵀ (+ bias) (+ out) for many tokens, in floats: tiles of 64 tokens and 64 rows over 16 columns at a time, 4 tokens by 8 rows a thread.
//
// Of 16 columns a group reads 64 weights and 64 values of x each, for 4096 products: each weight serves 64 tokens. Both lie by column, four
// rows or tokens in a vector (8.5 KiB), so that a thread takes 3 vectors for 32 fma. It holds 32 sums and some 30 other values.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, x: u32, xStride: u32, out: u32, outStride: u32,
  accumulate: u32, hasBias: u32,
  // Rows of a matrix; and of groups by expert: picks by tile, experts of tiles, picks for each row of x.
  each: u32, order: u32, tiles: u32, perRow: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

// Of weights and, from `forTokens` on, of x: [16 columns, 16] with a gap of one behind each column. Then results: [32 tokens, 64 rows].
var<workgroup> work: array<vec4<f32>, 544>;
const forTokens = 272u;

/** 64 threads: each four columns of four rows. */
fn stageWeights(first: u32, step: u32, l: u32) {
  let four = l / 4u;
  let quad = l % 4u;
  let row = min(first + 4u * four + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.rows - 1u));
  let block = step / 2u;
  let i = 4u * (step % 2u) + quad;
  let q = mat4x4<f32>(weightQuad(row.x, block, i), weightQuad(row.y, block, i), weightQuad(row.z, block, i), weightQuad(row.w, block, i));
  let columns = transpose(q);
  let to = 68u * quad + four;
  work[to] = columns[0];
  work[to + 17u] = columns[1];
  work[to + 34u] = columns[2];
  work[to + 51u] = columns[3];
}

/** 64 threads: each a column of four times four tokens. */
fn stageTokens(step: u32, l: u32) {
  let column = l % 16u;
  let k = 16u * step + column;
  for (var four = l / 16u; four < 16u; four += 4u) {
    var v = vec4<f32>();
    if (k < p.columns) {
      let at = p.x + k;
      v = vec4<f32>(
        arena[at + p.xStride * xRows[4u * four]], arena[at + p.xStride * xRows[4u * four + 1u]],
        arena[at + p.xStride * xRows[4u * four + 2u]], arena[at + p.xStride * xRows[4u * four + 3u]]);
    }
    work[forTokens + 17u * column + four] = v;
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let tile = tileOf(group.xy, l);
  if (!tile.isThere) { return; }
  let first = 64u * group.x;
  let mine = vec2<u32>(l % 8u, l / 8u); // rows 4 mine.x and 32 + 4 mine.x, tokens 4 mine.y
  var a0 = vec4<f32>();
  var a1 = vec4<f32>();
  var a2 = vec4<f32>();
  var a3 = vec4<f32>();
  var b0 = vec4<f32>();
  var b1 = vec4<f32>();
  var b2 = vec4<f32>();
  var b3 = vec4<f32>();
  let isBusy = hasTokens(4u * mine.y);
  let steps = (p.columns + 15u) / 16u;
  for (var step = 0u; step < steps; step++) {
    if (l < 64u) { stageWeights(tile.base + first, step, l); } else { stageTokens(step, l - 64u); }
    workgroupBarrier();
    if (isBusy) {
      for (var k = 0u; k < 16u; k++) {
        let x = work[forTokens + 17u * k + mine.y];
        let a = work[17u * k + mine.x];
        let b = work[17u * k + 8u + mine.x];
        a0 = fma(vec4<f32>(x.x), a, a0);
        a1 = fma(vec4<f32>(x.y), a, a1);
        a2 = fma(vec4<f32>(x.z), a, a2);
        a3 = fma(vec4<f32>(x.w), a, a3);
        b0 = fma(vec4<f32>(x.x), b, b0);
        b1 = fma(vec4<f32>(x.y), b, b1);
        b2 = fma(vec4<f32>(x.z), b, b2);
        b3 = fma(vec4<f32>(x.w), b, b3);
      }
    }
    workgroupBarrier();
  }
  for (var half = 0u; half < 2u; half++) {
    if (mine.y / 8u == half) {
      let to = 64u * (mine.y % 8u) + mine.x;
      work[to] = a0;
      work[to + 8u] = b0;
      work[to + 16u] = a1;
      work[to + 24u] = b1;
      work[to + 32u] = a2;
      work[to + 40u] = b2;
      work[to + 48u] = a3;
      work[to + 56u] = b3;
    }
    workgroupBarrier();
    for (var i = l; i < 2048u; i += 128u) { put(tile, 32u * half + i / 64u, first + i % 64u, work[i / 4u][i % 4u]); }
    workgroupBarrier();
  }
}
