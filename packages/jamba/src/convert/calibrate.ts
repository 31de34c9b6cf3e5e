// What the columns of each weight are multiplied with while a text is read: where errors of quantisation count.

import {
  type Backend,
  type CommandList,
  type CommandOf,
  HostTensor,
  JambaError,
  matrixOf,
  type Program,
  record,
  runOnce,
  type Step,
  type Tensor,
  tensorsOf,
  traced,
  type WeightSource,
} from "@jamba/core";
import { modelSources, parseConfig } from "@jamba/loader";
import { loadModel } from "../load/load-model.ts";
import type { LoadOptions } from "../load/load-options.ts";
import { closeAll, openDevice } from "../load/open-device.ts";
import { fetchSource, type ModelSource } from "../load/source.ts";

export type CalibrateOptions = Omit<LoadOptions, "dtype" | "kvDtype" | "contextLength">;

/** Tokens that are read as one text; each such window begins anew. */
const windowTokens = 512;
/** Tokens of a step: every value of every layer is looked at, which takes memory. */
const chunkTokens = 64;
/** Tokens of each layer of experts whose inputs are kept for `hiddenOf`. */
const keptTokens = 1024;
/** Tokens that the average of all experts counts for in each: an expert that saw few is not known well. */
const priorTokens = 16;

/**
 * Means of squares over the tokens of `text`, by the names of `modelTensors`: what `quantize` takes as `importance`.
 *
 * Of a weight's input, for each column; of experts, for each column of each expert, over the tokens that were routed to it.
 * Weights that are not multiplied with (an embedding that is no head) have none.
 *
 * @throws what `loadModel` throws, JambaError OPTION for a text without tokens
 */
export async function calibrate(source: ModelSource, text: string, options: CalibrateOptions = {}): Promise<Map<string, Float32Array>> {
  const { backend: _, threads: __, ...rest } = options;
  const { signal, onProgress } = rest;
  const closers: (() => unknown)[] = [];
  try {
    const { backend } = await openDevice(options, closers);
    const squares = new Squares();
    const model = await loadModel(source, { ...rest, backend: watched(backend, (command, input) => squares.add(command, input)) });
    closers.push(() => model.dispose());
    const { tokenizer } = model;
    const ids = tokenizer.encode(text);
    if (ids.length === 0) throw new JambaError("OPTION", "calibrate: expected a text, found an empty one");
    const start = tokenizer.addBos ? [tokenizer.bosId!] : [];
    for (let from = 0; from < ids.length; from += windowTokens) {
      const read = await model.forward([...start, ...ids.slice(from, from + windowTokens)], { logits: "all", signal });
      read.state.dispose();
      const done = Math.min(1, (from + windowTokens) / ids.length);
      onProgress?.({ phase: "calibrate", doneBytes: Math.round(done * text.length), totalBytes: text.length, file: "the text" });
    }
    await addHidden(squares, source, backend, rest);
    return squares.means();
  } finally {
    await closeAll(closers);
  }
}

/** `backend`, with `see` called for every command that multiplies, with the inputs of its rows: each list is traced. */
function watched(backend: Backend, see: (command: Multiplies, input: (x: Tensor) => Rows) => void): Backend {
  const traces = new WeakMap<Program, ReturnType<typeof traced> & { readonly given: CommandList }>();
  const prepare: Backend["prepare"] = async (given, states) => {
    const trace = traced(given);
    const program = await backend.prepare(trace.list, states);
    traces.set(program, { ...trace, given });
    return program;
  };
  const submit: Backend["submit"] = (program, inputs, options) => {
    const step = backend.submit(program, inputs, options);
    const done = step.done.then(() => look(step, traces.get(program)!));
    return { done, read: (...of) => step.read(...of) };
  };
  const look = async (
    step: Step,
    { given, written }: { readonly given: CommandList; readonly written: readonly (readonly string[])[] },
  ) => {
    const values = new Map<number, { tensor: Tensor; values: Float32Array | Int32Array }>();
    for (const [i, command] of given.commands.entries()) {
      if (command.op === "matmul" || command.op === "experts") see(command, (x) => rowsOf(x, values.get(x.buffer)!));
      const results = tensorsOf(command).filter(({ writes }) => writes);
      for (const [j, { tensor }] of results.entries())
        values.set(tensor.buffer, { tensor, values: (await step.read(written[i][j])).data as Float32Array });
    }
  };
  const own: Partial<Backend> = { prepare, submit, device: { ...backend.device, chunkTokens } };
  return new Proxy(backend, {
    get(target, key) {
      const found = Reflect.get(Object.hasOwn(own, key) ? own : target, key);
      return typeof found === "function" ? found.bind(target) : found;
    },
  });
}

type Multiplies = CommandOf<"matmul"> | CommandOf<"experts">;

interface Rows {
  readonly columns: number;
  readonly rows: readonly (Float32Array | Int32Array)[];
}

/** The rows of `x`, which may be some columns of what was written. */
function rowsOf(x: Tensor, { tensor, values }: { tensor: Tensor; values: Float32Array | Int32Array }): Rows {
  const [nRows, columns] = x.shape;
  const first = x.offset - tensor.offset;
  return {
    columns,
    rows: Array.from({ length: nRows }, (_, row) =>
      values.subarray(row * tensor.shape[1] + first, row * tensor.shape[1] + first + columns),
    ),
  };
}

interface Sum {
  readonly columns: number;
  /** [experts, columns]; a plain weight is one expert. */
  readonly squares: Float64Array;
  /** Tokens, for each expert. */
  readonly tokens: Float64Array;
}

/** Inputs of a layer of experts, and where they went. */
interface Routed {
  readonly up: string;
  readonly down: string;
  readonly dFf: number;
  /** By expert. */
  readonly inputs: Float32Array[][];
  tokens: number;
}

class Squares {
  readonly #sums = new Map<string, Sum>();
  readonly routed = new Map<string, Routed>();

  add(command: Multiplies, input: (x: Tensor) => Rows): void {
    const { columns, rows } = input(command.x);
    if (command.op === "matmul") {
      for (const { name } of command.weights) for (const row of rows) this.addRow(name, columns, 1, 0, row);
      return;
    }
    const { gateProj, upProj, downProj, routes } = command;
    const [nExperts, dFf] = gateProj.shape;
    const layer = this.routed.get(gateProj.name) ?? {
      up: upProj.name,
      down: downProj.name,
      dFf,
      inputs: Array.from({ length: nExperts }, () => []),
      tokens: 0,
    };
    this.routed.set(gateProj.name, layer);
    for (const [token, chosen] of input(routes.experts).rows.entries()) {
      for (const expert of chosen) {
        for (const { name } of [gateProj, upProj]) this.addRow(name, columns, nExperts, expert, rows[token]);
        if (layer.tokens < keptTokens) layer.inputs[expert].push(Float32Array.from(rows[token]));
      }
      layer.tokens++;
    }
  }

  addRow(name: string, columns: number, nExperts: number, expert: number, row: Float32Array | Int32Array): void {
    let sum = this.#sums.get(name);
    if (!sum) {
      sum = { columns, squares: new Float64Array(nExperts * columns), tokens: new Float64Array(nExperts) };
      this.#sums.set(name, sum);
    }
    for (let i = 0; i < columns; i++) sum.squares[expert * columns + i] += row[i] * row[i];
    sum.tokens[expert]++;
  }

  means(): Map<string, Float32Array> {
    const means = new Map<string, Float32Array>();
    for (const [name, { columns, squares, tokens }] of this.#sums) {
      const all = tokens.reduce((a, b) => a + b, 0);
      const average = Float64Array.from(
        { length: columns },
        (_, i) => tokens.reduce((sum, _, e) => sum + squares[e * columns + i], 0) / all,
      );
      means.set(
        name,
        Float32Array.from(
          squares,
          (sum, i) => (sum + priorTokens * average[i % columns]) / (tokens[Math.floor(i / columns)] + priorTokens),
        ),
      );
    }
    return means;
  }
}

/**
 * Adds what the down projections of experts are multiplied with. That never leaves the command that computes it, so it is computed
 * again here, for one expert at a time.
 */
async function addHidden(squares: Squares, source: ModelSource, backend: Backend, options: CalibrateOptions): Promise<void> {
  const checkpoint = await fetchSource(source, options);
  try {
    const sources = modelSources(checkpoint, parseConfig(checkpoint.config));
    for (const [gate, { up, down, dFf, inputs }] of squares.routed) {
      for (const [expert, rows] of inputs.entries()) {
        if (rows.length === 0) continue;
        const of = (name: string) => expertOf(sources.get(name)!, expert);
        const hidden = await hiddenOf(backend, of(gate), of(up), rows, options.signal);
        for (let row = 0; row < rows.length; row++)
          squares.addRow(down, dFf, inputs.length, expert, hidden.subarray(row * dFf, (row + 1) * dFf));
      }
    }
  } finally {
    await checkpoint.close();
  }
}

/** silu(gate x) * up x [rows, dFf] */
async function hiddenOf(backend: Backend, gate: WeightSource, up: WeightSource, rows: readonly Float32Array[], signal?: AbortSignal) {
  const spec = { layers: [], pageTokens: 1, kvDtype: backend.device.kvDtypes[0] };
  const states = await backend.createStates(spec);
  const [gateProj, upProj] = [await backend.openWeight(gate, "f32", signal), await backend.openWeight(up, "f32", signal)];
  try {
    const shape = [rows.length, rows[0].length] as const;
    const list = record({ L: rows.length, nSequences: 1, nRows: 0 }, spec, (ops) => {
      const [g, u] = ops.matmul(ops.input("x", shape), [gateProj, upProj]);
      ops.read("hidden", ops.swiglu(g, u));
    });
    const x = new Float32Array(shape[0] * shape[1]);
    for (const [i, row] of rows.entries()) x.set(row, i * shape[1]);
    await states.reserve(1, 0);
    const step = {
      ids: new Int32Array(rows.length),
      starts: Int32Array.of(0, rows.length),
      states: [{ slot: 0, pages: [], seen: 0 }],
      rows: new Int32Array(0),
    };
    const values = await runOnce(backend, list, states, { ...step, tensors: new Map([["x", new HostTensor(x, shape)]]) }, { signal });
    return values.get("hidden")!.data as Float32Array;
  } finally {
    gateProj[Symbol.dispose]();
    upProj[Symbol.dispose]();
    states.dispose();
  }
}

/** One expert of stacked ones. */
function expertOf(source: WeightSource, expert: number): WeightSource {
  const { name, dtype } = source;
  const shape = source.shape.slice(1);
  const { rows } = matrixOf(shape);
  return { name, dtype, shape, read: (from, to, signal) => source.read(expert * rows + from, expert * rows + to, signal) };
}
