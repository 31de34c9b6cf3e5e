// llama.cpp as WebAssembly in a page, measured as ours is.

import { randomFrom } from "../random.ts";
import { median } from "../statistics.ts";
import { firstText, randomText } from "./model.ts";
import type { ModelJob, Told } from "./sides.ts";

/** The part of wllama that is used. */
interface Wllama {
  loadModel(blobs: Blob[], options: object): Promise<void>;
  createCompletion(options: object): Promise<{ timings: Timings }>;
  getNumThreads(): number;
  exit(): Promise<void>;
}

interface Timings {
  readonly prompt_n: number;
  readonly prompt_per_second: number;
  readonly predicted_n: number;
  readonly predicted_per_second: number;
}

export interface WllamaJob extends ModelJob {
  /** Where its files are. */
  readonly peer: string;
  readonly threads: number;
  /** On the GPU; none if not given. */
  readonly gpuLayers?: number;
}

export async function measureWllama({ peer, model, threads, gpuLayers = 0, tokens, said, prompts, seed }: WllamaJob): Promise<Told> {
  const { Wllama } = (await import(`${peer}/index.js`)) as { Wllama: new (files: object, config: object) => Wllama };
  const log: string[] = [];
  const hear = (...parts: unknown[]) => void log.push(parts.join(" "));
  const logger = { debug: hear, log: hear, warn: hear, error: hear };
  const wllama = new Wllama({ default: `${peer}/wasm/wllama.wasm` }, { suppressNativeLog: gpuLayers === 0, logger });
  const blob = await (await fetch(model)).blob();
  await wllama.loadModel([blob], { n_gpu_layers: gpuLayers, n_threads: threads, n_ctx: 2048 });
  if (wllama.getNumThreads() !== threads) throw new Error(`wllama: expected ${threads} threads, found ${wllama.getNumThreads()}`);
  if (gpuLayers > 0) expectGpu(log);
  await fetch("/on-its-way");
  // Bytes that end up as no text would be an error there.
  const logit_bias = Object.fromEntries(Array.from({ length: firstText }, (_, id) => [id, -1000]));
  const random = randomFrom(seed);
  const timings: Timings[] = [];
  for (let i = 0; i <= prompts; i++) {
    const [read, drawn] = i === 0 ? [Math.ceil(tokens / 4), Math.ceil(said / 4)] : [tokens, said];
    const result = await wllama.createCompletion({
      prompt: randomText(random, read),
      max_tokens: drawn,
      temperature: 0,
      top_k: 1,
      ignore_eos: true,
      logit_bias,
    });
    const { prompt_n, predicted_n } = result.timings;
    if (Math.abs(prompt_n - read) > 2 || predicted_n !== drawn)
      throw new Error(`wllama: expected ${read} tokens and ${drawn} new ones, found ${JSON.stringify(result.timings)}`);
    if (i > 0) timings.push(result.timings);
    await fetch("/on-its-way");
  }
  await wllama.exit();
  // As llama.cpp's own clocks have it, which leaves out what lies between it and the page.
  const speeds = {
    prefill: median(timings.map((one) => one.prompt_per_second)),
    decode: median(timings.map((one) => one.predicted_per_second)),
  };
  return { device: "wllama", speeds };
}

/** Without an adapter that it likes it computes on the processor, without a word but in its log. */
function expectGpu(log: readonly string[]): void {
  const buffers = log.filter((line) => line.includes("compute buffer size"));
  if (buffers.some((line) => /webgpu/i.test(line))) return;
  const found = buffers.map((line) => line.trim()).join("; ") || "no word of it";
  throw new Error(`wllama: expected its layers on WebGPU, which it wants shader-f16 for, found: ${found}`);
}
