// Keys and values in f32: a vector has one quad.

const kvQuads = 1u;

fn openKv(vector: vec4<u32>, i: u32) -> vec4<f32> { return bitcast<vec4<f32>>(vector); }
