// What unpack2x16float makes of the smallest halves, which a device may take for 0. They come as a parameter: constants would be worked out
// elsewhere.

struct Params { halves: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

@compute @workgroup_size(1)
fn main() {
  let found = unpack2x16float(p.halves);
  arena[0] = found.x;
  arena[1] = found.y;
}
