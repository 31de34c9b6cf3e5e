// For parts/few.wgsl: tokens from the first one on, and a norm that x takes on its way, whose factor 1 / sqrt(mean(x²) + eps) is known at the
// end. It takes 2 KiB of workgroup memory.

// [tokens / 4, 64]: of what each thread took.
var<workgroup> squares: array<vec4<f32>, 128>;
var<workgroup> factors: array<f32, 8>;
var<private> square: vec4<f32>;
var<private> laterSquare: vec4<f32>;

/** Those that are not there are read as the last one, and not written. */
fn xRows(token: u32) -> vec4<u32> { return min(token + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.L - 1u)); }

/** @param isLater of the second four tokens */
fn xTaken(v: vec4<f32>, k: u32, isLater: bool) -> vec4<f32> {
  if (p.hasNorm == 0u) { return v; }
  if (isLater) { laterSquare = fma(v, v, laterSquare); } else { square = fma(v, v, square); }
  return v * norm[k];
}

fn shareSquares(l: u32) {
  if (p.hasNorm == 0u) { return; }
  squares[l] = square;
  if (tokens > 4u) { squares[64u + l] = laterSquare; }
  workgroupBarrier();
  if (l >= tokens) { return; }
  var sum = 0.0;
  for (var i = 0u; i < 64u; i++) { sum += squares[64u * (l / 4u) + i][l % 4u]; }
  factors[l] = 1.0 / sqrt(sum / f32(p.columns) + p.eps);
}

fn normFactor(t: u32) -> f32 {
  if (p.hasNorm == 0u) { return 1.0; }
  return factors[t];
}
