// out[t] = table[ids[t]]: out [L, dModel], table [vocabSize, dModel] in any dtype; a part of the table serves the ids that it has.

struct Params { L: u32, columns: u32, blocks: u32, out: u32, firstRow: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<i32>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> weightScales: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  // A thread has 4 columns.
  let quads = (p.columns + 3u) / 4u;
  if (at >= p.L * quads) { return; }
  let t = at / quads;
  let column = at % quads * 4u;
  let row = u32(step[ids() + t]);
  if (row < p.firstRow || row >= p.firstRow + p.rows) { return; }
  let values = weightQuad(row - p.firstRow, column / 32u, column / 4u % 8u);
  let to = p.out + t * p.columns + column;
  for (var i = 0u; i < 4u && column + i < p.columns; i++) { arena[to + i] = values[i]; }
}
