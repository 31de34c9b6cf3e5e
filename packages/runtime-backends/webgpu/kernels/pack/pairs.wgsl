// A thread has two blocks of a row: their scales are the halves of one word.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let pairs = p.blocks / 2u;
  if (at >= p.rows * pairs) { return; }
  let row = at / pairs;
  let block = 2u * (at % pairs);
  scales[(p.firstRow + row) * pairs + at % pairs] = packBlock(row, block) | (packBlock(row, block + 1u) << 16u);
}
