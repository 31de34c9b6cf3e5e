// A norm that x takes on its way through workgroup memory: 1 / sqrt(mean(x²) + eps) is a factor of every product, known at the end.

var<workgroup> squares: array<f32, 256>;
var<private> square: f32;

fn xTaken(v: vec4<f32>, k: u32) -> vec4<f32> {
  if (p.hasNorm == 0u || k >= p.columns) { return v; }
  square += dot(v, v);
  // What fills up the last vector of the norm may be anything.
  return select(vec4<f32>(), v * norm[k / 4u], k + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns));
}

/** Before what `share` waits for. */
fn shareSquares(l: u32) { squares[l] = square; }

fn normFactor() -> f32 {
  if (p.hasNorm == 0u) { return 1.0; }
  var sum = 0.0;
  for (var i = 0u; i < threads; i++) { sum += squares[i]; }
  return 1.0 / sqrt(sum / f32(p.columns) + p.eps);
}
