// Products of weights with one token and with many, through the public backend.

import { type Backend, blockFormats, record, type StoredDtype, sourceOf, toBf16, toF16, type Weight, type WeightDtype } from "@jamba/core";
import { normals, randomFrom } from "../random.ts";
import { quantile } from "../structured/figures.ts";
import type { OpFigure } from "./figures.ts";

export interface Product {
  readonly dtype: WeightDtype;
  /** At least as many rows as columns: what comes out is cut and goes in again. */
  readonly rows: number;
  readonly columns: number;
  readonly tokens: number;
}

export interface Patience {
  /** Of weights, more than caches hold. */
  readonly weightBytes: number;
  /** Of one step. */
  readonly stepMs: number;
  /** Of all steps. */
  readonly ms: number;
  /** Steps under way at once: one is recorded while another runs. */
  readonly together: number;
}

const mostProducts = 512;
const pageTokens = 64;

export async function measureProduct(backend: Backend, product: Product, patience: Patience): Promise<OpFigure> {
  const { dtype, rows, columns, tokens } = product;
  const matrixBytes = backend.weightBytes([rows, columns], dtype);
  const count = Math.max(1, Math.floor(patience.weightBytes / matrixBytes));
  const weights: (Weight & Disposable)[] = [];
  try {
    for (let i = 0; i < count; i++) weights.push(await backend.openWeight(randomSource(`w${i}`, product), dtype));
    const once = await msOf(backend, weights, product, count, { ...patience, ms: 0 });
    // So many that what a step costs beside them hardly counts.
    const times = Math.min(Math.ceil(patience.stepMs / once), Math.floor(mostProducts / count));
    const ms = times > 1 ? await msOf(backend, weights, product, count * times, patience) : once;
    const done = count * Math.max(1, times);
    const what = `${dtype}, [${rows}, ${columns}] with ${tokens === 1 ? "one token" : `${tokens} tokens`}`;
    if (tokens === 1) return { what, perSecond: (done * matrixBytes) / ms / 1e6, unit: "GB/s" };
    return { what, perSecond: (done * 2 * rows * columns * tokens) / ms / 1e6, unit: "GFLOP/s" };
  } finally {
    for (const weight of weights) weight[Symbol.dispose]();
  }
}

/** @returns milliseconds of a step with so many products, each of which waits for the one before it */
async function msOf(
  backend: Backend,
  weights: readonly Weight[],
  { columns, tokens }: Product,
  products: number,
  { ms, together }: Patience,
): Promise<number> {
  const states = await backend.createStates({ layers: [], pageTokens, kvDtype: backend.device.kvDtypes[0] });
  await states.reserve(1, 0);
  const table = await backend.openWeight(sourceOf("x", [16, columns], normals(randomFrom(3), 16 * columns, 1)), "f32");
  const list = record({ L: tokens, nSequences: 1, nRows: 1 }, states.spec, (ops) => {
    let x = ops.embed(table);
    for (let i = 0; i < products; i++) {
      const [y] = ops.matmul(x, [weights[i % weights.length]]);
      x = ops.slice(y, 0, columns);
    }
    ops.read("y", ops.gatherRows(x));
  });
  const program = await backend.prepare(list, states);
  const ids = Int32Array.from({ length: tokens }, (_, i) => i % 16);
  const inputs = { ids, starts: Int32Array.of(0, tokens), rows: Int32Array.of(tokens - 1), states: [{ slot: 0, pages: [], seen: 0 }] };
  const run = async () => {
    const start = performance.now();
    await Promise.all(Array.from({ length: together }, () => backend.submit(program, inputs).done));
    return (performance.now() - start) / together;
  };
  await run(); // what comes once only
  const times = [await run()];
  for (let left = ms - together * times[0]; left > 0; left -= together * times.at(-1)!) times.push(await run());
  program[Symbol.dispose]();
  states.dispose();
  table[Symbol.dispose]();
  return quantile(times, 0.25);
}

const storedAs = { f32: "f32", bf16: "bf16", f16: "f16", q8: "q8_0", q4: "q4_0", q4_1: "q4_1", q4_k: "q4_k" } as const satisfies Record<
  WeightDtype,
  StoredDtype
>;
const distinctRows = 32;

/** Rows that come again, of numbers that keep the size of what they multiply, more or less. */
function randomSource(name: string, { dtype, rows, columns }: Product) {
  const bytes = randomRows(dtype, columns);
  const rowBytes = bytes.length / distinctRows;
  const read = async (from: number, to: number) => {
    const some = new Uint8Array((to - from) * rowBytes);
    for (let row = from; row < to; row++) {
      const at = (row % distinctRows) * rowBytes;
      some.set(bytes.subarray(at, at + rowBytes), (row - from) * rowBytes);
    }
    return some;
  };
  return { name, dtype: storedAs[dtype], shape: [rows, columns], read };
}

function randomRows(dtype: WeightDtype, columns: number): Uint8Array {
  const random = randomFrom(5);
  if (dtype === "f32" || dtype === "bf16" || dtype === "f16") {
    const values = normals(random, distinctRows * columns, columns ** -0.5);
    return new Uint8Array(dtype === "f32" ? values.buffer : Uint16Array.from(values, dtype === "bf16" ? toBf16 : toF16).buffer);
  }
  const { values, bytes } = blockFormats[storedAs[dtype] as keyof typeof blockFormats];
  const all = new Uint8Array(Math.ceil(((distinctRows * columns) / values) * bytes)).map(() => 256 * random());
  const view = new DataView(all.buffer);
  // Of whole numbers up to 8, or 127; q4_k multiplies by scales up to 63.
  const scale = columns ** -0.5 / { q8: 73, q4: 4.6, q4_1: 4.6, q4_k: 150 }[dtype];
  for (let at = 0; at < all.length; at += bytes) {
    view.setUint16(at, toF16(scale), true);
    if (dtype === "q4_1" || dtype === "q4_k") view.setUint16(at + 2, toF16(dtype === "q4_k" ? 7.5 * scale : -7.5 * scale), true);
  }
  return all;
}
