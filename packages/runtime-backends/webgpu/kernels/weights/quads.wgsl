/** Four values from column 32 block + 4 i on. */
fn weightQuad(row: u32, block: u32, i: u32) -> vec4<f32> {
  let parts = 8u / weightVectors;
  let part = weightPart(weightVector(row, block, i / parts), i % parts);
  if (!weightIsScaled) { return part; }
  let terms = weightTerms(row, block);
  return fma(part, vec4<f32>(terms.x), vec4<f32>(terms.y));
}
