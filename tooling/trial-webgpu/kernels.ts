// WGSL, one kernel per op, the simplest that is right. The arena is one binding that is read and written, with offsets as parameters: WebGPU
// forbids a buffer to be bound to read and to write in one dispatch, and writable bindings that overlap, as column slices do.

import { stepParts } from "@jamba/core";

export interface Kernel {
  /** a arena, s `stepWords`, p parameters, w weights (read), m state, o what goes back to the host. */
  readonly bindings: string;
  readonly code: string;
}

const declare = (kind: string, name: string, at: number) => {
  const [access, type] = { p: ["uniform", "array<vec4<u32>, 8>"], s: ["storage, read", "array<i32>"], w: ["storage, read", "array<f32>"] }[
    kind
  ] ?? ["storage, read_write", "array<f32>"];
  return `@group(0) @binding(${at}) var<${access}> ${name}: ${type};`;
};

const kernel = (bindings: string, body: string): Kernel => {
  const kinds = [...bindings];
  const names = kinds.map((kind, at) => kind + (kinds.slice(0, at).filter((k) => k === kind).length || ""));
  const code = `${kinds.map((kind, at) => declare(kind, names[at], at)).join("\n")}
${kinds.includes("s") ? stepParts.map((name, i) => `fn ${name}() -> u32 { return u32(s[${i}]); }`).join("\n") : ""}
fn P(i: u32) -> u32 { return p[i >> 2u][i & 3u]; }
fn sigmoid(v: f32) -> f32 { let e = exp(-abs(v)); return select(e / (1.0 + e), 1.0 / (1.0 + e), v >= 0.0); }
fn silu(v: f32) -> f32 { return v * sigmoid(v); }
${body}`;
  return { bindings, code };
};

/** One thread per id; dispatches are split in y where they have more than 65535 groups. */
const flat = `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) nw: vec3<u32>) {
  let id = g.x + g.y * nw.x * 64u;`;

export const kernels = {
  // P: words, out, which tensor
  input: kernel(
    "aps",
    `${flat} if (id < P(0)) { a[P(1) + id] = bitcast<f32>(s[u32(s[${stepParts.indexOf("tensors")}u + P(2)]) + id]); } }`,
  ),
  // P: rows, columns, out, x, xStride
  keep: kernel("apo", `${flat} if (id < P(0) * P(1)) { o[P(2) + id] = a[P(3) + id / P(1) * P(4) + id % P(1)]; } }`),
  // P: rows, columns, where outputs start, x, xStride, which output
  read: kernel(
    "apso",
    `${flat} if (id < P(0) * P(1)) { o[P(2) + u32(s[outputs() + P(5)]) + id] = a[P(3) + id / P(1) * P(4) + id % P(1)]; } }`,
  ),
  // P: logits, stride, where outputs start, which output
  asked: kernel(
    "apso",
    `${flat} let at = asked() + 2u * id; if (at >= outputs()) { return; }
  o[P(2) + u32(s[outputs() + P(3)]) + id] = a[P(0) + u32(s[at]) * P(1) + u32(s[at + 1u])]; }`,
  ),
  // P: L, dModel, out, firstRow, rows (of this part of the table)
  embed: kernel(
    "apsw",
    `${flat} if (id >= P(0) * P(1)) { return; } let row = u32(s[ids() + id / P(1)]); if (row < P(3) || row >= P(3) + P(4)) { return; }
  a[P(2) + id] = w[(row - P(3)) * P(1) + id % P(1)]; }`,
  ),
  // P: rows, columns, out, x, xStride
  gatherRows: kernel("aps", `${flat} if (id < P(0) * P(1)) { a[P(2) + id] = a[P(3) + u32(s[rows() + id / P(1)]) * P(4) + id % P(1)]; } }`),
  // P: columns, out, x, xStride, eps
  rmsNorm: kernel(
    "apw",
    `var<workgroup> sums: array<f32, 64>;
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) g: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let n = P(0); let at = P(2) + g.x * P(3); var sum = 0.0;
  for (var i = l; i < n; i += 64u) { let v = a[at + i]; sum += v * v; }
  sums[l] = sum; workgroupBarrier();
  for (var o = 32u; o > 0u; o >>= 1u) { if (l < o) { sums[l] += sums[l + o]; } workgroupBarrier(); }
  let scale = 1.0 / sqrt(sums[0] / f32(n) + bitcast<f32>(P(4)));
  for (var i = l; i < n; i += 64u) { a[P(1) + g.x * n + i] = a[at + i] * scale * w[i]; }
}`,
  ),
  // P: out, outStride, x, xStride, K, accumulate, hasBias, firstRow, rows (of this part of the weight)
  matmul: kernel(
    "apww",
    `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3<u32>) {
  let n = g.x; let t = g.y; if (n >= P(8)) { return; }
  let K = P(4); let x = P(2) + t * P(3); var sum = 0.0;
  for (var k = 0u; k < K; k++) { sum = fma(a[x + k], w[n * K + k], sum); }
  if (P(6) != 0u) { sum += w1[P(7) + n]; }
  let at = P(0) + t * P(1) + P(7) + n;
  if (P(5) != 0u) { sum += a[at]; }
  a[at] = sum;
}`,
  ),
  // P: rows, columns, out, gate, gateStride, up, upStride
  swiglu: kernel(
    "ap",
    `${flat} if (id >= P(0) * P(1)) { return; } let t = id / P(1); let c = id % P(1);
  a[P(2) + id] = silu(a[P(3) + t * P(4) + c]) * a[P(5) + t * P(6) + c]; }`,
  ),
  // P: nSequences, dInner, out, x, xStride, dConv, hasBias
  causalConv: kernel(
    "apswwm",
    `${flat} let D = P(1); if (id >= P(0) * D) { return; } let d = id % D; let q = sequences() + id / D * 5u; let W = P(5);
  var h: array<f32, 8>; let at = (u32(s[q + 3u]) * D + d) * (W - 1u); let fresh = s[q + 2u] == 0;
  for (var k = 0u; k + 1u < W; k++) { h[k] = select(m[at + k], 0.0, fresh); }
  for (var t = u32(s[q]); t < u32(s[q + 1u]); t++) {
    let v = a[P(3) + t * P(4) + d]; var sum = w[d * W + W - 1u] * v; if (P(6) != 0u) { sum += w1[d]; }
    for (var k = 0u; k + 1u < W; k++) { sum += w[d * W + k] * h[k]; }
    a[P(2) + t * D + d] = silu(sum);
    for (var k = 0u; k + 2u < W; k++) { h[k] = h[k + 1u]; } if (W > 1u) { h[W - 2u] = v; }
  }
  for (var k = 0u; k + 1u < W; k++) { m[at + k] = h[k]; } }`,
  ),
  // P: nSequences, dInner, out, dState, x, xS, z, zS, dt, dtS, B, BS, C, CS; w A, w1 D, w2 dtBias
  selectiveScan: kernel(
    "apswwwm",
    `fn softplus(v: f32) -> f32 { if (v > 20.0) { return v; } let e = exp(v); if (e < 0.01) { return e * (1.0 - e * (0.5 - e * (0.33333333 - 0.25 * e))); } return log(1.0 + e); }
${flat} let D = P(1); if (id >= P(0) * D) { return; } let d = id % D; let q = sequences() + id / D * 5u; let N = P(3);
  var h: array<f32, 32>; let at = (u32(s[q + 3u]) * D + d) * N; let fresh = s[q + 2u] == 0;
  for (var n = 0u; n < N; n++) { h[n] = select(m[at + n], 0.0, fresh); }
  for (var t = u32(s[q]); t < u32(s[q + 1u]); t++) {
    let u = a[P(4) + t * P(5) + d]; let delta = softplus(a[P(8) + t * P(9) + d] + w2[d]); var y = w1[d] * u;
    for (var n = 0u; n < N; n++) {
      h[n] = exp(delta * w[d * N + n]) * h[n] + delta * a[P(10) + t * P(11) + n] * u;
      y += a[P(12) + t * P(13) + n] * h[n];
    }
    a[P(2) + t * D + d] = y * silu(a[P(6) + t * P(7) + d]);
  }
  for (var n = 0u; n < N; n++) { m[at + n] = h[n]; } }`,
  ),
  // P: L, nKvHeads * headDim, headDim, nKvHeads, pageTokens, k, kS, v, vS; m, m1 pages of k and v [page, nKvHeads, pageTokens, headDim]
  append: kernel(
    "apsmm",
    `${flat} let C = P(1); if (id >= P(0) * C) { return; } let t = id / C; let c = id % C; let q = sequences() + u32(s[sequenceOf() + t]) * 5u;
  let at = u32(s[q + 2u]) + t - u32(s[q]); let page = u32(s[pages() + u32(s[q + 4u]) + at / P(4)]);
  let to = ((page * P(3) + c / P(2)) * P(4) + at % P(4)) * P(2) + c % P(2);
  m[to] = a[P(5) + t * P(6) + c]; m1[to] = a[P(7) + t * P(8) + c]; }`,
  ),
  // P: L, nHeads, headDim, nKvHeads, pageTokens, q, qS, out, outS, scale
  attention: kernel(
    "apsmm",
    `var<workgroup> score: array<f32, 64>; var<workgroup> red: array<f32, 64>;
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) g: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let head = g.x; let t = g.y; let H = P(2); let T = P(4); let kv = head * P(3) / P(1); let q = sequences() + u32(s[sequenceOf() + t]) * 5u;
  let last = u32(s[q + 2u]) + t - u32(s[q]); let table = pages() + u32(s[q + 4u]); let x = P(5) + t * P(6) + head * H;
  var most = -3e38; var total = 0.0; var y: array<f32, 4>;
  for (var first = 0u; first <= last; first += 64u) {
    let at = first + l; var v = -3e38;
    if (at <= last) { v = 0.0; let k = ((u32(s[table + at / T]) * P(3) + kv) * T + at % T) * H;
      for (var i = 0u; i < H; i++) { v = fma(a[x + i], m[k + i], v); } v *= bitcast<f32>(P(9)); }
    red[l] = v; workgroupBarrier();
    for (var o = 32u; o > 0u; o >>= 1u) { if (l < o) { red[l] = max(red[l], red[l + o]); } workgroupBarrier(); }
    let now = max(most, red[0]); workgroupBarrier();
    let e = select(0.0, exp(v - now), at <= last); score[l] = e; red[l] = e; workgroupBarrier();
    for (var o = 32u; o > 0u; o >>= 1u) { if (l < o) { red[l] += red[l + o]; } workgroupBarrier(); }
    let keep = exp(max(most - now, -100.0)); let fresh = first == 0u; total = select(total * keep, 0.0, fresh) + red[0]; most = now;
    for (var j = 0u; j < 4u; j++) { let i = l + j * 64u; if (i < H) { var sum = select(y[j] * keep, 0.0, fresh);
      for (var c = 0u; c < 64u && first + c <= last; c++) { let at = first + c;
        sum = fma(score[c], m1[((u32(s[table + at / T]) * P(3) + kv) * T + at % T) * H + i], sum); } y[j] = sum; } }
    workgroupBarrier();
  }
  for (var j = 0u; j < 4u; j++) { let i = l + j * 64u; if (i < H) { a[P(7) + t * P(8) + head * H + i] = y[j] / total; } }
}`,
  ),
  // P: L, nExperts, experts, nActive, logits, stride, weights
  route: kernel(
    "ap",
    `${flat} let t = id; if (t >= P(0)) { return; } let at = P(4) + t * P(5); let E = P(1); var most = -3e38;
  for (var e = 0u; e < E; e++) { most = max(most, a[at + e]); } var sum = 0.0;
  for (var e = 0u; e < E; e++) { sum += exp(a[at + e] - most); }
  for (var j = 0u; j < P(3); j++) { var best = -1;
    for (var e = 0u; e < E; e++) { var taken = false; for (var c = 0u; c < j; c++) { taken = taken || bitcast<u32>(a[P(2) + t * P(3) + c]) == e; }
      if (!taken && (best < 0 || a[at + e] > a[at + u32(best)])) { best = i32(e); } }
    a[P(2) + t * P(3) + j] = bitcast<f32>(best); a[P(6) + t * P(3) + j] = exp(a[at + u32(best)] - most) / sum; } }`,
  ),
  // P: dFf, dModel, nActive, experts, expertsS, firstRow, rows (of this part of the weights), x, xS, hidden [L * nActive, dFf]; w gate, w1 up
  expertsUp: kernel(
    "apww",
    `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3<u32>) {
  let i = g.x; let r = g.y; if (i >= P(0)) { return; } let t = r / P(2); let row = bitcast<u32>(a[P(3) + t * P(4) + r % P(2)]) * P(0) + i;
  if (row < P(5) || row >= P(5) + P(6)) { return; }
  let at = (row - P(5)) * P(1); let x = P(7) + t * P(8); var gate = 0.0; var up = 0.0;
  for (var k = 0u; k < P(1); k++) { let v = a[x + k]; gate = fma(v, w[at + k], gate); up = fma(v, w1[at + k], up); }
  a[P(9) + r * P(0) + i] = silu(gate) * up; }`,
  ),
  // P: dModel, dFf, nActive, experts, expertsS, firstRow, rows, hidden, shares, sharesS, out, outS, accumulate
  expertsDown: kernel(
    "apw",
    `@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3<u32>) {
  let n = g.x; let t = g.y; if (n >= P(0)) { return; } var all = 0.0;
  for (var j = 0u; j < P(2); j++) { let row = bitcast<u32>(a[P(3) + t * P(4) + j]) * P(0) + n; if (row < P(5) || row >= P(5) + P(6)) { continue; }
    let at = (row - P(5)) * P(1); let x = P(7) + (t * P(2) + j) * P(1); var sum = 0.0;
    for (var k = 0u; k < P(1); k++) { sum = fma(a[x + k], w[at + k], sum); } all += a[P(8) + t * P(9) + j] * sum; }
  let to = P(10) + t * P(11) + n; if (P(12) != 0u) { all += a[to]; } a[to] = all; }`,
  ),
  // Radix select, 11 + 11 + 10 bits of keys that rise with the logits; what is chosen goes to `found` in any order and finds its rank there.
  // P: vocabSize, k, logits, stride, ids, values, sums, found [nRows, 2 k], bits that WGSL can't write: -infinity, and -1 as an integer
  top: kernel(
    "aps",
    `var<workgroup> bins: array<atomic<u32>, 2048>; var<workgroup> red: array<f32, 256>; var<workgroup> part: array<u32, 256>;
var<workgroup> prefix: u32; var<workgroup> rest: u32; var<workgroup> count: atomic<u32>;
// 0 for what counts for nothing; -0 and 0 have one key.
fn key(v: f32) -> u32 { var b = bitcast<u32>(v); if ((b & 0x7fffffffu) >= 0x7f800000u) { return 0u; } if (b == 0x80000000u) { b = 0u; }
  return select(b | 0x80000000u, ~b, (b >> 31u) == 1u); }
fn sum(l: u32, v: f32) -> f32 { red[l] = v; workgroupBarrier(); for (var o = 128u; o > 0u; o >>= 1u) { if (l < o) { red[l] += red[l + o]; } workgroupBarrier(); } let r = red[0]; workgroupBarrier(); return r; }
@compute @workgroup_size(256) fn main(@builtin(workgroup_id) g: vec3<u32>, @builtin(local_invocation_index) l: u32) {
  let V = P(0); let K = P(1); let at = P(2) + g.x * P(3); let found = P(7) + g.x * 2u * K;
  if (l == 0u) { prefix = 0u; rest = K; atomicStore(&count, 0u); }
  for (var pass_ = 0u; pass_ < 3u; pass_++) {
    let shift = select(select(0u, 10u, pass_ == 1u), 21u, pass_ == 0u); let width = select(11u, 10u, pass_ == 2u); let size = 1u << width;
    for (var i = l; i < 2048u; i += 256u) { atomicStore(&bins[i], 0u); } workgroupBarrier();
    let p = workgroupUniformLoad(&prefix);
    for (var i = l; i < V; i += 256u) { let k = key(a[at + i]); let above = select(k >> (shift + width), 0u, pass_ == 0u); if (above == p) { atomicAdd(&bins[(k >> shift) & (size - 1u)], 1u); } }
    workgroupBarrier();
    if (l == 0u) { var left = rest; var b = size - 1u; loop { let n = atomicLoad(&bins[b]); if (n >= left || b == 0u) { break; } left -= n; b--; } rest = left; prefix = (p << width) | b; }
    workgroupBarrier();
  }
  let cut = workgroupUniformLoad(&prefix); let ties = workgroupUniformLoad(&rest);
  // Ties go to the lower id: each thread has a run of ids and knows how many ties lie before it.
  let per = (V + 255u) / 256u; var mine = 0u; var most = -3.4e38;
  for (var i = l * per; i < min(V, (l + 1u) * per); i++) { let v = a[at + i]; let k = key(v); if (k == cut) { mine++; } if (k != 0u) { most = max(most, v); } }
  part[l] = mine; red[l] = most; workgroupBarrier();
  for (var o = 128u; o > 0u; o >>= 1u) { if (l < o) { red[l] = max(red[l], red[l + o]); } workgroupBarrier(); }
  let top = red[0]; workgroupBarrier();
  var before = 0u; for (var i = 0u; i < l; i++) { before += part[i]; }
  var z = 0.0; var e = 0.0; var zt = 0.0; var n = 0.0; let T = bitcast<f32>(s[temperatures() + g.x]);
  for (var i = l * per; i < min(V, (l + 1u) * per); i++) { let v = a[at + i]; let k = key(v); if (k == 0u) { continue; }
    // Halved, or the gap between two large logits would be infinite; e^-200 is 0.
    let gap = 2.0 * min(top * 0.5 - v * 0.5, 1.6e38); let w = exp(-min(gap, 200.0)); z += w; e += select(0.0, w * gap, gap < 150.0); n += 1.0;
    zt += exp(-min(gap, 200.0 * T) / T);
    if (k > cut || (k == cut && before < ties)) { let c = atomicAdd(&count, 1u); a[found + c] = bitcast<f32>(i); a[found + K + c] = v; } if (k == cut) { before++; } }
  let Z = sum(l, z); let E = sum(l, e); let ZT = sum(l, zt); let N = sum(l, n); let none = bitcast<f32>(P(8));
  if (l == 0u) { let to = P(6) + g.x * 5u; a[to] = select(none, top, N > 0.0); a[to + 1u] = Z; a[to + 2u] = E; a[to + 3u] = ZT; a[to + 4u] = N; }
  storageBarrier();
  let chosen = atomicLoad(&count); let to = g.x * K;
  for (var c = l; c < K; c += 256u) {
    if (c >= chosen) { a[P(4) + to + c] = bitcast<f32>(P(9)); a[P(5) + to + c] = none; continue; }
    let v = a[found + K + c]; let i = bitcast<u32>(a[found + c]); var rank = 0u;
    for (var b = 0u; b < chosen; b++) { let u = a[found + K + b]; if (u > v || (u == v && bitcast<u32>(a[found + b]) < i)) { rank++; } }
    a[P(4) + to + rank] = bitcast<f32>(i); a[P(5) + to + rank] = v;
  } }`,
  ),
  // P: words of a slot or page, which part has the pairs
  copy: kernel(
    "psm",
    `${flat} let first = u32(s[P(1)]); let pair = id / P(0); if (pair >= (u32(s[P(1) + 1u]) - first) / 2u) { return; } let c = id % P(0);
  m[u32(s[first + 2u * pair + 1u]) * P(0) + c] = m[u32(s[first + 2u * pair]) * P(0) + c]; }`,
  ),
} as const satisfies Record<string, Kernel>;

export type KernelName = keyof typeof kernels;
