// Writes a checkpoint as one GGUF file that llama.cpp reads too, with its matrices in fewer bits.

import {
  type BlockDtype,
  blockFormats,
  DtypeError,
  decodeStored,
  isBlockDtype,
  JambaError,
  matrixOf,
  ShapeError,
  type StoredDtype,
  storedBytes,
  type WeightSource,
} from "@jamba/core";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { encodeBlocks, encodeFloats, expectHoldable } from "./gguf/encode-blocks.ts";
import { describeGguf } from "./gguf/metadata.ts";
import { ggufNameOf } from "./gguf/names.ts";
import { placeGguf } from "./gguf/write.ts";
import { type JambaConfig, parseConfig } from "./model/config.ts";
import { type ModelTensor, modelSources, modelTensors } from "./model/tensors.ts";
import type { CheckpointSource } from "./open-folder.ts";
import { asLoadError } from "./source/byte-source.ts";
import { wholeFile } from "./source/whole-file.ts";

/**
 * How matrices are written; norms, biases, convolution, A, D and the router are f32 always.
 *
 * q8            all as q8_0
 * q4            q4_0, and as q8_0 what is small and sensitive (role "fine")
 * q4_k_m        llama.cpp's mix: q4_k; q6_k for vProj and downProj of the first and last eighth of layers and of every third between,
 *               and, other than there, for all that is fine
 * experts-int8  experts as q8_0, all else as it is stored
 */
export type QuantizeDtype = "f32" | "f16" | "bf16" | "q8" | "q4" | "q4_k_m" | "experts-int8";

/** For each dtype, llama.cpp's number for files of that kind. */
const fileTypes: Readonly<Record<QuantizeDtype, number>> = {
  f32: 0,
  f16: 1,
  q4: 2,
  q8: 7,
  "experts-int8": 7,
  q4_k_m: 15,
  bf16: 32,
};

export const quantizeDtypes = Object.keys(fileTypes) as readonly QuantizeDtype[];

export type Importance = ReadonlyMap<string, Float32Array>;

export interface QuantizeOptions {
  readonly dtype: QuantizeDtype;
  /**
   * Mean squares of what weights are multiplied with, by the names of `modelTensors`: one number for each column, or for each column
   * of each expert. Errors there count accordingly; without it all count alike. A function is called when all else was checked.
   */
  readonly importance?: Importance | (() => Promise<Importance>);
  /** Takes the place of `encodeBlocks`, which works on the calling thread: two calls are under way at a time. */
  readonly encode?: (values: Float32Array, columns: number, dtype: BlockDtype, importance?: Float32Array) => Promise<Uint8Array>;
  /** Replace a file that is there. */
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  /** Bytes of the file that is written. */
  readonly onProgress?: (progress: {
    readonly phase: "quantise";
    readonly doneBytes: number;
    readonly totalBytes: number;
    readonly file: string;
  }) => void;
}

export interface QuantizedTensor {
  /** In the file. */
  readonly name: string;
  /** As it was stored. */
  readonly from: StoredDtype;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
  /** Why it has this dtype. */
  readonly reason: string;
}

export interface Quantized {
  readonly file: string;
  readonly dtype: QuantizeDtype;
  readonly sizeBytes: number;
  readonly tensors: readonly QuantizedTensor[];
  /** What is lost, or keeps other engines from reading the file. */
  readonly warnings: readonly string[];
}

/** Values that are encoded at once: memory is a few times this, whatever the model's size. */
const pieceValues = 2 ** 18;
const inFlight = 2;

interface Planned {
  readonly tensor: ModelTensor;
  readonly source: WeightSource;
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly reason: string;
  readonly shape: readonly number[];
}

/**
 * Writes the weights, the config and the tokenizer of `source` to the file `out`, which appears whole or not at all: until then all is
 * in `<out>.partial-…` beside it. A killed process leaves that behind, and the next run on the same machine removes it and starts anew.
 * Tensors that have the wanted format already are copied as they are.
 *
 * @throws LoadError for a checkpoint that is damaged, a file that can't be written or a disk that is too full; JambaError OPTION for
 * options and for an `out` that is there or is the source itself; DtypeError for values that the format can't hold; the signal's reason
 */
export async function quantize(source: Checkpoint | CheckpointSource, out: string, options: QuantizeOptions): Promise<Quantized> {
  const { dtype, signal } = options;
  if (!quantizeDtypes.includes(dtype))
    throw new JambaError("OPTION", `dtype: expected one of ${quantizeDtypes.join(", ")}, found ${JSON.stringify(dtype)}`);
  if (!/\.gguf$/i.test(out))
    throw new JambaError("OPTION", `${out}: expected a file name that ends in .gguf, by which models of this format are known`);
  const checkpoint = isCheckpoint(source) ? source : await openCheckpoint(source, { signal });
  try {
    const warnings = [...(checkpoint.warnings ?? [])];
    const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`, (warning) => warnings.push(warning));
    const planned = plan(checkpoint, config, dtype);
    const { metadata, warnings: lost } = describeGguf(checkpoint, config, fileTypes[dtype]);
    warnings.push(...lost);
    const again = planned.filter(({ source, dtype }) => isBlockDtype(source.dtype) && source.dtype !== dtype).length;
    const { header, offsets, sizeBytes } = placeGguf(metadata, planned);
    const sources = [...new Set([...checkpoint.tensors.values()].map(({ file }) => file))].flatMap(
      (file) => checkpoint.pathOf?.(file) ?? [],
    );
    await wholeFile(out, { sizeBytes, sources, overwrite: options.overwrite, signal }, async (write) => {
      let doneBytes = 0;
      const put = async (bytes: Uint8Array) => {
        signal?.throwIfAborted();
        await write(bytes);
        doneBytes += bytes.length;
        options.onProgress?.({ phase: "quantise", doneBytes, totalBytes: sizeBytes, file: out });
      };
      const { importance: given } = options;
      const importance = typeof given === "function" ? await given() : given;
      if (importance) checkImportance(importance, planned);
      await put(header);
      for (const [i, tensor] of planned.entries()) {
        await writeTensor(tensor, importance?.get(tensor.tensor.name), options, put);
        await put(new Uint8Array((offsets[i + 1] ?? sizeBytes) - doneBytes));
      }
      await checkpoint.expectUnchanged?.();
    });
    const lossy = `${again === 1 ? "1 tensor was" : `${again} tensors were`} quantised before, and ${again === 1 ? "loses" : "lose"} again; the bf16 release of the model is better`;
    return {
      file: out,
      dtype,
      sizeBytes,
      tensors: planned.map(({ name, source, dtype, shape, reason }) => {
        const sizeBytes = storedBytes(
          dtype,
          shape.reduce((a, b) => a * b, 1),
        );
        return { name, from: source.dtype, dtype, shape, sizeBytes, reason };
      }),
      warnings: again > 0 ? [...warnings, lossy] : warnings,
    };
  } catch (cause) {
    signal?.throwIfAborted();
    throw asLoadError(out, cause);
  } finally {
    if (checkpoint !== source) await checkpoint.close();
  }
}

/** Every tensor of the file, in its order; nothing is read yet. */
function plan(checkpoint: Checkpoint, config: JambaConfig, asked: QuantizeDtype): Planned[] {
  const sources = modelSources(checkpoint, config);
  return modelTensors(config).map((tensor) => {
    const source = sources.get(tensor.name)!;
    const [wanted, why] = dtypeOf(tensor, source, asked, config);
    const { columns } = matrixOf(tensor.shape);
    const dtype = fitting(wanted, columns);
    const reason = dtype === wanted ? why : `${why}, but ${unfit(columns, wanted)}`;
    return { tensor, source, name: ggufNameOf(tensor.name)!, dtype, reason, shape: tensor.shape };
  });
}

function checkImportance(importance: Importance, planned: readonly Planned[]): void {
  for (const [name, { length }] of importance) {
    const shape = planned.find(({ tensor }) => tensor.name === name)?.shape;
    if (!shape) throw new JambaError("OPTION", `importance: expected names of the model's weights, found ${JSON.stringify(name)}`);
    const { columns } = matrixOf(shape);
    const experts = shape.length === 3 ? shape[0] : 1;
    if (length !== columns && length !== columns * experts)
      throw new ShapeError(
        `importance of ${name}: expected a number for each of ${columns} columns, or of ${experts} times those, found ${length}`,
      );
  }
}

type Reasoned = readonly [dtype: StoredDtype, reason: string];

function dtypeOf({ name, shape, role }: ModelTensor, source: WeightSource, asked: QuantizeDtype, config: JambaConfig): Reasoned {
  if (role === "exact") return ["f32", "always f32: few values, and errors there hurt everywhere"];
  if (asked === "experts-int8") {
    if (role !== "experts") return [source.dtype, "as stored: only experts are made smaller"];
    if (shape[2] % blockFormats.q8_0.values !== 0) return [source.dtype, `as stored: ${unfit(shape[2], "q8_0")}`];
    return ["q8_0", "as asked"];
  }
  if (asked === "q8") return ["q8_0", "as asked"];
  const fine = "more bits: few values, and errors there hurt most";
  // q6_k would save a quarter of these bytes, which are few, at three times the error; and is held as q8 here anyway.
  if (asked === "q4") return role === "fine" ? ["q8_0", fine] : ["q4_0", "as asked"];
  if (asked !== "q4_k_m") return [asked, "as asked"];
  if (role === "fine") return ["q6_k", fine];
  if (hasMoreBits(name, config)) return ["q6_k", "more bits: llama.cpp's mix has them in the first, the last and every third layer"];
  return ["q4_k", "as asked"];
}

function unfit(columns: number, dtype: StoredDtype): string {
  const { values } = blockFormats[dtype as BlockDtype];
  return `rows of ${columns} values are no whole blocks of ${values} for ${dtype}`;
}

/** Values are counted along the layers of attention, down projections along all. */
function hasMoreBits(name: string, { layerKinds }: JambaConfig): boolean {
  const layer = Number(/^model\.layers\.(\d+)\./.exec(name)?.[1]);
  const [i, n] = name.includes(".v_proj.")
    ? [layerKinds.slice(0, layer).filter((kind) => kind === "attention").length, layerKinds.filter((kind) => kind === "attention").length]
    : [layer, layerKinds.length];
  if (!/\.(v|down)_proj\b/.test(name)) return false;
  const eighth = Math.floor(n / 8);
  return i < eighth || i >= Math.floor((7 * n) / 8) || (i - eighth) % 3 === 2;
}

/** What llama.cpp falls back to for rows that are no whole number of blocks. */
function fitting(dtype: StoredDtype, columns: number): StoredDtype {
  if (!isBlockDtype(dtype) || columns % blockFormats[dtype].values === 0) return dtype;
  if (dtype === "q4_k") return fitting("q5_0", columns);
  return dtype === "q6_k" ? fitting("q8_0", columns) : "f16";
}

/** Reads, encodes and writes in pieces of whole rows of one expert, the next ones under way while one is written. */
async function writeTensor(
  planned: Planned,
  importance: Float32Array | undefined,
  options: QuantizeOptions,
  put: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const { shape } = planned;
  const { rows, columns } = matrixOf(shape);
  const each = shape.length === 3 ? shape[1] : rows;
  const step = Math.max(1, Math.floor(pieceValues / columns));
  const encoding: Promise<Uint8Array>[] = [];
  try {
    for (let first = 0; first < rows; first += each) {
      for (let from = first; from < first + each; from += step) {
        const expert = importance && importance.length > columns ? first / each : 0;
        const weights = importance?.subarray(expert * columns, (expert + 1) * columns);
        const piece = encodeRows(planned, from, Math.min(first + each, from + step), weights, options);
        piece.catch(() => undefined); // seen where it is awaited
        encoding.push(piece);
        if (encoding.length >= inFlight) await put(await encoding.shift()!);
      }
    }
    for (let piece = encoding.shift(); piece; piece = encoding.shift()) await put(await piece);
  } finally {
    await Promise.allSettled(encoding);
  }
}

async function encodeRows(
  { tensor: { name }, source, dtype, shape }: Planned,
  from: number,
  to: number,
  importance: Float32Array | undefined,
  { signal, encode = encodeHere }: QuantizeOptions,
): Promise<Uint8Array> {
  const bytes = await source.read(from, to, signal);
  if (source.dtype === dtype) return bytes;
  const values = decodeStored(bytes, source.dtype);
  try {
    if (!isBlockDtype(dtype)) return encodeFloats(values, dtype);
    expectHoldable(values, dtype);
  } catch (cause) {
    throw new DtypeError(`${name}, rows ${from} … ${to - 1}: ${(cause as Error).message}`, { cause });
  }
  const encoded = await encode(values, matrixOf(shape).columns, dtype, importance);
  const expected = storedBytes(dtype, values.length);
  if (encoded.length !== expected)
    throw new ShapeError(`${name}: expected ${expected} bytes of ${dtype} from the encoder, found ${encoded.length}`);
  return encoded;
}

const encodeHere: NonNullable<QuantizeOptions["encode"]> = async (...args) => encodeBlocks(...args);

function isCheckpoint(source: Checkpoint | CheckpointSource): source is Checkpoint {
  return typeof source === "object" && "tensors" in source;
}
