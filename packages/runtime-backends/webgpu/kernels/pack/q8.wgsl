// Rows as blocks of 32 bytes, value = scale · byte, a thread two blocks. Stored integers stay where they can; else the scale is that of the
// largest value, rounded to f16 first.

struct Params {
  columns: u32, blocks: u32,
  // Rows [rawRow, rawRow + rows) of those that came, and which row of the part is the first of them.
  rows: u32, rawRow: u32, firstRow: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> raw: array<u32>;
@group(0) @binding(2) var<storage, read_write> data: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

fn packBlock(row: u32, block: u32) -> u32 {
  let to = 8u * ((p.firstRow + row) * p.blocks + block);
  let count = rawCount(32u * block);
  if (rawIsQ8() && count == 32u) {
    let place = rawPlace(row, 32u * block);
    for (var i = 0u; i < count / 4u; i++) {
      data[to + i] = pack4xI8(vec4<i32>(rawInteger(place, 4u * i), rawInteger(place, 4u * i + 1u), rawInteger(place, 4u * i + 2u), rawInteger(place, 4u * i + 3u)));
    }
    return toF16(rawScale(place, 0u));
  }
  var x: array<f32, 32>;
  var most = 0.0;
  for (var i = 0u; i < count; i++) {
    x[i] = rawFloat(row, 32u * block + i);
    most = max(most, abs(x[i]));
  }
  let scale = scaleBits(most / 127.0);
  let step = fromF16(scale);
  for (var i = 0u; i < 8u; i++) {
    let q = vec4<i32>(clamp(round(vec4<f32>(x[4u * i], x[4u * i + 1u], x[4u * i + 2u], x[4u * i + 3u]) / step), vec4<f32>(-127.0), vec4<f32>(127.0)));
    data[to + i] = pack4xI8(q);
  }
  return scale;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  let pairs = p.blocks / 2u;
  if (at >= p.rows * pairs) { return; }
  let row = at / pairs;
  let block = 2u * (at % pairs);
  scales[(p.firstRow + row) * pairs + at % pairs] = packBlock(row, block) | (packBlock(row, block + 1u) << 16u);
}
