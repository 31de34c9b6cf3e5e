// out = x Wᵀ (+ bias) (+ out) for many tokens: tiles of 32 tokens and 32 rows, 4 by 4 a thread, over blocks of 32 columns.

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

// [32, 8] quads with a gap of one behind each row, so that threads of one column meet no bank twice.
var<workgroup> xs: array<vec4<f32>, 288>;
var<workgroup> ws: array<vec4<f32>, 288>;

fn put(token: u32, row: u32, sum: f32) {
  if (token >= p.L || row >= p.rows) { return; }
  let n = p.firstRow + row;
  let to = p.out + token * p.outStride + n;
  var y = sum;
  if (p.hasBias != 0u) { y += bias[n]; }
  if (p.accumulate != 0u) { y += arena[to]; }
  arena[to] = y;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let firstToken = 32u * group.y;
  let firstRow = 32u * group.x;
  let mine = vec2<u32>(l % 8u, l / 8u); // rows mine.x + 8 i, tokens mine.y + 8 j
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  for (var block = 0u; block < p.blocks; block++) {
    for (var at = l; at < 256u; at += 64u) {
      let r = at / 8u;
      let i = at % 8u;
      ws[9u * r + i] = weightQuad(min(firstRow + r, p.rows - 1u), block, i);
      let x = p.x + (firstToken + r) * p.xStride;
      let k = 32u * block + 4u * i;
      var v = vec4<f32>();
      if (firstToken + r < p.L) {
        for (var j = 0u; j < 4u; j++) {
          if (k + j < p.columns) { v[j] = arena[x + k + j]; }
        }
      }
      xs[9u * r + i] = v;
    }
    workgroupBarrier();
    for (var i = 0u; i < 8u; i++) {
      let w0 = ws[9u * mine.x + i];
      let w1 = ws[9u * (mine.x + 8u) + i];
      let w2 = ws[9u * (mine.x + 16u) + i];
      let w3 = ws[9u * (mine.x + 24u) + i];
      let x0 = xs[9u * mine.y + i];
      let x1 = xs[9u * (mine.y + 8u) + i];
      let x2 = xs[9u * (mine.y + 16u) + i];
      let x3 = xs[9u * (mine.y + 24u) + i];
      c0 += vec4<f32>(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
      c1 += vec4<f32>(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
      c2 += vec4<f32>(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
      c3 += vec4<f32>(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    let row = firstRow + mine.x + 8u * i;
    put(firstToken + mine.y, row, c0[i]);
    put(firstToken + mine.y + 8u, row, c1[i]);
    put(firstToken + mine.y + 16u, row, c2[i]);
    put(firstToken + mine.y + 24u, row, c3[i]);
  }
}
