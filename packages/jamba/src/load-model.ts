// From a source to a loaded model: checkpoint, config, backend, weights, tokenizer.

import { type Backend, JambaError, LoadError, type WeightDtype } from "@jamba/core";
import { type CheckpointSource, openCheckpoint } from "@jamba/loader";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { parseConfig, parseGenerationConfig } from "./config.ts";
import { JambaModel } from "./jamba-model.ts";
import { type BackendName, openBackend } from "./open-backend.ts";
import { expectKnown } from "./options.ts";
import { Runner } from "./runner.ts";
import { loadWeights } from "./weights.ts";

export interface LoadProgress {
  readonly phase: "load";
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly file: string;
}

export interface LoadOptions {
  /** "auto" (default): the fastest that works here; `model.device` says which that is. */
  backend?: BackendName | Backend;
  /** "auto" (default): as stored. */
  dtype?: "auto" | WeightDtype;
  /** Tokens that a conversation may hold; by default and at most what the model was made for. */
  contextLength?: number;
  threads?: number;
  /** Nothing is fetched in any case: models are read from where `source` says. */
  offline?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

/** A directory, a .safetensors file, an http(s) folder, files of a browser, or "tiny". */
export type ModelSource = CheckpointSource;

const known = ["backend", "dtype", "contextLength", "threads", "offline", "signal", "onProgress"];
const absent = ["revision", "cacheDir", "token"];
const knownDtypes = ["auto", "f32", "bf16", "f16", "q8", "q4"];

/**
 * @throws LoadError for a checkpoint that is missing, damaged or not a Jamba; BackendError and DtypeError when the
 * device can't do what was asked; JambaError OPTION or UNSUPPORTED for options; the signal's reason when aborted
 */
export async function loadModel(source: ModelSource, options: LoadOptions = {}): Promise<JambaModel> {
  checkLoadOptions(options);
  const { signal } = options;
  const checkpoint = await openCheckpoint(source === "tiny" ? await tinyModel() : source, { signal });
  const closers: (() => unknown)[] = [];
  try {
    const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
    const generation = parseGenerationConfig(checkpoint.generationConfig, `${checkpoint.name}: generation_config.json`);
    const contextLength = options.contextLength ?? config.contextLength;
    if (contextLength > config.contextLength) {
      throw new JambaError("OPTION", `contextLength: expected at most the model's ${config.contextLength}, found ${contextLength}`);
    }
    const tokenizer = checkpoint.tokenizer === undefined ? undefined : loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig);
    const backend = await open(options, closers);
    const dtypes = new Set<WeightDtype>();
    const weights = await loadWeights(checkpoint, config, backend, {
      dtype: options.dtype ?? "auto",
      signal,
      keep: (weight) => {
        dtypes.add(weight.dtype);
        closers.push(() => weight[Symbol.dispose]());
      },
      onTensor: reportTo(options.onProgress, checkpoint.tensors.values()),
    });
    const runner = new Runner(backend, config, weights, contextLength);
    closers.push(() => runner.dispose());
    return new JambaModel({
      runner,
      tokenizer,
      dtypes: [...dtypes],
      stopIds: new Set([...config.eosIds, ...generation.eosIds, ...turnEnds(tokenizer)]),
      defaults: generation.sampling,
      release: () => closeAll(closers),
    });
  } catch (error) {
    await closeAll(closers);
    throw error;
  } finally {
    await checkpoint.close();
  }
}

function checkLoadOptions(options: LoadOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (absent.includes(name)) {
      throw new JambaError(
        "UNSUPPORTED",
        `${name}: this version of jamba does not download; pass a directory, file or URL and leave the option out`,
      );
    }
    expectKnown(name, known);
  }
  const { dtype = "auto", contextLength = 1, threads = 1 } = options;
  if ((dtype as string) === "experts-int8")
    throw new JambaError("UNSUPPORTED", "dtype: this version of jamba can't quantise experts to int8; use auto, f32 or bf16");
  if (!knownDtypes.includes(dtype))
    throw new JambaError("OPTION", `dtype: expected one of ${knownDtypes.join(", ")}, found ${JSON.stringify(dtype)}`);
  for (const [name, count] of Object.entries({ contextLength, threads })) {
    if (!Number.isSafeInteger(count) || count < 1) throw new JambaError("OPTION", `${name}: expected a positive integer, found ${count}`);
  }
}

async function open({ backend = "auto", threads }: LoadOptions, closers: (() => unknown)[]): Promise<Backend> {
  const opened = typeof backend === "string" ? await openBackend(backend) : backend;
  if (typeof backend === "string") closers.push(() => opened.dispose());
  if (threads !== undefined && threads !== opened.device.threads) {
    throw new JambaError("OPTION", `threads: expected ${opened.device.threads} on the ${opened.device.kind} backend, found ${threads}`);
  }
  return opened;
}

/** Last opened, first closed. */
async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (let close = closers.pop(); close; close = closers.pop()) await close();
}

function reportTo(onProgress: LoadOptions["onProgress"], tensors: Iterable<{ sizeBytes: number }>) {
  let totalBytes = 0;
  for (const { sizeBytes } of tensors) totalBytes += sizeBytes;
  let doneBytes = 0;
  return (_name: string, sizeBytes: number, file: string) => {
    doneBytes += sizeBytes;
    onProgress?.({ phase: "load", doneBytes, totalBytes, file });
  };
}

/** End-of-turn tokens, which some checkpoints leave out of their configs: Jamba 1.5's and ChatML's. */
function turnEnds(tokenizer: Tokenizer | undefined): number[] {
  return ["<|eom|>", "<|im_end|>"].flatMap((token) => tokenizer?.idOf(token) ?? []);
}

/** Directory of the package @jamba/tiny-model. */
async function tinyModel(): Promise<string> {
  const name = "@jamba/tiny-model";
  const reasons: unknown[] = [];
  const [{ createRequire }, { dirname, join }] = await Promise.all([import("node:module"), import("node:path")]);
  // Beside this package, or else beside the program that uses it.
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return dirname(createRequire(from).resolve(`${name}/package.json`));
    } catch (reason) {
      reasons.push(reason);
    }
  }
  throw new LoadError(`tiny: expected the package ${name}, found none; run: npm install ${name}`, { cause: reasons[0] });
}
