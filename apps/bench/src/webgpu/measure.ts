// All that is measured of one adapter, in a page or in Node.

import { isSoftware, openWebGpuBackend } from "@jamba/backend-webgpu";
import { cases, findMismatch } from "@jamba/conformance";
import type { Backend, FloatDtype, WeightDtype } from "@jamba/core";
import { measureCopy } from "./copy.ts";
import type { ModelFigure, OpFigure, Report } from "./figures.ts";
import { type Gpu, plain } from "./gpu.ts";
import { type ModelWork, measureWhole } from "./model.ts";
import { measureProduct, type Patience, type Product } from "./products.ts";

export interface MeasureOptions {
  readonly agent: string;
  readonly parts: readonly PartName[];
  /** Hears what is done. */
  readonly log: (line: string) => void;
}

export const parts = ["conformance", "products", "model"] as const;
export type PartName = (typeof parts)[number];

interface Works {
  readonly copyBytes: number;
  readonly patience: Patience;
  readonly shapes: readonly (readonly [rows: number, columns: number])[];
  readonly tokens: readonly number[];
  readonly models: readonly ModelWork[];
}

const full: Works = {
  copyBytes: 2 ** 27,
  patience: { weightBytes: 2 ** 28, stepMs: 30, ms: 400, together: 3 },
  // Square, the wide ones of Jamba Reasoning 3B, its head.
  shapes: [
    [2048, 2048],
    [8192, 2560],
    [65536, 2560],
  ],
  tokens: [1, 64, 512],
  models: [
    { preset: "tiny-dev", format: "q4", tokens: 512, said: 128 },
    { preset: "tiny-dev", format: "q8", tokens: 512, said: 128 },
  ],
};

const small: Works = {
  copyBytes: 2 ** 24,
  patience: { weightBytes: 0, stepMs: 0, ms: 100, together: 1 },
  shapes: [[1024, 1024]],
  tokens: [1, 64],
  models: [{ preset: "nano", format: "q4", tokens: 64, said: 16 }],
};

/** @throws Error where there is no adapter */
export async function measureGpu(gpu: Gpu, { agent, parts, log }: MeasureOptions): Promise<Report> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("WebGPU: expected an adapter, found none");
  const info = plain<string | number | boolean>(adapter.info);
  const isSmall = isSoftware(adapter.info);
  const works = isSmall ? small : full;
  const failures: string[] = [];
  /** What fails is told, and the rest goes on. */
  const attempt = async <T>(what: string, work: () => Promise<T>): Promise<T | undefined> => {
    log(what);
    try {
      return await work();
    } catch (error) {
      failures.push(`${what}: ${(error as Error).message}`);
      return undefined;
    }
  };
  const copyGBPerSecond = (await attempt("copying", () => measureCopy(adapter, works.copyBytes))) ?? Number.NaN;
  const backend = await openWebGpuBackend({ gpu: gpu as never, powerPreference: "high-performance" });
  const { name, numerics, features, weightDtypes } = backend.device;
  const conformance = parts.includes("conformance") ? await conform(backend, log) : { cases: 0, faults: [] };
  const ops: OpFigure[] = [];
  for (const product of parts.includes("products") ? productsOf(works, weightDtypes) : []) {
    const { dtype, rows, columns, tokens } = product;
    const found = await attempt(`${dtype}, [${rows}, ${columns}], tokens: ${tokens}`, () =>
      measureProduct(backend, product, works.patience),
    );
    if (found) ops.push(found);
  }
  const models: ModelFigure[] = [];
  for (const work of parts.includes("model") ? works.models : [])
    models.push(...((await attempt(`${work.preset} ${work.format}`, () => measureWhole(backend, work))) ?? []));
  await backend.dispose();
  return {
    format: "jamba-webgpu-1",
    date: new Date().toISOString(),
    agent,
    adapter: info,
    features: [...adapter.features].sort(),
    languageFeatures: [...(gpu.wgslLanguageFeatures ?? [])].sort(),
    limits: plain<number>(adapter.limits),
    device: { name, numerics, features },
    isSmall,
    copyGBPerSecond,
    conformance,
    ops,
    models,
    failures,
  };
}

const order: readonly WeightDtype[] = ["q4", "q4_k", "q4_1", "q8", "f16", "bf16", "f32"];

function productsOf({ shapes, tokens }: Works, dtypes: readonly WeightDtype[]): Product[] {
  return order
    .filter((dtype) => dtypes.includes(dtype))
    .flatMap((dtype) =>
      shapes.flatMap(([rows, columns]) =>
        // The head is wanted for one row of a prompt.
        tokens.filter((n) => n === 1 || rows < 65536).map((n) => ({ dtype, rows, columns, tokens: n })),
      ),
    );
}

/** Every op and layer beside the reference. */
async function conform(backend: Backend, log: (line: string) => void): Promise<Report["conformance"]> {
  const { weightDtypes, kvDtypes } = backend.device;
  const faults: string[] = [];
  let n = 0;
  const check = async (one: (typeof cases)[number], dtype: WeightDtype, kvDtype: FloatDtype) => {
    n++;
    const what = `${dtype}, keys and values in ${kvDtype}, ${one.name}`;
    try {
      const mismatch = await findMismatch(one, dtype, backend, { kvDtype });
      if (mismatch) faults.push(`${what}: ${JSON.stringify(mismatch)}`);
    } catch (error) {
      faults.push(`${what}: ${(error as Error).message}`);
    }
  };
  for (const dtype of weightDtypes) {
    log(`conformance with ${dtype} weights`);
    for (const one of cases.filter(({ weights }) => dtype === "f32" || weights)) await check(one, dtype, "f32");
  }
  for (const kvDtype of kvDtypes.filter((dtype) => dtype !== "f32")) {
    log(`conformance with keys and values in ${kvDtype}`);
    for (const one of cases.filter(({ layers }) => layers?.some(({ kind }) => kind === "attention"))) await check(one, "f32", kvDtype);
  }
  return { cases: n, faults };
}
