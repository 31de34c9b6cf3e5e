// What a device must do to run Jamba: hold weights and states, and execute command lists.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { Command, CommandList } from "./command.ts";
import type { FloatDtype, WeightDtype } from "./dtype.ts";
import { ShapeError } from "./errors.ts";
import type { HostState, StateAddress, StateSpec, StateStore } from "./state.ts";
import type { Weight, WeightSource } from "./weight.ts";

export interface DeviceInfo {
  readonly kind: "reference" | "cpu" | "wasm" | "webgpu" | "cuda";
  readonly name: string;
  /** Kernel sets in use, and in words why not more. */
  readonly features: readonly string[];
  readonly threads: number;
  readonly weightDtypes: readonly WeightDtype[];
  /** Formats that keys and values can be kept in, the default first. */
  readonly kvDtypes: readonly FloatDtype[];
  /** Tokens that a long prompt is best cut into. */
  readonly chunkTokens: number;
}

export interface MemoryUse {
  readonly weightBytes: number;
  /** Of `weightBytes`: pages of files, which the system may drop and read again. None if not given. */
  readonly mappedBytes?: number;
  readonly stateBytes: number;
  readonly arenaBytes: number;
}

/** The integers of one step. Tokens of all sequences stand one after another; nothing is padded. */
export interface StepInputs {
  /** [L] */
  readonly ids: Int32Array;
  /** [nSequences + 1]: sequence i owns tokens [starts[i], starts[i + 1]). */
  readonly starts: Int32Array;
  /** [nSequences]: where each state lives and how many tokens it has seen before this step. */
  readonly states: readonly StateAddress[];
  /** [nRows]: tokens whose rows `gatherRows` keeps. */
  readonly rows: Int32Array;
  /** Values of `input` commands, by name. */
  readonly tensors?: ReadonlyMap<string, HostTensor>;
}

export interface RunOptions {
  /** Seen between commands. States that the step was advancing are undefined after an abort. */
  readonly signal?: AbortSignal;
  /** Called after each command with a reader of what it wrote: the debugger. */
  readonly trace?: (command: Command, index: number, written: () => (Float32Array | Int32Array)[]) => void;
}

/** A weight in a backend's own layout, somewhere in a local file. */
export interface PackedSource {
  /** For errors: the name in the checkpoint. */
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  readonly path: string;
  /** Bytes from the start of the file; a multiple of 64. */
  readonly offset: number;
}

/** Weights as the kernels want them, in and out of files: what was packed once is not converted again. */
export interface PackedWeights {
  /** Names the layout and its version; bytes of another one mean nothing to this backend. */
  readonly layout: string;
  /**
   * A backend that can maps the weight: pages are then read when a kernel first touches them, so experts that no token is routed
   * to cost no memory.
   * @throws LoadError when the file is too short or can't be read
   */
  open(source: PackedSource): Promise<Weight & Disposable>;
  /** Bytes `[from, to)` of an opened weight, in this layout. */
  read(weight: Weight, from: number, to: number): Promise<Uint8Array>;
}

/** A step that may come: each of its sequences has seen `seen` tokens before, and they share its tokens evenly. */
export interface PlannedStep {
  readonly list: CommandList;
  readonly seen: number;
}

export interface Backend {
  readonly device: DeviceInfo;
  /** Absent on devices that have no layout of their own, or no files. */
  readonly packed?: PackedWeights;
  /** Pulls the rows of `source` in order and converts them to `dtype`; several may be opened at once. */
  openWeight(source: WeightSource, dtype: WeightDtype, signal?: AbortSignal): Promise<Weight & Disposable>;
  createStates(spec: StateSpec): StateStore;
  /**
   * Executes a list. Calls take effect in the order they are made; the values of `read` commands come back by name.
   * A rejected run leaves the backend usable, and the states of its sequences undefined.
   */
  run(list: CommandList, states: StateStore, inputs: StepInputs, options?: RunOptions): Promise<ReadonlyMap<string, HostTensor>>;
  /** Copies whole slots and pages, in call order with `run`: what fork and copy-on-write are made of. */
  copyStates(states: StateStore, copies: StateCopies): Promise<void>;
  readState(states: StateStore, address: StateAddress): Promise<HostState>;
  writeState(states: StateStore, address: StateAddress, state: HostState): Promise<void>;
  memory(): MemoryUse;
  /**
   * Bytes that a weight would take.
   * @throws DtypeError, ShapeError as `openWeight`
   */
  weightBytes(shape: readonly number[], dtype: WeightDtype): number;
  /** What `arenaBytes` would be after these steps. The weights of their lists need not be open: name, dtype and shape do. */
  workspaceBytes(steps: readonly PlannedStep[]): number;
  /** Safe during a run, which then rejects with code DISPOSED. */
  dispose(): Promise<void>;
}

export interface StateCopies {
  readonly slots?: readonly (readonly [from: number, to: number])[];
  readonly pages?: readonly (readonly [from: number, to: number])[];
}

/**
 * Checks the integers of a step against its list and states, so that no kernel has to.
 * @throws ShapeError
 */
export function checkInputs(list: CommandList, states: StateStore, inputs: StepInputs): void {
  const { L, nSequences, nRows } = list.step;
  const expect = (ok: boolean, what: string, expected: string, found: unknown) => {
    if (!ok) throw new ShapeError(`run: ${what}: expected ${expected}, found ${found}`);
  };
  const { ids, starts, rows } = inputs;
  expect(ids.length === L, "ids", `${L} (the list was recorded for L = ${L})`, ids.length);
  expect(rows.length === nRows, "rows", `${nRows}`, rows.length);
  expect(starts.length === nSequences + 1, "starts", `${nSequences + 1}`, starts.length);
  expect(inputs.states.length === nSequences, "states", `${nSequences}`, inputs.states.length);
  expect(starts[0] === 0 && starts[nSequences] === L, "starts", `0 … ${L}`, `${starts[0]} … ${starts[nSequences]}`);
  for (const row of rows) expect(row >= 0 && row < L, "rows", `a token in [0, ${L})`, row);
  for (const command of list.commands) {
    if (command.op !== "embed") continue;
    const vocabSize = command.table.shape[0];
    for (const id of ids) expect(id >= 0 && id < vocabSize, "ids", `a token id in [0, ${vocabSize})`, id);
  }
  const slots = new Set<number>();
  for (const [i, address] of inputs.states.entries()) {
    const tokens = starts[i + 1] - starts[i];
    expect(tokens >= 0, "starts", "a sequence that does not end before it starts", `${starts[i]} … ${starts[i + 1]}`);
    slots.add(address.slot);
    expect(address.seen >= 0, "seen", "a count of tokens", address.seen);
    checkAddress(states, { ...address, seen: address.seen + tokens });
  }
  expect(slots.size === nSequences, "slots", "each slot once in a step", `${nSequences} sequences in ${slots.size} slots`);
}

/** @throws ShapeError when slot or pages lie outside the store, or too few pages hold `seen` tokens */
export function checkAddress(states: StateStore, { slot, pages, seen }: StateAddress): void {
  const fail = (what: string, expected: string, found: unknown) => {
    throw new ShapeError(`state: ${what}: expected ${expected}, found ${found}`);
  };
  const names = (index: number, count: number) => Number.isInteger(index) && index >= 0 && index < count;
  if (!names(slot, states.nSlots)) fail("slot", `one in [0, ${states.nSlots})`, slot);
  if (!Number.isSafeInteger(seen) || seen < 0) fail("seen", "a count of tokens", seen);
  if (!states.spec.layers.some((layer) => layer.kind === "attention")) return;
  const nPages = Math.ceil(seen / states.spec.pageTokens);
  if (pages.length < nPages) fail("pages", `${nPages} for ${seen} tokens`, pages.length);
  for (const page of pages) if (!names(page, states.nPages)) fail("pages", `one in [0, ${states.nPages})`, page);
}

/** @throws ShapeError when a portable state does not fit the layers of `spec` */
export function checkState(spec: StateSpec, seen: number, state: HostState): void {
  const expect = (ok: boolean, what: string, expected: string, found: unknown) => {
    if (!ok) throw new ShapeError(`state: ${what}: expected ${expected}, found ${found}; is it of another model?`);
  };
  expect(state.seen === seen, "seen", `${seen} tokens`, state.seen);
  expect(state.layers.length === spec.layers.length, "layers", `${spec.layers.length}`, state.layers.length);
  for (const [layer, from] of state.layers.entries()) {
    const to = spec.layers[layer];
    expect(from.kind === to.kind, `layer ${layer}`, to.kind, from.kind);
    const shapes: Record<string, number[]> =
      to.kind === "mamba"
        ? { conv: [to.dInner, to.dConv - 1], h: [to.dInner, to.dState] }
        : { k: [to.nKvHeads, seen, to.headDim], v: [to.nKvHeads, seen, to.headDim] };
    for (const [name, shape] of Object.entries(shapes)) {
      const tensor = (from as unknown as Record<string, HostTensor>)[name];
      const found = `${tensor?.type} [${tensor?.dims?.join(", ")}]`;
      expect(found === `float32 [${shape.join(", ")}]`, `layer ${layer} ${name}`, `float32 [${shape.join(", ")}]`, found);
    }
  }
}
