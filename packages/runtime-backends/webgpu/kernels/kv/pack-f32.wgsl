// A vector of keys or values in f32, from quads of floats.

fn packKv(source: u32, i: u32) -> vec4<u32> { return bitcast<vec4<u32>>(kvQuad(source, i)); }
