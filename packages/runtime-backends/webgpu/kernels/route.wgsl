// Of logits [L, nExperts] the nActive largest of a token, ties to the lower expert, and their shares of the softmax over all of them, which do
// not sum to 1: experts, weights [L, nActive].

struct Params { L: u32, nExperts: u32, nActive: u32, logits: u32, stride: u32, experts: u32, weights: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = flatIndex(id, groups);
  if (at >= p.L) { return; }
  let logits = p.logits + at * p.stride;
  var most = -3e38;
  for (var e = 0u; e < p.nExperts; e++) { most = max(most, arena[logits + e]); }
  var sum = 0.0;
  for (var e = 0u; e < p.nExperts; e++) { sum += exp(arena[logits + e] - most); }
  for (var a = 0u; a < p.nActive; a++) {
    var best = -1;
    for (var e = 0u; e < p.nExperts; e++) {
      var isTaken = false;
      for (var b = 0u; b < a; b++) { isTaken = isTaken || bitcast<u32>(arena[p.experts + at * p.nActive + b]) == e; }
      if (!isTaken && (best < 0 || arena[logits + e] > arena[logits + u32(best)])) { best = i32(e); }
    }
    arena[p.experts + at * p.nActive + a] = bitcast<f32>(best);
    arena[p.weights + at * p.nActive + a] = exp(arena[logits + u32(best)] - most) / sum;
  }
}
