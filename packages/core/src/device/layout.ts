// How weights and states lie in the memory of GPUs. Sizes that kernels and the host must agree on are worked out here alone.

import { floatBytes, type WeightDtype } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import type { AttentionStateSpec, MambaStateSpec, StateSpec } from "./state.ts";
import { matrixOf, type Weight } from "./weight.ts";

/** Of a row: values in blocks of 32, and their scales apart. Rows of f32 lie dense. */
export interface RowLayout {
  readonly columns: number;
  readonly blocks: number;
  readonly dataBytes: number;
  readonly scaleBytes: number;
}

/** Rows are filled up to so many blocks, so that a row's scales are whole words. */
const blockSteps: Readonly<Record<WeightDtype, number>> = { f32: 1, bf16: 1, f16: 1, q8: 2, q4: 2, q4_1: 1, q4_k: 8 };
/** Bytes of 32 values and of their scales. */
const blockBytes: Readonly<Record<WeightDtype, readonly [data: number, scales: number]>> = {
  f32: [128, 0],
  bf16: [64, 0],
  f16: [64, 0],
  q8: [32, 2],
  q4: [16, 2],
  q4_1: [16, 4],
  q4_k: [16, 2], // 16 bytes for 8 blocks
};

export function rowLayout(columns: number, dtype: WeightDtype): RowLayout {
  const blocks = Math.ceil(columns / 32 / blockSteps[dtype]) * blockSteps[dtype];
  const [data, scales] = blockBytes[dtype];
  return { columns, blocks, dataBytes: dtype === "f32" ? 4 * columns : data * blocks, scaleBytes: scales * blocks };
}

/** Consecutive rows that one buffer holds: their data, then their scales. */
export interface PartLayout {
  readonly firstRow: number;
  readonly rows: number;
  readonly dataBytes: number;
  readonly scalesAt: number;
  readonly scaleBytes: number;
  readonly sizeBytes: number;
}

/** f32 below this stays whole: kernels take norms, A and the weights of the convolution as one piece. */
const wholeBytes = 2 ** 16;

/** A weight in parts that can be bound, each at most `mostBytes` of data. */
export function partsOf({ shape, dtype }: Pick<Weight, "shape" | "dtype">, mostBytes: number): { row: RowLayout; parts: PartLayout[] } {
  const { rows, columns } = matrixOf(shape);
  const row = rowLayout(columns, dtype);
  const isWhole = dtype === "f32" && rows * row.dataBytes < wholeBytes;
  const step = isWhole ? Math.max(1, rows) : Math.max(1, Math.floor(mostBytes / (row.dataBytes || 1)));
  const parts: PartLayout[] = [];
  for (let firstRow = 0; firstRow < rows || firstRow === 0; firstRow += step) {
    const own = Math.min(step, rows - firstRow);
    const [dataBytes, scaleBytes] = [roundUp(own * row.dataBytes, 16), roundUp(own * row.scaleBytes, 16)];
    const scalesAt = roundUp(dataBytes, 256);
    const sizeBytes = Math.max(16, scaleBytes > 0 ? scalesAt + scaleBytes : dataBytes);
    parts.push({ firstRow, rows: own, dataBytes, scalesAt, scaleBytes, sizeBytes });
  }
  return { row, parts };
}

/** Where parts of a layer's state lie in a slot or a page, in words. Rows of h are filled up to vectors of 4. */
export interface StateLayout {
  readonly slotWords: number;
  readonly pageWords: number;
  readonly layers: readonly LayerLayout[];
}

export type LayerLayout =
  | { readonly kind: "mamba"; readonly spec: MambaStateSpec; readonly conv: number; readonly h: number }
  /** Keys, then values: [nKvHeads, pageTokens, rowWords] each. */
  | { readonly kind: "attention"; readonly spec: AttentionStateSpec; readonly at: number; readonly rowWords: number };

/** @throws ShapeError for layers that the kernels can't take */
export function stateLayout({ layers, pageTokens, kvDtype }: StateSpec): StateLayout {
  let [slotWords, pageWords] = [0, 0];
  const placed = layers.map((spec): LayerLayout => {
    if (spec.kind === "mamba") {
      const { dInner, dState, dConv } = spec;
      if (dState > 256 || dConv > 8) throw new ShapeError(`states: expected dState <= 256 and dConv <= 8, found ${JSON.stringify(spec)}`);
      const conv = slotWords;
      const h = conv + roundUp(dInner * (dConv - 1), 4);
      slotWords = h + dInner * roundUp(dState, 4);
      return { kind: "mamba", spec, conv, h };
    }
    if (spec.headDim > 256) throw new ShapeError(`states: expected headDim <= 256, found ${JSON.stringify(spec)}`);
    const [at, rowWords] = [pageWords, roundUp((spec.headDim * floatBytes[kvDtype]) / 4, 4)];
    pageWords += 2 * spec.nKvHeads * pageTokens * rowWords;
    return { kind: "attention", spec, at, rowWords };
  });
  return { slotWords, pageWords, layers: placed };
}

export const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;
