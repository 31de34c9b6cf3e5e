// out = W x (+ bias) (+ out) for two to eight tokens, each weight read once: as parts/sweep.wgsl, with four rows a thread, and of x the same
// column of four tokens in a vector, so that a weight serves four or eight of them by one or two fma of vectors.
//
// x in workgroup memory is 8.3 KiB: blocks of 32 vectors and a gap, so that they begin on other banks. A thread holds 4 · tokens sums, four
// vectors of weights and four quads of them: some 60 registers for four tokens, 80 for eight.

struct Params {
  columns: u32, blocks: u32, rows: u32, firstRow: u32,
  L: u32, x: u32, xStride: u32, out: u32, outStride: u32,
  accumulate: u32, hasBias: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weightScales: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

override lanes = 8u;
/** 4 or 8. */
override tokens = 4u;
/** Blocks of each token that are in workgroup memory at a time. */
override chunk = 64u / tokens;

// [tokens / 4, chunk, 33]
var<workgroup> xs: array<vec4<f32>, 528>;

/** Blocks from `first` on of four tokens; what lies behind a row is 0. */
fn stage(first: u32, token: u32, to: u32, l: u32) {
  let x = p.x + min(token + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.L - 1u)) * p.xStride;
  for (var i = l; i < 32u * min(chunk, p.blocks - first); i += 64u) {
    let k = 32u * first + i;
    var v = vec4<f32>();
    if (k < p.columns) { v = vec4<f32>(arena[x.x + k], arena[x.y + k], arena[x.z + k], arena[x.w + k]); }
    xs[to + 33u * (i / 32u) + i % 32u] = v;
  }
}

fn quadOf(words: vec4<u32>, i: u32, terms: vec2<f32>) -> vec4<f32> {
  if (!weightIsScaled) { return weightPart(words, i); }
  return fma(weightPart(words, i), vec4<f32>(terms.x), vec4<f32>(terms.y));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let token = tokens * group.z;
  let teamRows = 256u / lanes;
  let begin = teamRows * (group.x + group.y * groups.x);
  // Rows that are not there are read as the last one, and not written.
  let row = min(begin + 4u * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.rows - 1u));
  var a0 = vec4<f32>();
  var a1 = vec4<f32>();
  var a2 = vec4<f32>();
  var a3 = vec4<f32>();
  var b0 = vec4<f32>();
  var b1 = vec4<f32>();
  var b2 = vec4<f32>();
  var b3 = vec4<f32>();
  for (var first = 0u; first < p.blocks; first += chunk) {
    workgroupBarrier();
    stage(first, token, 0u, l);
    if (tokens > 4u) { stage(first, token + 4u, 33u * chunk, l); }
    workgroupBarrier();
    for (var block = first + l % lanes; block < min(first + chunk, p.blocks); block += lanes) {
      let d0 = weightTerms(row.x, block);
      let d1 = weightTerms(row.y, block);
      let d2 = weightTerms(row.z, block);
      let d3 = weightTerms(row.w, block);
      for (var i = 0u; i < weightVectors; i++) {
        let v0 = weightVector(row.x, block, i);
        let v1 = weightVector(row.y, block, i);
        let v2 = weightVector(row.z, block, i);
        let v3 = weightVector(row.w, block, i);
        for (var j = 0u; j < 8u / weightVectors; j++) {
          let w0 = quadOf(v0, j, d0);
          let w1 = quadOf(v1, j, d1);
          let w2 = quadOf(v2, j, d2);
          let w3 = quadOf(v3, j, d3);
          let at = 33u * (block - first) + 4u * (i * (8u / weightVectors) + j);
          for (var k = 0u; k < 4u; k++) {
            let x = xs[at + k];
            a0 = fma(vec4<f32>(w0[k]), x, a0);
            a1 = fma(vec4<f32>(w1[k]), x, a1);
            a2 = fma(vec4<f32>(w2[k]), x, a2);
            a3 = fma(vec4<f32>(w3[k]), x, a3);
            if (tokens > 4u) {
              let y = xs[33u * chunk + at + k];
              b0 = fma(vec4<f32>(w0[k]), y, b0);
              b1 = fma(vec4<f32>(w1[k]), y, b1);
              b2 = fma(vec4<f32>(w2[k]), y, b2);
              b3 = fma(vec4<f32>(w3[k]), y, b3);
            }
          }
        }
      }
    }
  }
  // [tokens / 4, 4 rows, 64]
  workgroupBarrier();
  xs[l] = a0;
  xs[64u + l] = a1;
  xs[128u + l] = a2;
  xs[192u + l] = a3;
  if (tokens > 4u) {
    xs[256u + l] = b0;
    xs[320u + l] = b1;
    xs[384u + l] = b2;
    xs[448u + l] = b3;
  }
  workgroupBarrier();
  for (var i = l; i < teamRows * tokens; i += 64u) {
    let r = i % teamRows;
    let t = i / teamRows;
    if (begin + r >= p.rows || token + t >= p.L) { continue; }
    let at = 256u * (t / 4u) + 64u * (r % 4u) + lanes * (r / 4u);
    var y = 0.0;
    for (var lane = 0u; lane < lanes; lane++) { y += xs[at + lane][t % 4u]; }
    let n = p.firstRow + begin + r;
    let to = p.out + (token + t) * p.outStride + n;
    if (p.hasBias != 0u) { y += bias[n]; }
    if (p.accumulate != 0u) { y += arena[to]; }
    arena[to] = y;
  }
}
