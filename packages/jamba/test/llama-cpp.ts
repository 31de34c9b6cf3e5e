// llama.cpp in a process of its own, and models that it can be asked about.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { seeded } from "@jamba/conformance";
import { sourceOf } from "@jamba/core";
import { type Checkpoint, modelTensors, parseConfig } from "@jamba/loader";

export interface Job {
  readonly file: string;
  readonly ids: readonly number[];
  readonly steps: number;
  readonly texts: readonly string[];
}

export interface Answer {
  /** [ids, vocabSize] */
  readonly logits: number[][];
  readonly greedy: number[];
  readonly tokens: number[][];
  /** Ids below 20 that end a text. */
  readonly ends: number[];
  /** What it said of the file while it was loaded. */
  readonly warnings: string[];
}

/** What llama.cpp answers, as far as it came before it ended. */
export async function askLlama(jobs: readonly Job[]): Promise<{ answers: Answer[]; release?: string; trouble: string }> {
  const worker = spawn(process.execPath, [fileURLToPath(new URL("llama-cpp-worker.mjs", import.meta.url))]);
  const [out, err]: string[][] = [[], []];
  worker.stdout.setEncoding("utf8").on("data", (piece) => out.push(piece));
  worker.stderr.setEncoding("utf8").on("data", (piece) => err.push(piece));
  worker.stdin.on("error", () => undefined).end(JSON.stringify({ jobs }));
  const code = await new Promise((resolve) => worker.on("close", (code, signal) => resolve(code ?? signal)));
  const [first, ...answers] = out
    .join("")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const why =
    err
      .join("")
      .trim()
      .split("\n")
      .find((line) => /error|assert/i.test(line)) ?? err.join("").slice(0, 300);
  return { answers, release: first?.release, trouble: code === 0 ? "" : `it ended with ${code}: ${why}` };
}

/** A token for every id of a golden, which has none: node-llama-cpp loads no model without a line feed and a few letters. */
export const vocabularyOf = (size: number) =>
  new Map<string, string | number | string[] | Float32Array | Int32Array>([
    ["tokenizer.ggml.model", "llama"],
    ["tokenizer.ggml.tokens", Array.from({ length: size }, (_, id) => "\n▁<>_abcdefghijklmnopqrstuvwxyz"[id - 3] ?? `<${id}>`)],
    ["tokenizer.ggml.scores", Float32Array.from({ length: size }, (_, id) => -id)],
    ["tokenizer.ggml.token_type", Int32Array.from({ length: size }, (_, id) => (id === 0 ? 2 : id < 3 ? 3 : 1))],
    ["tokenizer.ggml.bos_token_id", 1],
    ["tokenizer.ggml.eos_token_id", 2],
    ["tokenizer.ggml.unknown_token_id", 0],
  ]);

/** Random weights whose rows are whole superblocks, as those of published models are and those of the goldens are not. */
export function wideModel(): Checkpoint {
  const config = {
    ...{ model_type: "jamba", vocab_size: 64, hidden_size: 256, intermediate_size: 256, num_hidden_layers: 3, num_experts: 2 },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, attn_layer_period: 3, attn_layer_offset: 1, tie_word_embeddings: true },
  };
  const tensors = modelTensors(parseConfig(config));
  return {
    name: "wide",
    config,
    tensors: new Map(
      tensors.map(({ name, shape }) => [name, { name, dtype: "F32", shape, file: "made", offset: 0, sizeBytes: 4 * product(shape) }]),
    ),
    weight(name) {
      const i = tensors.findIndex((tensor) => tensor.name === name);
      const { shape } = tensors[i];
      const random = seeded(i + 1);
      const scale = /layernorm|\.D$/.test(name) ? 0.2 : 0.08;
      const shift = /layernorm|\.D$/.test(name) ? 1 : /\.A$/.test(name) ? -2 : 0;
      return sourceOf(
        name,
        shape,
        Float32Array.from({ length: product(shape) }, () => shift + scale * (2 * random() - 1)),
      );
    },
    read: async (_, __, [from, to] = [0, 0]) => new Uint8Array(to - from),
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
