// Which tokens and rows a tile of 64 by 64 has, and where its results go. In groups by expert a tile's tokens are picks (token · nActive + a),
// which expert-tiles has sorted, and its rows those of its expert's matrix.

override isGrouped = false;

/** Where a tile has no token, or no expert: more than any, and no NaN as a float. */
const nobody = 0x3f800000u;

var<workgroup> xRows: array<u32, 64>;
var<workgroup> outRows: array<u32, 64>;
var<workgroup> expert: u32;

struct Tile {
  isThere: bool,
  /** The first row of the tile's matrix among those of this part, modulo 2^32. */
  base: u32,
}

/** Known to all threads: ends with a barrier. */
fn tileOf(group: vec2<u32>, l: u32) -> Tile {
  if (l < 64u) {
    let at = 64u * group.y + l;
    if (isGrouped) {
      let pick = bitcast<u32>(arena[p.order + at]);
      outRows[l] = pick;
      xRows[l] = select(pick / p.perRow, 0u, pick == nobody);
    } else {
      outRows[l] = select(nobody, at, at < p.L);
      xRows[l] = min(at, p.L - 1u);
    }
  }
  if (isGrouped && l == 0u) { expert = bitcast<u32>(arena[p.tiles + group.y]); }
  let e = workgroupUniformLoad(&expert);
  if (!isGrouped) { return Tile(true, 0u); }
  let begin = e * p.each + 64u * group.x;
  let isHere = begin < p.firstRow + p.rows && min(begin + 64u, (e + 1u) * p.each) > p.firstRow;
  return Tile(e != nobody && isHere, e * p.each - p.firstRow);
}

/**
 * Whether any of four tokens from `first` on is somebody's: those that a tile lacks are its last ones. Threads without any leave out their
 * products; those of 16 tokens lie side by side, so that whole subgroups do.
 */
fn hasTokens(first: u32) -> bool { return outRows[first] != nobody; }

/** Row n of the tile's matrix, for one of its tokens. */
fn put(tile: Tile, token: u32, n: u32, sum: f32) {
  let row = outRows[token];
  if (row == nobody || n >= p.each || tile.base + n >= p.rows) { return; }
  let column = n + select(p.firstRow, 0u, isGrouped);
  let to = p.out + row * p.outStride + column;
  var y = sum;
  if (p.hasBias != 0u) { y += bias[column]; }
  if (p.accumulate != 0u) { y += arena[to]; }
  arena[to] = y;
}
