// Opens the committed goldens: checkpoints with what the public reference implementation computed from them.

import { fileURLToPath } from "node:url";
import { type CpuLevel, openCpuBackend, openWasmBackend } from "@jamba/backend-cpu";
import { type Backend, decodeFloats, openReference, type Step } from "@jamba/core";
import { type Checkpoint, type JambaConfig, openCheckpoint, parseConfig, type TensorFile } from "@jamba/loader";
import type { Advance, Sequence } from "../src/engine/advance.ts";
import { Runner } from "../src/engine/runner.ts";
import type { LoadDtype } from "../src/index.ts";
import { listDevices } from "../src/load/open-backend.ts";
import { checkpointOpener, loadWeights } from "../src/load/open-weights.ts";
import type { ForwardReads } from "../src/model/forward.ts";

export const goldenCases = ["base", "odd", "dense-tied", "long", "bf16-loud", "one-token"] as const;
export type GoldenCase = (typeof goldenCases)[number];

export function goldenFolder(name: GoldenCase): string {
  return fileURLToPath(new URL(`../../../tooling/golden/fixtures/${name}`, import.meta.url));
}

export interface Golden {
  readonly ids: number[];
  readonly greedy: number[];
  /** Positions that `logits`, `hidden.*` and `route.*` have rows for. */
  readonly rows: number[];
  has(name: string): boolean;
  floats(name: string): Float32Array;
  integers(name: string): number[];
}

export async function openGolden(name: GoldenCase): Promise<Golden> {
  const file = await openCheckpoint(`${goldenFolder(name)}/golden.safetensors`);
  const values = new Map<string, Uint8Array>();
  for (const tensor of file.tensors.keys()) values.set(tensor, await file.read(tensor));
  await file.close();
  const integers = (tensor: string) => Array.from(new BigInt64Array(values.get(tensor)!.slice().buffer), Number);
  const ids = integers("ids");
  return {
    ids,
    greedy: integers("greedy"),
    rows: values.has("logit_rows") ? integers("logit_rows") : [...ids.keys()],
    has: (tensor) => values.has(tensor),
    floats: (tensor) => decodeFloats(values.get(tensor)!, "f32"),
    integers,
  };
}

export const openCpu = (): Promise<Backend> => openCpuBackend();

/** The module that every engine runs, in threads as many as a test may take. */
export const openWasm = (): Promise<Backend> => openWasmBackend({ level: "simd128", threads: 2 });

/** Why the cpu backend can't be tested here, if it can't. */
export const cpuAbsent: string | undefined = (await listDevices()).find(({ backend }) => backend === "cpu")!.reason;

/** What the tests of this folder run on. */
export const backends = [
  { name: "reference", absent: undefined, open: async () => openReference() },
  { name: "cpu", absent: cpuAbsent, open: openCpu },
] as const;

const levels: readonly CpuLevel[] = ["avx512bf16", "avx512", "avx2", "i8mm", "neon", "portable"];

/** Instruction sets of the cpu backend that this machine runs, best first; none where it is absent. */
export const cpuLevels: readonly CpuLevel[] = (
  await Promise.all(
    levels.map((level) =>
      openCpuBackend({ level }).then(
        (backend) => backend.dispose().then(() => [level]),
        () => [],
      ),
    ),
  )
).flat();

export interface Change {
  readonly backend?: Backend;
  readonly dtype?: LoadDtype;
  readonly config?: (config: JambaConfig) => JambaConfig;
  readonly file?: (file: Checkpoint) => TensorFile;
}

/** The model of a golden, perhaps with something changed: that is how mutation tests plant their faults. */
export async function openRunner(
  name: GoldenCase,
  { backend = openReference(), dtype = "auto", config = (c) => c, file = (f) => f }: Change = {},
): Promise<Runner> {
  const checkpoint = await openCheckpoint(goldenFolder(name));
  try {
    const parsed = config(parseConfig(checkpoint.config));
    const weights = await loadWeights(parsed, checkpointOpener(file(checkpoint), parsed, backend, dtype));
    return await Runner.open(backend, parsed, weights, { contextLength: parsed.contextLength, kvDtype: "f32" });
  } finally {
    await checkpoint.close();
  }
}

/** One step of all of `parts`, which there must be room for. */
export async function advance(runner: Runner, parts: readonly Advance[], reads: ForwardReads = { logits: "read" }): Promise<Step> {
  const { step, refused } = await runner.step(parts, { reads });
  for (const { error } of refused) throw error;
  return step!;
}

/** What a run of the prompt gave, rows of all steps joined. */
export interface Run {
  readonly values: Map<string, Float32Array>;
  readonly sequence: Sequence;
}

/** Reads `ids` in steps of the given sizes. */
export async function runChunks(runner: Runner, ids: readonly number[], chunks: readonly number[]): Promise<Run> {
  const sequence = await runner.newSequence();
  const reads = { logits: "read", hidden: "all", routes: true } as const;
  const { nLayers, ffnKinds } = runner.config;
  const names = [
    "logits",
    ...Array.from({ length: nLayers + 1 }, (_, i) => `hidden.${i}`),
    ...ffnKinds.flatMap((kind, i) => (kind === "moe" ? [`experts.${i}`, `routeWeights.${i}`] : [])),
  ];
  const steps: Step[] = [];
  let from = 0;
  for (const size of chunks) {
    steps.push(await advance(runner, [{ sequence, ids: ids.slice(from, from + size), rows: size }], reads));
    from += size;
  }
  const values = new Map<string, Float32Array>();
  for (const name of names) {
    const rows = await Promise.all(steps.map((step) => step.read(name)));
    values.set(name, Float32Array.from(rows.flatMap(({ data }) => [...(data as Float32Array)])));
  }
  return { values, sequence };
}

/** Largest difference between a run and the golden, over the golden's rows; NaN counts as infinite. */
export function worst(
  found: Float32Array,
  expected: Float32Array,
  rows: readonly number[] | undefined,
): { error: number; magnitude: number } {
  const columns = rows ? expected.length / rows.length : expected.length;
  let error = 0;
  let magnitude = 0;
  for (const [i, row] of (rows ?? [0]).entries()) {
    for (let j = 0; j < columns; j++) {
      const difference = Math.abs(found[row * columns + j] - expected[i * columns + j]);
      error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
      magnitude = Math.max(magnitude, Math.abs(expected[i * columns + j]));
    }
  }
  return { error, magnitude };
}

/** Largest error of any logit: the figure that goldens and mutants are judged by. */
export async function logitError(runner: Runner, golden: Golden): Promise<number> {
  const { values } = await runChunks(runner, golden.ids, [golden.ids.length]);
  return worst(values.get("logits")!, golden.floats("logits"), golden.rows).error;
}

/** The bound of the goldens' own README: a right f32 implementation stays within it. */
export const logitTolerance = 1e-4;
/** Of hidden states and states, relative to the tensor's largest magnitude. */
export const relativeTolerance = 2e-5;
