// Rows as blocks of 32 bytes, value = scale · byte, a thread two blocks. Stored integers stay where they can; else the scale is that of the
// largest value, rounded to f16 first.

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
