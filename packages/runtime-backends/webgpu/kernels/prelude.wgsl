// What every kernel may use.

/** Of a dispatch whose groups of 64 are spread over two axes, since one axis takes 65,535. */
fn flatIndex(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.x + id.y * groups.x * 64u; }

/** WGSL promises no infinity: e^-|v| never overflows. */
fn sigmoid(v: f32) -> f32 {
  let e = exp(-abs(v));
  return select(e / (1.0 + e), 1.0 / (1.0 + e), v >= 0.0);
}

fn silu(v: f32) -> f32 { return v * sigmoid(v); }

/** log(1 + e^v). Above 20 the 1 is lost to rounding; where e^v is small a series keeps the digits that 1 + e^v drops. */
fn softplus(v: f32) -> f32 {
  if (v > 20.0) { return v; }
  let e = exp(v);
  if (e < 0.01) { return e * (1.0 - e * (0.5 - e * (0.33333333 - 0.25 * e))); }
  return log(1.0 + e);
}

/** Whether unpack2x16float gives the smallest halves as they are: a device may take them for 0. */
override keepsHalves = false;

/** The f16 in the low 16 bits, exactly. */
fn fromF16(bits: u32) -> f32 {
  if (keepsHalves) { return unpack2x16float(bits).x; }
  let magnitude = bits & 0x7fffu;
  let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
  let v = select(normal, f32(magnitude) * 5.9604644775390625e-8, magnitude < 0x400u);
  return select(v, -v, (bits & 0x8000u) != 0u);
}

/** Both f16 of a word. */
fn fromHalves(word: u32) -> vec2<f32> {
  if (keepsHalves) { return unpack2x16float(word); }
  return vec2<f32>(fromF16(word & 0xffffu), fromF16(word >> 16u));
}

/** The nearest f16, half to even, as 16 bits; beyond 65504 the largest. */
fn toF16(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x477ff000u) { return sign | 0x7bffu; }
  // Below the smallest normal one: multiples of 2^-24. Adding 2^23 rounds to an integer, half to even.
  if (magnitude < 0x38800000u) { return sign | (bitcast<u32>(abs(v) * 16777216.0 + 8388608.0) - 0x4b000000u); }
  return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u);
}

/** The nearest bf16, half to even, as 16 bits. */
fn toBf16(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

/** The f16 nearest to a scale, never 0: a block of zeros has zeros for integers. */
fn scaleBits(v: f32) -> u32 {
  let bits = toF16(v);
  return select(bits, 1u, (bits & 0x7fffu) == 0u);
}

/**
 * 128 + nibble of the low nibbles of a word's bytes for i < 4, else of the high ones. A float whose last bits in use the nibble is needs no
 * conversion, which many GPUs do at a quarter of the rate.
 */
fn nibbles128(word: u32, i: u32) -> vec4<f32> {
  var moved = vec4<u32>(word << 16u, word << 8u, word, word >> 8u);
  if (i >= 4u) { moved = vec4<u32>(word << 12u, word << 4u, word >> 4u, word >> 12u); }
  return bitcast<vec4<f32>>((moved & vec4<u32>(0x000f0000u)) | vec4<u32>(0x43000000u));
}
