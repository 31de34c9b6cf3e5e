// Values of rows as they are stored: floats, or GGML's blocks, whose layouts core/src/blocks.ts has in the same order and words. Value i of
// a part of 32 is scale · integer + minimum; a block has 1 part or 8, and halves of a part may have their own scales.

/** What rows are stored in: the constants that stand in front of this text. */
override stored = 0u;

fn rawByte(at: u32) -> u32 { return (raw[at >> 2u] >> (8u * (at & 3u))) & 0xffu; }

fn rawSigned(at: u32) -> i32 { return bitcast<i32>(rawByte(at) << 24u) >> 24u; }

fn rawF16(at: u32) -> f32 { return fromF16(rawByte(at) | (rawByte(at + 1u) << 8u)); }

fn rawBit(at: u32, i: u32) -> u32 { return (rawByte(at + (i >> 3u)) >> (i & 7u)) & 1u; }

/** 32 nibbles in 16 bytes: the low ones first. */
fn rawNibble(at: u32, i: u32) -> u32 { return (rawByte(at + (i & 15u)) >> (4u * (i >> 4u))) & 15u; }

/** Of K formats: two parts share 32 bytes of nibbles, four share 32 bytes of crumbs. */
fn rawNibbleK(at: u32, part: u32, i: u32) -> u32 { return (rawByte(at + 32u * (part >> 1u) + i) >> (4u * (part & 1u))) & 15u; }

fn rawCrumbK(at: u32, part: u32, i: u32) -> u32 { return (rawByte(at + 32u * (part >> 2u) + i) >> (2u * (part & 3u))) & 3u; }

/** 8 scales and 8 minima of 6 bits in the 12 bytes behind a block's own scale and minimum. */
fn rawScaleK(b: u32, part: u32) -> u32 {
  if (part < 4u) { return rawByte(b + 4u + part) & 63u; }
  return (rawByte(b + 8u + part) & 15u) | ((rawByte(b + part) >> 6u) << 4u);
}

fn rawMinimumK(b: u32, part: u32) -> u32 {
  if (part < 4u) { return rawByte(b + 8u + part) & 63u; }
  return (rawByte(b + 8u + part) >> 4u) | ((rawByte(b + 4u + part) >> 6u) << 4u);
}

/** What the 4 bits of iq4 stand for: -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113, a byte each. */
fn rawCode(nibble: u32) -> i32 {
  let bytes = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
  return bitcast<i32>(bytes[nibble >> 2u] << (24u - 8u * (nibble & 3u))) >> 24u;
}

/** Values and bytes of a block. */
fn rawBlockSize() -> vec2<u32> {
  switch (stored) {
    case Q4_0, IQ4_NL: { return vec2<u32>(32u, 18u); }
    case Q4_1: { return vec2<u32>(32u, 20u); }
    case Q5_0: { return vec2<u32>(32u, 22u); }
    case Q5_1: { return vec2<u32>(32u, 24u); }
    case Q8_0: { return vec2<u32>(32u, 34u); }
    case Q2_K: { return vec2<u32>(256u, 84u); }
    case Q3_K: { return vec2<u32>(256u, 110u); }
    case Q4_K: { return vec2<u32>(256u, 144u); }
    case Q5_K: { return vec2<u32>(256u, 176u); }
    case Q6_K: { return vec2<u32>(256u, 210u); }
    default: { return vec2<u32>(256u, 136u); }
  }
}

/** Where the block of a value begins, and its part of 32. */
fn rawPlace(row: u32, column: u32) -> vec2<u32> {
  let size = rawBlockSize();
  let block = (p.rawRow + row) * (p.columns / size.x) + column / size.x;
  return vec2<u32>(block * size.y, column % size.x / 32u);
}

fn rawInteger(place: vec2<u32>, i: u32) -> i32 {
  let b = place.x;
  let part = place.y;
  switch (stored) {
    case Q4_0: { return i32(rawNibble(b + 2u, i)) - 8; }
    case Q4_1: { return i32(rawNibble(b + 4u, i)); }
    case Q5_0: { return i32(rawNibble(b + 6u, i) + 16u * rawBit(b + 2u, i)) - 16; }
    case Q5_1: { return i32(rawNibble(b + 8u, i) + 16u * rawBit(b + 4u, i)); }
    case Q8_0: { return rawSigned(b + 2u + i); }
    case Q2_K: { return i32(rawCrumbK(b + 16u, part, i)); }
    case Q3_K: { return i32(rawCrumbK(b + 32u, part, i) + 4u * ((rawByte(b + i) >> part) & 1u)) - 4; }
    case Q4_K: { return i32(rawNibbleK(b + 16u, part, i)); }
    case Q5_K: { return i32(rawNibbleK(b + 48u, part, i) + 16u * ((rawByte(b + 16u + i) >> part) & 1u)); }
    case Q6_K: {
      let low = (rawByte(b + 64u * (part >> 2u) + 32u * (part & 1u) + i) >> (2u * (part & 2u))) & 15u;
      return i32(low + 16u * rawCrumbK(b + 128u, part, i)) - 32;
    }
    case IQ4_NL: { return rawCode(rawNibble(b + 2u, i)); }
    default: { return rawCode(rawNibble(b + 8u + 16u * part, i)); }
  }
}

fn rawScale(place: vec2<u32>, half: u32) -> f32 {
  let b = place.x;
  let part = place.y;
  switch (stored) {
    case Q2_K: { return rawF16(b + 80u) * f32(rawByte(b + 2u * part + half) & 15u); }
    case Q3_K: {
      // Of 16 scales: low nibbles of 8 bytes, high nibbles of the same, and two bits more in 4 bytes.
      let n = 2u * part + half;
      let low = (rawByte(b + 96u + (n & 7u)) >> select(4u, 0u, n < 8u)) & 15u;
      let high = (rawByte(b + 104u + (n & 3u)) >> (2u * (n >> 2u))) & 3u;
      return rawF16(b + 108u) * f32(i32(low | (high << 4u)) - 32);
    }
    case Q4_K, Q5_K: { return rawF16(b) * f32(rawScaleK(b, part)); }
    case Q6_K: { return rawF16(b + 208u) * f32(rawSigned(b + 192u + 2u * part + half)); }
    case IQ4_XS: {
      let low = (rawByte(b + 4u + (part >> 1u)) >> (4u * (part & 1u))) & 15u;
      let high = ((rawByte(b + 2u) | (rawByte(b + 3u) << 8u)) >> (2u * part)) & 3u;
      return rawF16(b) * f32(i32(low + 16u * high) - 32);
    }
    default: { return rawF16(b); }
  }
}

fn rawMinimum(place: vec2<u32>, half: u32) -> f32 {
  let b = place.x;
  switch (stored) {
    case Q4_1, Q5_1: { return rawF16(b + 2u); }
    case Q2_K: { return -rawF16(b + 82u) * f32(rawByte(b + 2u * place.y + half) >> 4u); }
    case Q4_K, Q5_K: { return -rawF16(b + 2u) * f32(rawMinimumK(b, place.y)); }
    default: { return 0.0; }
  }
}

/** How many of the 32 values from a column on a row has. */
fn rawCount(column: u32) -> u32 { return min(32u, max(p.columns, column) - column); }

fn rawFloat(row: u32, column: u32) -> f32 {
  let at = (p.rawRow + row) * p.columns + column;
  if (stored == F32) { return bitcast<f32>(raw[at]); }
  if (stored == BF16 || stored == F16) {
    let bits = (raw[at >> 1u] >> (16u * (at & 1u))) & 0xffffu;
    return select(bitcast<f32>(bits << 16u), fromF16(bits), stored == F16);
  }
  let place = rawPlace(row, column);
  let half = (column >> 4u) & 1u;
  return rawScale(place, half) * f32(rawInteger(place, column & 31u)) + rawMinimum(place, half);
}

/** Whether each 32 values have one scale and no minimum: their integers are those of q8. */
fn rawIsQ8() -> bool { return stored == Q4_0 || stored == Q5_0 || stored == Q8_0 || stored == IQ4_NL || stored == IQ4_XS; }
