// out = W x (+ out) of up to three weights, such as those of queries, keys and values, for one token: as matvec, see parts/three.wgsl.

@group(0) @binding(8) var<storage, read> norm: array<vec4<f32>>;

fn xFirst() -> u32 { return p.x; }

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) l: u32,
) {
  let groupRows = rows * (threads / lanes);
  let piece = pieceOf(group.x + group.y * groups.x, groupRows);
  if (piece.first >= piece.rows) { return; }
  // Rows that are not there are read as the last one, and not written.
  let row = piece.first + rows * (l / lanes) + vec4<u32>(0u, 1u, 2u, 3u);
  let sums = sweep(min(row, vec4<u32>(piece.rows - 1u)), l);
  shareSquares(l);
  share(sums, l);
  for (var i = l; i < groupRows; i += threads) {
    let n = piece.first + i;
    if (n >= piece.rows) { continue; }
    var y = normFactor() * product(i / rows, i % rows);
    if (p.accumulate != 0u) { y += arena[piece.out + n]; }
    arena[piece.out + n] = y;
  }
}
