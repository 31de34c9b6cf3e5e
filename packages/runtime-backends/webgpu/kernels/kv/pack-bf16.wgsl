// A vector of keys or values in bf16, from quads of floats.

fn packPairs(v: vec4<f32>) -> vec2<u32> { return vec2<u32>(toBf16(v.x) | (toBf16(v.y) << 16u), toBf16(v.z) | (toBf16(v.w) << 16u)); }

fn packKv(source: u32, i: u32) -> vec4<u32> { return vec4<u32>(packPairs(kvQuad(source, 2u * i)), packPairs(kvQuad(source, 2u * i + 1u))); }
