// Rows of weights times the x of one token. `lanes` threads share `rows` rows and take their blocks of 32 in turns: neighbours read
// neighbouring vectors, and what a thread reads of x serves each of its rows.
//
// x comes through workgroup memory (9 KiB), 64 blocks of 9 vectors: the ninth has the block's sum, and lets blocks begin 36 words apart, on
// other banks. Scale and offset meet a block's two sums once, outside of the inner product: a weight of q4 costs a shift, a mask with an
// or, and an fma. Of memory a group reads its rows once (18 bytes a block of q4) and x. Some 50 registers with four rows.
//
// The op says what the rows are (rowVector, rowPart, rowTerms) and where x is (xFirst, xTaken).

override threads = 64u;
override lanes = 16u;
override rows = 4u;

/** Blocks of x that are in workgroup memory at a time. */
const chunk = 64u;

var<workgroup> xs: array<vec4<f32>, 576>;

/** Blocks from `first` on; what lies behind the row is 0. */
fn stage(first: u32, l: u32) {
  let x = xFirst();
  for (var i = l; i < 8u * min(chunk, p.blocks - first); i += threads) {
    let k = 32u * first + 4u * i;
    var v = vec4<f32>();
    if (k + 3u < p.columns) {
      v = vec4<f32>(arena[x + k], arena[x + k + 1u], arena[x + k + 2u], arena[x + k + 3u]);
    } else {
      for (var j = 0u; k + j < p.columns; j++) { v[j] = arena[x + k + j]; }
    }
    xs[9u * (i / 8u) + i % 8u] = xTaken(v, k);
  }
}

fn addBlockSums(l: u32) {
  for (var i = l; i < chunk; i += threads) {
    var sum = xs[9u * i];
    for (var j = 1u; j < 8u; j++) { sum += xs[9u * i + j]; }
    xs[9u * i + 8u] = vec4<f32>(sum.x + sum.y + sum.z + sum.w);
  }
}

fn dotted(w: vec4<f32>, x: vec4<f32>, sum: f32) -> f32 { return fma(w.x, x.x, fma(w.y, x.y, fma(w.z, x.z, fma(w.w, x.w, sum)))); }

/** A block of each row times what lies from `at` on of x. */
fn blockOf(row: vec4<u32>, block: u32, at: u32) -> vec4<f32> {
  let d0 = rowTerms(0u, row.x, block);
  var d1 = vec2<f32>();
  var d2 = vec2<f32>();
  var d3 = vec2<f32>();
  if (rows > 1u) { d1 = rowTerms(1u, row.y, block); }
  if (rows > 2u) {
    d2 = rowTerms(2u, row.z, block);
    d3 = rowTerms(3u, row.w, block);
  }
  var s0 = 0.0;
  var s1 = 0.0;
  var s2 = 0.0;
  var s3 = 0.0;
  for (var i = 0u; i < rowVectors; i++) {
    let v0 = rowVector(0u, row.x, block, i);
    var v1 = vec4<u32>();
    var v2 = vec4<u32>();
    var v3 = vec4<u32>();
    if (rows > 1u) { v1 = rowVector(1u, row.y, block, i); }
    if (rows > 2u) {
      v2 = rowVector(2u, row.z, block, i);
      v3 = rowVector(3u, row.w, block, i);
    }
    for (var j = 0u; j < 8u / rowVectors; j++) {
      let x = xs[at + i * (8u / rowVectors) + j];
      s0 = dotted(rowPart(v0, j), x, s0);
      if (rows > 1u) { s1 = dotted(rowPart(v1, j), x, s1); }
      if (rows > 2u) {
        s2 = dotted(rowPart(v2, j), x, s2);
        s3 = dotted(rowPart(v3, j), x, s3);
      }
    }
  }
  var sums = vec4<f32>(s0, s1, s2, s3);
  if (rowIsScaled) { sums *= vec4<f32>(d0.x, d1.x, d2.x, d3.x); }
  if (rowHasOffset) { sums = fma(vec4<f32>(d0.y, d1.y, d2.y, d3.y), vec4<f32>(xs[at + 8u].x), sums); }
  return sums;
}

/** What this thread has of its rows' products. */
fn sweep(row: vec4<u32>, l: u32) -> vec4<f32> {
  var sums = vec4<f32>();
  for (var first = 0u; first < p.blocks; first += chunk) {
    workgroupBarrier();
    stage(first, l);
    workgroupBarrier();
    if (rowHasOffset) {
      addBlockSums(l);
      workgroupBarrier();
    }
    for (var block = first + l % lanes; block < min(first + chunk, p.blocks); block += lanes) {
      sums += blockOf(row, block, 9u * (block - first));
    }
  }
  return sums;
}

/** Makes what each thread has known to all. */
fn share(sums: vec4<f32>, l: u32) {
  workgroupBarrier();
  xs[l] = sums;
  workgroupBarrier();
}

/** The product with row r of those that the threads of `team` share. */
fn product(team: u32, r: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < lanes; i++) { sum += xs[team * lanes + i][r]; }
  return sum;
}
