// A page that measures one side: our kernels or onnxruntime-web's, a whole model of ours or wllama's. It asks its server which.

import { openWebGpuBackend } from "@jamba/backend-webgpu";
import { loadModel } from "jamba";
import { measureModel } from "../wasm/model.ts";
import { failed } from "../wasm/run.ts";
import type { ModelJob, Told } from "../wasm/sides.ts";
import { measureWllama, type WllamaJob } from "../wasm/wllama.ts";
import { matmulChain } from "./onnx.ts";
import { measureProduct, type Patience } from "./products.ts";

export type PeerJob =
  | { readonly what: "our products"; readonly side: number; readonly products: number; readonly tokens: readonly number[] }
  | {
      readonly what: "their products";
      readonly ort: string;
      readonly side: number;
      readonly products: number;
      readonly tokens: readonly number[];
    }
  | ({ readonly what: "our model" } & ModelJob)
  | ({ readonly what: "their model" } & WllamaJob);

const rounds = 5;

/** The part of onnxruntime-web that is used. */
interface Ort {
  readonly env: { wasm: { wasmPaths: string; numThreads: number } };
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => object;
}

interface OrtSession {
  run(feeds: Record<string, object>): Promise<Record<string, { data: Float32Array; getData(): Promise<Float32Array> }>>;
  release(): Promise<void>;
}

async function ours({ side, products, tokens }: PeerJob & { what: "our products" }): Promise<Told> {
  const backend = await openWebGpuBackend();
  const device = `${backend.device.name}, ${backend.device.features.join("; ")}`;
  const patience: Patience = { weightBytes: products * backend.weightBytes([side, side], "q4"), stepMs: 0, ms: 0, together: 1 };
  const values: number[] = [];
  for (const n of tokens) {
    let best = 0;
    for (let round = 0; round < rounds; round++) {
      const { perSecond, unit } = await measureProduct(backend, { dtype: "q4", rows: side, columns: side, tokens: n }, patience);
      const bytes = backend.weightBytes([side, side], "q4");
      // Both sides in operations, whatever their bytes are.
      best = Math.max(best, unit === "GB/s" ? (perSecond / bytes) * 2 * side * side : perSecond);
    }
    values.push(best);
    await fetch("/on-its-way");
  }
  await backend.dispose();
  return { device, values };
}

async function theirs({ ort: from, side, products, tokens }: PeerJob & { what: "their products" }): Promise<Told> {
  const ort = (await import(`${from}/ort.webgpu.bundle.min.mjs`)) as Ort;
  Object.assign(ort.env.wasm, { wasmPaths: `${location.origin}${from}/`, numThreads: 1 });
  const values: number[] = [];
  for (const n of tokens) {
    let best = 0;
    for (const accuracyLevel of [0, 4] as const) {
      const model = matmulChain({ side, products, tokens: n, accuracyLevel });
      const session = await ort.InferenceSession.create(model, { executionProviders: ["webgpu"] });
      const x = new ort.Tensor(
        "float32",
        new Float32Array(n * side).map((_, i) => Math.sin(i)),
        [n, side],
      );
      for (let round = 0; round <= rounds; round++) {
        const start = performance.now();
        const { y } = await session.run({ x });
        await y.getData();
        const ms = performance.now() - start;
        if (round > 0) best = Math.max(best, (2 * side * side * n * products) / ms / 1e6);
      }
      await session.release();
      await fetch("/on-its-way");
    }
    values.push(best);
  }
  return { device: "onnxruntime-web", values };
}

async function ourModel(job: PeerJob & { what: "our model" }): Promise<Told> {
  const backend = await openWebGpuBackend();
  const device = `${backend.device.name}, ${backend.device.features.join("; ")}`;
  const source = new URL(job.model, location.origin).href;
  const model = await loadModel(source, { backend, contextLength: 2048, formats: "when-used" });
  await fetch("/on-its-way");
  const measured = await measureModel(model, backend, job);
  await model.dispose();
  await backend.dispose();
  return { device, ...measured };
}

const measure = (job: PeerJob): Promise<Told> => {
  if (job.what === "our products") return ours(job);
  if (job.what === "their products") return theirs(job);
  return job.what === "our model" ? ourModel(job) : measureWllama(job);
};

const told = await measure(await (await fetch("/job")).json()).catch(failed);
await fetch("/told", { method: "POST", body: JSON.stringify(told) });
