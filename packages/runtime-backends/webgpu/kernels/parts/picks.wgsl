// For parts/few.wgsl: the picks (token · nActive + a) of one expert in place of tokens, of 16 tokens at most.

var<workgroup> found: array<u32, 16>;
var<workgroup> picks: array<u32, 16>;
var<workgroup> nFound: u32;
var<private> nPicks: u32;

/** How many there are; known to all threads, with `picks`. No token has an expert twice. */
fn findPicks(expert: u32, l: u32) -> u32 {
  workgroupBarrier(); // those of another expert may be in use
  if (l < p.L) {
    found[l] = p.L * p.nActive;
    for (var a = 0u; a < p.nActive; a++) {
      if (bitcast<u32>(arena[p.experts + l * p.expertsStride + a]) == expert) { found[l] = l * p.nActive + a; }
    }
  }
  workgroupBarrier();
  if (l == 0u) {
    nFound = 0u;
    for (var t = 0u; t < p.L; t++) {
      if (found[t] == p.L * p.nActive) { continue; }
      picks[nFound] = found[t];
      nFound++;
    }
  }
  let n = workgroupUniformLoad(&nFound);
  nPicks = n;
  return n;
}

/** The last one in place of those that are not there, which are not written. */
fn picksFrom(first: u32) -> vec4<u32> {
  let at = min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(nPicks - 1u));
  return vec4<u32>(picks[at.x], picks[at.y], picks[at.z], picks[at.w]);
}

fn xTaken(v: vec4<f32>, k: u32, isLater: bool) -> vec4<f32> { return v; }
fn shareSquares(l: u32) {}
fn normFactor(t: u32) -> f32 { return 1.0; }
