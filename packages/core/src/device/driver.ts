// What a device writes. The frame (frame.ts) has checked everything before it comes here: shapes, indices, dtypes, who owns what, and order.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { BlockDtype, StoredDtype } from "../blocks.ts";
import type { JambaError } from "../errors.ts";
import type { LoweringTarget, Plan } from "../lower/lower.ts";
import type { DeviceInfo, OpProfile, Room } from "./backend.ts";
import type { StateAddress, StatePart, StateSpec } from "./state.ts";
import type { LocalBytes, Weight } from "./weight.ts";

/**
 * A device. Its calls take effect in the order in which they are made; what takes time goes on after they return.
 * Errors are JambaErrors of core; what ends with an abort rejects with anything.
 *
 * `W`, `S` and `P` are what the device holds of weights, states and programs.
 */
export interface Driver<
  W extends DriverWeight = DriverWeight,
  S extends DriverStates = DriverStates,
  P extends DriverProgram = DriverProgram,
> {
  readonly device: DeviceInfo;
  readonly lowering: LoweringTarget;
  /** Resolves when the device is gone, on devices that can go. */
  readonly lost?: Promise<JambaError>;

  /** @throws ShapeError, DtypeError, JambaError OUT_OF_MEMORY for a weight that the device can't hold */
  weightBytes(weight: Weight): number;
  /** @throws as `weightBytes` */
  createWeight(weight: Weight): W | Promise<W>;

  /** @throws ShapeError, DtypeError for layers or formats that the device can't hold; JambaError OUT_OF_MEMORY for sizes beyond counting */
  stateBytes(spec: StateSpec): { slot: number; page: number };
  createStates(spec: StateSpec): S | Promise<S>;
  copyStates(states: S, copies: PackedCopies): Promise<void>;

  /** Whatever a step need not do each time. The arena and the states may grow, and move, afterwards. `weightOf` gives what `createWeight` gave. */
  compile(plan: Plan, states: S, weightOf: (weight: Weight) => W): P | Promise<P>;
  submit(program: P, states: S, inputs: PackedInputs): Ticket;

  /** Bytes that steps work in at present. */
  arenaBytes(): number;
  /** The same after steps of these plans, each of whose sequences has seen so many tokens. */
  workspaceBytes(steps: readonly { readonly plan: Plan; readonly seen: number }[]): number;
  room(): Promise<Room>;

  /** Ends the running step; it and whatever is queued reject. */
  interrupt(): Promise<void>;
  /** After `interrupt`, and after everything was released. */
  dispose(): Promise<void>;

  // What only some devices have:
  readonly packed?: DriverPacked<W>;
  encodeBlocks?(
    values: Float32Array,
    columns: number,
    dtype: BlockDtype,
    importance: Float32Array | undefined,
    blocks: Uint8Array,
  ): Promise<void>;
  profile?(): Promise<OpProfile[]>;
  readonly deviceTensors?: DriverTensors;
}

/** Tensors in buffers of the device. */
export interface DriverTensors {
  /** @throws JambaError for a buffer that a step can't read so many bytes of */
  expectReadable(name: string, buffer: object, bytes: number): void;
  /** All of them one after another, in a new buffer. */
  join(tensors: readonly HostTensor[], dims: readonly number[]): Promise<HostTensor>;
}

export interface DriverWeight {
  readonly sizeBytes: number;
  /** The weight lies in pages of a file. */
  readonly mapped?: boolean;
  /** What the first row of every piece is a multiple of, within one matrix; 1 if not given. */
  readonly rowStep?: number;
  /** Rows [from, to) as stored, converted to the weight's dtype. Settles when there is room for more: the next rows are read meanwhile. */
  pack(from: number, to: number, bytes: Uint8Array, stored: StoredDtype): Promise<void>;
  /** The same from a local file, whose bytes at `offset` are those of row `from`. */
  packFile?(from: number, to: number, path: string, offset: number, stored: StoredDtype): Promise<void>;
  /** The same from a blob. */
  packBlob?(from: number, to: number, blob: Blob, offset: number, stored: StoredDtype): Promise<void>;
  release(): void;
}

export interface DriverStates {
  readonly sizeBytes: number;
  readonly nSlots: number;
  readonly nPages: number;
  /** To at least these counts. @throws JambaError OUT_OF_MEMORY, with nothing changed */
  reserve(nSlots: number, nPages: number): void | Promise<void>;
  /** To at least these counts: what can't be given back stays. */
  shrink(nSlots: number, nPages: number): void;
  /** Of a sequence that has seen something. */
  readPart(address: StateAddress, part: Omit<StatePart, "bytes">): Promise<Uint8Array>;
  writePart(address: StateAddress, part: StatePart): Promise<void>;
  release(): void;
}

export interface DriverProgram {
  release(): void;
}

/** [from, to, from, to …] */
export interface PackedCopies {
  readonly slots: Int32Array;
  readonly pages: Int32Array;
}

/** A step as integers and buffers. They are the driver's until the step is done. `stepWords` has them for devices that index by token. */
export interface PackedInputs {
  readonly ids: Int32Array;
  readonly rows: Int32Array;
  readonly starts: Int32Array;
  /** Per sequence: slot, seen, count of pages, pages …; without attention no pages, and of `seen` only whether it is 0. */
  readonly addresses: Int32Array;
  readonly copies: PackedCopies;
  /** [nRows] */
  readonly temperatures: Float32Array;
  readonly askedStarts: Int32Array;
  readonly askedIds: Int32Array;
  /** In the order of `Plan.inputs`, dense. */
  readonly tensors: readonly (Float32Array | Int32Array)[];
  /** Of those that lie in buffers of the device, by their places among `tensors`, which has nothing of them then. */
  readonly buffers?: ReadonlyMap<number, object>;
  /** In the order of `Plan.outputs`, dense: the driver fills them. */
  readonly outputs: readonly (Float32Array | Int32Array)[];
}

export interface Ticket {
  readonly done: Promise<void>;
  /** Rows [from, to) of `Plan.kept[index]`, into `values`. */
  readKept(index: number, from: number, to: number, values: Float32Array | Int32Array): Promise<void>;
  /** A value of `Plan.kept` or `Plan.outputs` from word `first` on, as a tensor in a buffer of its own. On devices that have `deviceTensors`. */
  copyOut?(value: { readonly of: "kept" | "outputs"; readonly index: number }, first: number, like: TensorForm): Promise<HostTensor>;
  /** What the step kept is not read any more: called before the submit after the next one with the same states. */
  dropKept(): void;
  /** Ends the step as soon as the device can; `done` rejects then, unless it was too late. */
  cancel(): void;
}

/** What a tensor is to be. */
export interface TensorForm {
  readonly type: "float32" | "int32";
  readonly dims: readonly number[];
}

/** Weights in the device's own layout. */
export interface DriverPacked<W extends DriverWeight = DriverWeight> {
  readonly layout: string;
  /** Of an own weight, from byte `at` on. */
  write(weight: W, at: number, bytes: Uint8Array): Promise<void>;
  read(weight: W, from: number, to: number): Uint8Array | Promise<Uint8Array>;
  /** A weight that lies in a local file as it is. @throws LoadError */
  map?(weight: Weight, file: LocalBytes): W;
}
