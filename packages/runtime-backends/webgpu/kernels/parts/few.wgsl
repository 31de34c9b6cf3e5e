// Rows of weights times the x of two to eight tokens, each weight read once: as parts/sweep.wgsl, with four rows a thread, and of x the same
// column of four tokens in a vector, so that a weight serves four or eight of them by one or two fma of vectors.
//
// x in workgroup memory is 8.3 KiB: blocks of 32 vectors and a gap, so that they begin on other banks. A thread holds 4 · tokens sums, four
// vectors of weights and four quads of them: some 60 registers for four tokens, 80 for eight.
//
// The op says what the rows are (rowVector, rowPart, rowTerms), where x is (xRows, xTaken) and what becomes of sums (shareSquares, normFactor).

/** Of a thread. */
const rows = 4u;
override lanes = 8u;
/** 4 or 8. */
override tokens = 4u;
/** Blocks of each token that are in workgroup memory at a time. */
override chunk = 64u / tokens;

// [tokens / 4, chunk, 33]; at the end what each thread has: [tokens / 4, 4 rows, 64]
var<workgroup> xs: array<vec4<f32>, 528>;

/** Blocks from `first` on of four tokens; what lies behind a row is 0. */
fn stage(first: u32, token: u32, to: u32, l: u32) {
  let x = p.x + xRows(token) * p.xStride;
  for (var i = l; i < 32u * min(chunk, p.blocks - first); i += 64u) {
    let k = 32u * first + i;
    var v = vec4<f32>();
    if (k < p.columns) { v = xTaken(vec4<f32>(arena[x.x + k], arena[x.y + k], arena[x.z + k], arena[x.w + k]), k, to > 0u); }
    xs[to + 33u * (i / 32u) + i % 32u] = v;
  }
}

fn quadOf(words: vec4<u32>, i: u32, terms: vec2<f32>) -> vec4<f32> {
  if (!rowIsScaled) { return rowPart(words, i); }
  return fma(rowPart(words, i), vec4<f32>(terms.x), vec4<f32>(terms.y));
}

/** Makes known to all threads what each has of its rows' products, from token `token` on. */
fn multiply(row: vec4<u32>, token: u32, l: u32) {
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
      let d0 = rowTerms(0u, row.x, block);
      let d1 = rowTerms(1u, row.y, block);
      let d2 = rowTerms(2u, row.z, block);
      let d3 = rowTerms(3u, row.w, block);
      for (var i = 0u; i < rowVectors; i++) {
        let v0 = rowVector(0u, row.x, block, i);
        let v1 = rowVector(1u, row.y, block, i);
        let v2 = rowVector(2u, row.z, block, i);
        let v3 = rowVector(3u, row.w, block, i);
        for (var j = 0u; j < 8u / rowVectors; j++) {
          let w0 = quadOf(v0, j, d0);
          let w1 = quadOf(v1, j, d1);
          let w2 = quadOf(v2, j, d2);
          let w3 = quadOf(v3, j, d3);
          let at = 33u * (block - first) + 4u * (i * (8u / rowVectors) + j);
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
  shareSquares(l);
  workgroupBarrier();
}

/** The product of row r of those that the threads of `team` share with token t. */
fn product(team: u32, r: u32, t: u32) -> f32 {
  let at = 256u * (t / 4u) + 64u * r + lanes * team;
  var y = 0.0;
  for (var lane = 0u; lane < lanes; lane++) { y += xs[at + lane][t % 4u]; }
  return y * normFactor(t);
}
