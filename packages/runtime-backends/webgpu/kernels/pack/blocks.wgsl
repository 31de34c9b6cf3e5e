// Rows of GGML's blocks as the same numbers in our layout, a thread two blocks of 32: q8_0, q4_0, q4_1, q4_k.

struct Params {
  columns: u32, blocks: u32,
  // Rows [rawRow, rawRow + rows) of those that came, and which row of the part is the first of them.
  rows: u32, rawRow: u32, firstRow: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> raw: array<u32>;
@group(0) @binding(2) var<storage, read_write> data: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

/** 0 q8_0, 1 q4_0, 2 q4_1, 3 q4_k */
override kind = 0u;

/** The word at a byte that may lie between two, at an even place. */
fn rawWord(byte: u32) -> u32 {
  let at = byte >> 2u;
  if ((byte & 2u) == 0u) { return raw[at]; }
  return (raw[at] >> 16u) | (raw[at + 1u] << 16u);
}

fn rawHalf(byte: u32) -> u32 { return (raw[byte >> 2u] >> (8u * (byte & 2u))) & 0xffffu; }

/** @returns what a word of scales has of the block, for q8 and q4 16 bits. What is behind a row's end is zeros. */
fn packBlock(row: u32, block: u32) -> u32 {
  let to = (p.firstRow + row) * p.blocks + block;
  let stored = p.columns / 32u;
  if (block >= stored) {
    // 1 is the smallest scale that is not 0; nibbles of q4 are counted from 8.
    for (var i = 0u; i < select(4u, 8u, kind == 0u); i++) { data[select(4u, 8u, kind == 0u) * to + i] = select(0u, 0x88888888u, kind == 1u); }
    return 1u;
  }
  if (kind == 0u) {
    let first = 34u * ((p.rawRow + row) * stored + block);
    for (var i = 0u; i < 8u; i++) { data[8u * to + i] = rawWord(first + 2u + 4u * i); }
    return rawHalf(first);
  }
  if (kind == 3u) {
    // Two blocks share 32 bytes, in low and high nibbles, behind the 16 bytes that eight share.
    let first = 36u * (((p.rawRow + row) * stored + block) / 8u);
    let b = block % 8u;
    for (var i = 0u; i < 4u; i++) {
      let low = (raw[first + 4u + 8u * (b / 2u) + i] >> (4u * (b & 1u))) & 0x0f0f0f0fu;
      let high = (raw[first + 8u + 8u * (b / 2u) + i] >> (4u * (b & 1u))) & 0x0f0f0f0fu;
      data[4u * to + i] = low | (high << 4u);
    }
    if (b < 4u) { scales[to / 8u * 4u + b] = raw[first + b]; }
    return 0u;
  }
  let size = select(18u, 20u, kind == 2u);
  let first = size * ((p.rawRow + row) * stored + block);
  for (var i = 0u; i < 4u; i++) { data[4u * to + i] = rawWord(first + size - 16u + 4u * i); }
  if (kind == 2u) { return rawWord(first); }
  return rawHalf(first);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  // q4_1 fills rows up to whole blocks alone.
  let pairs = (p.blocks + 1u) / 2u;
  if (at >= p.rows * pairs) { return; }
  let row = at / pairs;
  let block = 2u * (at % pairs);
  let hasTwo = block + 1u < p.blocks;
  let first = packBlock(row, block);
  var second = 0u;
  if (hasTwo) { second = packBlock(row, block + 1u); }
  let to = (p.firstRow + row) * p.blocks + block;
  if (kind < 2u) { scales[to / 2u] = first | (second << 16u); }
  if (kind == 2u) {
    scales[to] = first;
    if (hasTwo) { scales[to + 1u] = second; }
  }
}
