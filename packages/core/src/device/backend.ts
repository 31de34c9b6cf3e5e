// What runs Jamba: holds weights and states, and executes command lists. Callers see this; a device implements `Driver`.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { BlockDtype } from "../blocks.ts";
import type { CommandList } from "../command.ts";
import type { FloatDtype, WeightDtype } from "../dtype.ts";
import type { JambaError } from "../errors.ts";
import type { StateAddress, StateCopies, StatePart, StateSpec, StateStore } from "./state.ts";
import type { LocalBytes, Weight, WeightSource } from "./weight.ts";

export interface DeviceInfo {
  readonly kind: "reference" | "cpu" | "wasm" | "webgpu" | "cuda";
  readonly name: string;
  /** Names, in a few characters, all that decides bits: states of one kind go on exactly only where this is the same. */
  readonly numerics: string;
  /** Sentences for people: kernel sets in use, and why not more. */
  readonly features: readonly string[];
  /** Sentences for people: faster backends that were tried before this one, each with why it can't be used. */
  readonly passedOver?: readonly string[];
  /** Sentences for people: faster backends that were not tried, each with why. Nothing is wrong then, and nobody is warned. */
  readonly notTried?: readonly string[];
  /** Sentences for people: what makes it slower here than it could be, and what to do. */
  readonly warnings?: readonly string[];
  readonly threads: number;
  readonly weightDtypes: readonly WeightDtype[];
  /** Formats that keys and values can be kept in, the default first. */
  readonly kvDtypes: readonly FloatDtype[];
  /** Tokens that a long prompt is best cut into. */
  readonly chunkTokens: number;
  /** Slots and pages that are best made at a time. */
  readonly stateStep: { readonly slots: number; readonly pages: number };
  /** Where an abort takes effect: between commands of a step that takes long, or not before the step's end. */
  readonly interrupts: "commands" | "steps";
}

export interface MemoryUse {
  readonly weightBytes: number;
  /** Of `weightBytes`: pages of files, which the system may drop and read again. None if not given. */
  readonly mappedBytes?: number;
  readonly stateBytes: number;
  readonly arenaBytes: number;
}

/** Memory of a device, as far as it tells. */
export interface Room {
  readonly totalBytes?: number;
  readonly freeBytes?: number;
  /** For people: of what these are the bytes. */
  readonly said: string;
}

/** What changes from step to step. Tokens of all sequences stand one after another; nothing is padded. */
export interface StepInputs {
  /** [L] */
  readonly ids: Int32Array;
  /** [nSequences + 1]: sequence i owns tokens [starts[i], starts[i + 1]). */
  readonly starts: Int32Array;
  /** [nSequences]: where each state lives and how many tokens it has seen before this step. */
  readonly states: readonly StateAddress[];
  /** [nRows]: tokens whose rows `gatherRows` keeps. */
  readonly rows: Int32Array;
  /** Done before the list, with the step: what fork and copy-on-write are made of. */
  readonly copies?: StateCopies;
  /** [nRows], above 0: of `top`; 1 if not given. */
  readonly temperatures?: Float32Array;
  /** Of `top`: whose logits are wanted whatever they are. */
  readonly asked?: AskedIds;
  /**
   * Values of `input` commands, by name. Those that lie in a buffer of the backend's device, where it has `deviceTensors`, are read there
   * when the step's turn comes: they stay as they are until it is done.
   */
  readonly tensors?: ReadonlyMap<string, HostTensor>;
}

/** Row i asks for ids `[starts[i], starts[i + 1])`. */
export interface AskedIds {
  /** [nRows + 1] */
  readonly starts: Int32Array;
  readonly ids: Int32Array;
}

/** Where a value of a step is handed over, as onnxruntime-common names it. */
export type TensorLocation = "cpu" | "gpu-buffer";

/** A list made ready to run on one backend with one store: compiled, once. */
export interface Program extends Disposable {
  readonly list: CommandList;
  readonly states: StateStore;
}

/** A step that was submitted. */
export interface Step {
  /**
   * Rejects with the signal's reason, or why the step failed: the states of its sequences are undefined then, and the backend is usable.
   * Nobody has to look at it who reads.
   */
  readonly done: Promise<void>;
  /**
   * A value of `read` or `top`, which came with the step, or one of `keep`, fetched now: it is there until the submit after the next one
   * with the same states. All of it, or rows [from, to).
   * @param location "gpu-buffer": in a buffer of its own on the backend's device, which `dispose` of the tensor frees and the end of the
   * backend does not. It is a copy on the device, of a value of any kind that is still there
   * @throws ShapeError for a name or rows that the list does not have, BackendError for a kept value that is gone,
   * JambaError UNSUPPORTED for a place that the backend does not have, what `done` rejects with
   */
  read(name: string, rows?: readonly [from: number, to: number], location?: TensorLocation): Promise<HostTensor>;
}

export interface SubmitOptions {
  /** States that the step was advancing are undefined after an abort. */
  readonly signal?: AbortSignal;
}

/** A weight in a backend's own layout. */
export interface PackedSource {
  /** For errors: the name in the checkpoint. */
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  /** Bytes [from, to) of the weight. */
  read(from: number, to: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Where the same bytes lie in a local file, at a multiple of 64, for a backend that maps files. */
  readonly file?: LocalBytes;
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
  open(source: PackedSource, signal?: AbortSignal): Promise<Weight & Disposable>;
  /** Bytes `[from, to)` of an opened weight, in this layout. */
  read(weight: Weight, from: number, to: number): Promise<Uint8Array>;
}

/** Tensors with `location: "gpu-buffer"` in buffers of the backend's device, which may be shared with onnxruntime-web. */
export interface DeviceTensors {
  /** The rows of several, one after another, in one tensor; those given are disposed, unless it is one, which is given back. */
  join(tensors: readonly HostTensor[]): Promise<HostTensor>;
}

/** Milliseconds spent in one op since the last call of `profile`. */
export interface OpProfile {
  readonly op: string;
  readonly ms: number;
  readonly calls: number;
}

/** A step that may come: each of its sequences has seen `seen` tokens before, and they share its tokens evenly. */
export interface PlannedStep {
  readonly list: CommandList;
  readonly seen: number;
}

export interface Backend {
  readonly device: DeviceInfo;
  /** Resolves, with code DEVICE_LOST, when the device is gone: whatever is called or waited for rejects with the same. */
  readonly lost: Promise<JambaError>;
  /** Absent on devices that have no layout of their own. */
  readonly packed?: PackedWeights;
  /** Pulls the rows of `source` in order and converts them to `dtype`; several may be opened at once. */
  openWeight(source: WeightSource, dtype: WeightDtype, signal?: AbortSignal): Promise<Weight & Disposable>;
  createStates(spec: StateSpec): Promise<StateStore>;
  /**
   * Lowers and compiles a list: what takes long the first time is done here, and not in a step.
   * The weights of the list must stay open for as long as the program is used.
   */
  prepare(list: CommandList, states: StateStore): Promise<Program>;
  /**
   * Starts a step. Steps, copies, and reads and writes of states take effect in the order of the calls.
   * @throws JambaError SHAPE, DTYPE, BACKEND, DISPOSED, DEVICE_LOST, the signal's reason: before anything moved
   */
  submit(program: Program, inputs: StepInputs, options?: SubmitOptions): Step;
  /** Copies whole slots and pages. `StepInputs.copies` does the same without a submit of its own. */
  copyStates(states: StateStore, copies: StateCopies): Promise<void>;
  /** Part by part, in the format that each is kept in. The sequence must stay as it is until the last part was taken. */
  readState(states: StateStore, address: StateAddress): AsyncIterable<StatePart>;
  /** @throws ShapeError when the parts are not those of `address.seen` tokens of this store; the state is undefined then */
  writeState(states: StateStore, address: StateAddress, parts: AsyncIterable<StatePart> | Iterable<StatePart>): Promise<void>;
  memory(): MemoryUse;
  /** What there is and what is free at this moment. */
  room(): Promise<Room>;
  /**
   * Bytes that a weight would take.
   * @throws DtypeError, ShapeError as `openWeight`
   */
  weightBytes(shape: readonly number[], dtype: WeightDtype): number;
  /** Bytes that one slot and one page would take, over all layers. */
  stateBytes(spec: StateSpec): { slot: number; page: number };
  /** What `arenaBytes` would be after these steps. The weights of their lists need not be open: name, dtype and shape do. */
  workspaceBytes(steps: readonly PlannedStep[]): number;
  /**
   * Rows of f32 in blocks of `dtype`, with the least Σ importance · error² that a search over scales finds. Absent where the host does it.
   *
   * values [rows, columns]   importance [columns], mean squares of what the weight is multiplied with; without it all columns count alike
   *
   * @throws DtypeError for a format that can't be written and for values that no block can hold
   * @throws ShapeError when rows are no whole number of blocks, or importance has another length or numbers that are none
   */
  encodeBlocks?(values: Float32Array, columns: number, dtype: BlockDtype, importance?: Float32Array): Promise<Uint8Array>;
  /** Where the time of steps went since the last call, by op, the longest first. Fused ops count as what they became. */
  profile?(): Promise<OpProfile[]>;
  /** On devices that have buffers to share: steps take and give tensors in them. */
  readonly deviceTensors?: DeviceTensors;
  /** Safe during a step, which then rejects with code DISPOSED. */
  dispose(): Promise<void>;
}
