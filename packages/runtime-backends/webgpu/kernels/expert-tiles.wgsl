// Picks (token · nActive + a) sorted by expert, each expert's from a new tile of 64 on, and the expert of each tile. One group of threads counts;
// the order within an expert is of no account.

struct Params { nPicks: u32, nActive: u32, nExperts: u32, nTiles: u32, experts: u32, expertsStride: u32, order: u32, tiles: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

/** Picks of an expert, and then where its next one goes. */
var<workgroup> counts: array<atomic<u32>, 256>;

fn expertOf(pick: u32) -> u32 { return bitcast<u32>(arena[p.experts + pick / p.nActive * p.expertsStride + pick % p.nActive]); }

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) l: u32) {
  let nobody = 1.0; // see parts/tile.wgsl
  atomicStore(&counts[l], 0u);
  for (var i = l; i < 64u * p.nTiles; i += 256u) { arena[p.order + i] = nobody; }
  for (var i = l; i < p.nTiles; i += 256u) { arena[p.tiles + i] = nobody; }
  workgroupBarrier();
  storageBarrier();
  for (var pick = l; pick < p.nPicks; pick += 256u) { atomicAdd(&counts[expertOf(pick)], 1u); }
  workgroupBarrier();
  if (l == 0u) {
    var tile = 0u;
    for (var e = 0u; e < p.nExperts; e++) {
      let end = tile + (atomicLoad(&counts[e]) + 63u) / 64u;
      atomicStore(&counts[e], 64u * tile);
      for (; tile < end; tile++) { arena[p.tiles + tile] = bitcast<f32>(e); }
    }
  }
  workgroupBarrier();
  for (var pick = l; pick < p.nPicks; pick += 256u) { arena[p.order + atomicAdd(&counts[expertOf(pick)], 1u)] = bitcast<f32>(pick); }
}
