// Rows of q4_k as they are, with nibbles in the order of q4: two blocks share 32 bytes, in low and high nibbles, behind 16 bytes that eight
// blocks share. A thread a block.

@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.rows * p.blocks) { return; }
  let first = 36u * ((p.rawRow * p.blocks + at) / 8u);
  let b = at % 8u;
  let to = p.firstRow * p.blocks + at;
  for (var i = 0u; i < 4u; i++) {
    let low = (raw[first + 4u + 8u * (b / 2u) + i] >> (4u * (b & 1u))) & 0x0f0f0f0fu;
    let high = (raw[first + 8u + 8u * (b / 2u) + i] >> (4u * (b & 1u))) & 0x0f0f0f0fu;
    data[4u * to + i] = low | (high << 4u);
  }
  if (b < 4u) { scales[to / 8u * 4u + b] = raw[first + b]; }
}
