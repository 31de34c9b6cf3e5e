// Rows as blocks of 32 nibbles, value = scale · nibble + minimum, a thread a block. As q4: among some whose ends lie up to a step
// within the block's range, each improved by least squares for its own rounding.

@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

fn nibble(v: f32, d: vec2<f32>) -> f32 { return clamp(round((v - d.y) / d.x), 0.0, 15.0); }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.rows * p.blocks) { return; }
  let row = at / p.blocks;
  let block = at % p.blocks;
  var x: array<f32, 32>;
  var low = 3e38;
  var high = -3e38;
  let count = rawCount(32u * block);
  for (var i = 0u; i < count; i++) { x[i] = rawFloat(row, 32u * block + i); }
  for (var i = 0u; i < 32u; i++) {
    low = min(low, x[i]);
    high = max(high, x[i]);
  }
  let range = high - low;
  var best = vec2<f32>(0.0, low);
  if (range > 0.0) {
    var least = 3e38;
    for (var c = 0u; c < 6u; c++) {
      // (0, 0) (0, 1) (0, 2) (1, 0) (1, 1) (2, 0): thirtieths of the range off its ends.
      let below = f32(select(select(2u, 1u, c < 5u), 0u, c < 3u));
      let above = f32(select(select(0u, c - 3u, c < 5u), c, c < 3u));
      var d = vec2<f32>(range * (1.0 - (below + above) / 30.0) / 15.0, low + range * below / 30.0);
      var sums = vec4<f32>(); // Σ n, Σ n², Σ v, Σ v n
      for (var i = 0u; i < 32u; i++) {
        let n = nibble(x[i], d);
        let v = x[i] - d.y;
        sums += vec4<f32>(n, n * n, v, v * n);
      }
      let determinant = 32.0 * sums.y - sums.x * sums.x;
      if (determinant > 0.0) {
        let scale = (32.0 * sums.w - sums.x * sums.z) / determinant;
        d = vec2<f32>(scale, d.y + (sums.z - scale * sums.x) / 32.0);
      }
      var error = 0.0;
      for (var i = 0u; i < 32u; i++) {
        let rest = x[i] - d.y - nibble(x[i], d) * d.x;
        error = fma(rest, rest, error);
      }
      if (error < least) {
        least = error;
        best = d;
      }
    }
  }
  // Nibbles of q4_1 stay, and those of q4_0, which are counted from 8.
  let place = rawPlace(row, 32u * block);
  let isSame = (stored == Q4_1 || stored == Q4_0) && 32u * block < p.columns;
  if (isSame) { best = vec2<f32>(rawScale(place, 0u), select(rawMinimum(place, 0u), -8.0 * rawScale(place, 0u), stored == Q4_0)); }
  let scale = select(scaleBits(best.x), toF16(best.x), isSame);
  let minimum = toF16(best.y);
  let d = vec2<f32>(fromF16(scale), fromF16(minimum));
  let to = (p.firstRow + row) * p.blocks + block;
  for (var i = 0u; i < 4u; i++) {
    var word = 0u;
    for (var j = 0u; j < 4u; j++) {
      var both = u32(nibble(x[4u * i + j], d)) | (u32(nibble(x[16u + 4u * i + j], d)) << 4u);
      if (isSame) { both = rawByte(place.x + select(4u, 2u, stored == Q4_0) + 4u * i + j); }
      word |= both << (8u * j);
    }
    data[4u * to + i] = word;
  }
  scales[to] = scale | (minimum << 16u);
}
