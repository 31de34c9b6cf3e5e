// What packs rows: `raw` as they came, `data` of the part that gets them.

struct Params {
  columns: u32, blocks: u32,
  // Rows [rawRow, rawRow + rows) of those that came, and which row of the part is the first of them.
  rows: u32, rawRow: u32, firstRow: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> raw: array<u32>;
@group(0) @binding(2) var<storage, read_write> data: array<u32>;
