// Keys and values of a step go to their pages, a thread a vector of 4 words. A page is [attention layers, keys and values, nKvHeads,
// pageTokens, rowVectors].

/** Slots or pages that this segment of the states has. */
struct Segment { first: u32, count: u32 }

struct Params {
  L: u32, nKvHeads: u32, headDim: u32, pageTokens: u32, rowVectors: u32,
  k: u32, kStride: u32, v: u32, vStride: u32,
  pageVectors: u32, layer: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read_write> pageData: array<vec4<u32>>;
@group(0) @binding(4) var<uniform> segment: Segment;

/** Values 4 i … 4 i + 3 of a head's row; behind it are zeros. */
fn kvQuad(source: u32, i: u32) -> vec4<f32> {
  var v = vec4<f32>();
  for (var j = 0u; j < 4u; j++) {
    if (4u * i + j < p.headDim) { v[j] = arena[source + 4u * i + j]; }
  }
  return v;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let perToken = 2u * p.nKvHeads * p.rowVectors;
  if (at >= p.L * perToken) { return; }
  let t = at / perToken;
  let isValue = at % perToken / (p.nKvHeads * p.rowVectors);
  let head = at / p.rowVectors % p.nKvHeads;
  let i = at % p.rowVectors;
  let sequence = sequences() + u32(step[sequenceOf() + t]) * 5u;
  let token = u32(step[sequence + 2u]) + t - u32(step[sequence]);
  let page = u32(step[pages() + u32(step[sequence + 4u]) + token / p.pageTokens]) - segment.first;
  if (page >= segment.count) { return; }
  let source = select(p.k + t * p.kStride, p.v + t * p.vStride, isValue == 1u) + head * p.headDim;
  let row = ((isValue * p.nKvHeads + head) * p.pageTokens + token % p.pageTokens) * p.rowVectors;
  pageData[page * p.pageVectors + p.layer + row + i] = packKv(source, i);
}
