// out = W x (+ out) of up to three weights, such as those of queries, keys and values, for two to eight tokens: as matvec-few, see
// parts/three.wgsl.

@group(0) @binding(8) var<storage, read> norm: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let token = tokens * group.z;
  let groupRows = 256u / lanes;
  let piece = pieceOf(group.x + group.y * groups.x, groupRows);
  if (piece.first >= piece.rows) { return; }
  // Rows that are not there are read as the last one, and not written.
  multiply(min(piece.first + 4u * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(piece.rows - 1u)), token, l);
  for (var i = l; i < groupRows * tokens; i += 64u) {
    let n = piece.first + i % groupRows;
    let t = i / groupRows;
    if (n >= piece.rows || token + t >= p.L) { continue; }
    let to = piece.out + (token + t) * piece.outStride + n;
    var y = product(i % groupRows / 4u, i % 4u, t);
    if (p.accumulate != 0u) { y += arena[to]; }
    arena[to] = y;
  }
}
