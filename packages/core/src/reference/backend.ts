// The oracle: plain loops over f32 storage with f64 sums, on the calling thread. Slow, right, and short.

import type { Tensor as HostTensor } from "onnxruntime-common";
import {
  type Backend,
  checkAddress,
  checkInputs,
  checkState,
  type DeviceInfo,
  type MemoryUse,
  type PlannedStep,
  type RunOptions,
  type StateCopies,
  type StepInputs,
} from "../backend.ts";
import { decodeStored } from "../blocks.ts";
import { type Command, type CommandList, type CommandOf, type Op, tensorsOf } from "../command.ts";
import { type FloatDtype, roundFloats, type WeightDtype } from "../dtype.ts";
import { BackendError, DtypeError, JambaError, ShapeError } from "../errors.ts";
import type { HostState, StateAddress, StateSpec, StateStore } from "../state.ts";
import { matrixOf, type Weight, type WeightSource } from "../weight.ts";
import { attention } from "./attention.ts";
import { causalConv } from "./causal-conv.ts";
import { dense, type StepContext } from "./context.ts";
import { embed } from "./embed.ts";
import { experts } from "./experts.ts";
import { gatherRows } from "./gather-rows.ts";
import { input, read } from "./host.ts";
import { matmul } from "./matmul.ts";
import { rmsNorm } from "./rms-norm.ts";
import { route } from "./route.ts";
import { selectiveScan } from "./selective-scan.ts";
import { ReferenceStates } from "./states.ts";
import { swiglu } from "./swiglu.ts";

export type ReferenceKernels = { readonly [O in Op]: (command: CommandOf<O>, step: StepContext) => void };

export const referenceKernels: ReferenceKernels = {
  input,
  embed,
  rmsNorm,
  matmul,
  causalConv,
  selectiveScan,
  attention,
  swiglu,
  route,
  experts,
  gatherRows,
  read,
};

interface ReferenceWeight extends Weight, Disposable {
  values: Float32Array;
}

/** Rows read per call while a weight is opened: at most 64 MiB of them. */
const readBytes = 2 ** 26;

/** How long commands may run before other work of the event loop gets its turn. */
const turnMs = 8;

/**
 * Opens the reference backend. It holds weights as f32, after rounding them to the dtype that was asked for.
 *
 * `kernels` replaces some of them: a new backend can be written one op at a time, and a test can plant a fault.
 */
export function openReference({ kernels }: { kernels?: Partial<ReferenceKernels> } = {}): Backend {
  return new ReferenceBackend({ ...referenceKernels, ...kernels });
}

class ReferenceBackend implements Backend {
  readonly device: DeviceInfo = {
    kind: "reference",
    name: "JavaScript, plain loops",
    features: ["f32 storage, f64 sums", "one thread, by design: this backend is the specification that others are tested against"],
    threads: 1,
    weightDtypes: ["f32", "bf16", "f16"],
    kvDtypes: ["f32"],
    chunkTokens: 64,
  };
  #weights = new Set<Weight>();
  #stores = new Set<ReferenceStates>();
  #arena = new ArrayBuffer(0);
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;
  /** Kept between runs: many short ones in a row must not shut out timers and signals either. */
  #turnEnds = 0;

  constructor(readonly kernels: ReferenceKernels) {}

  async openWeight(source: WeightSource, dtype: WeightDtype, signal?: AbortSignal): Promise<Weight & Disposable> {
    this.#alive();
    this.#expectDtype(source.name, dtype);
    const { rows, columns } = matrixOf(source.shape);
    const values = allocate(rows * columns, source);
    const step = Math.max(1, Math.floor(readBytes / (columns * 4)));
    for (let from = 0; from < rows; from += step) {
      signal?.throwIfAborted();
      const to = Math.min(rows, from + step);
      const decoded = decodeStored(await source.read(from, to, signal), source.dtype);
      if (decoded.length !== (to - from) * columns) {
        throw new ShapeError(`${source.name}: rows ${from} … ${to}: expected ${(to - from) * columns} values, found ${decoded.length}`);
      }
      if (dtype !== source.dtype) roundFloats(decoded, dtype as FloatDtype);
      values.set(decoded, from * columns);
    }
    this.#alive();
    const weights = this.#weights;
    const weight: ReferenceWeight = {
      name: source.name,
      dtype,
      shape: [...source.shape],
      values,
      [Symbol.dispose]() {
        weights.delete(weight);
      },
    };
    weights.add(weight);
    return weight;
  }

  createStates(spec: StateSpec): StateStore {
    this.#alive();
    const store = new ReferenceStates(spec);
    this.#stores.add(store);
    return store;
  }

  run(list: CommandList, states: StateStore, inputs: StepInputs, options: RunOptions = {}): Promise<ReadonlyMap<string, HostTensor>> {
    return this.#inOrder(async () => {
      checkInputs(list, states, inputs);
      const step = this.#context(list, this.#own(states), inputs);
      for (const [index, command] of list.commands.entries()) {
        if (performance.now() > this.#turnEnds) {
          await nextTurn();
          this.#turnEnds = performance.now() + turnMs;
        }
        options.signal?.throwIfAborted();
        this.#alive();
        (this.kernels[command.op] as (command: Command, step: StepContext) => void)(command, step);
        options.trace?.(command, index, () =>
          tensorsOf(command)
            .filter((t) => t.writes)
            .map(({ tensor }) => dense(step, tensor)),
        );
      }
      return step.outputs;
    });
  }

  copyStates(states: StateStore, { slots = [], pages = [] }: StateCopies): Promise<void> {
    return this.#inOrder(async () => {
      const store = this.#own(states);
      for (const slot of slots.flat())
        if (!(slot >= 0 && slot < store.nSlots))
          throw new ShapeError(`copyStates: slot: expected one in [0, ${store.nSlots}), found ${slot}`);
      for (const page of pages.flat())
        if (!(page >= 0 && page < store.nPages))
          throw new ShapeError(`copyStates: page: expected one in [0, ${store.nPages}), found ${page}`);
      for (const [from, to] of slots) store.copySlot(from, to);
      for (const [from, to] of pages) store.copyPage(from, to);
    });
  }

  readState(states: StateStore, address: StateAddress): Promise<HostState> {
    return this.#inOrder(async () => {
      checkAddress(states, address);
      return this.#own(states).read(address);
    });
  }

  writeState(states: StateStore, address: StateAddress, state: HostState): Promise<void> {
    return this.#inOrder(async () => {
      checkAddress(states, address);
      checkState(states.spec, address.seen, state);
      this.#own(states).write(address, state);
    });
  }

  memory(): MemoryUse {
    const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0);
    return {
      weightBytes: sum([...this.#weights].map((w) => (w as ReferenceWeight).values.byteLength)),
      stateBytes: sum([...this.#stores].map((store) => store.bytes)),
      arenaBytes: this.#arena.byteLength,
    };
  }

  weightBytes(shape: readonly number[], dtype: WeightDtype): number {
    this.#expectDtype("weight", dtype);
    const { rows, columns } = matrixOf(shape);
    return 4 * rows * columns;
  }

  workspaceBytes(steps: readonly PlannedStep[]): number {
    return Math.max(0, ...steps.map(({ list }) => list.arenaBytes));
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#queue;
    this.#weights.clear();
    for (const store of this.#stores) store.dispose();
    this.#stores.clear();
    this.#arena = new ArrayBuffer(0);
  }

  #expectDtype(name: string, dtype: WeightDtype): void {
    const { weightDtypes } = this.device;
    if (!weightDtypes.includes(dtype))
      throw new DtypeError(`${name}: expected one of ${weightDtypes.join(", ")} (all the reference computes), found ${dtype}`);
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      this.#alive();
      return work();
    });
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #alive(): void {
    if (this.#disposed) throw new JambaError("DISPOSED", "reference backend: expected an open backend, found it disposed");
  }

  #own(states: StateStore): ReferenceStates {
    if (!(states instanceof ReferenceStates && this.#stores.has(states))) {
      throw new BackendError(
        "reference backend: expected states that it made itself, found another's; move them with readState and writeState",
      );
    }
    return states;
  }

  #context(list: CommandList, store: ReferenceStates, inputs: StepInputs): StepContext {
    if (this.#arena.byteLength < list.arenaBytes) this.#arena = new ArrayBuffer(list.arenaBytes);
    const arena = { f32: new Float32Array(this.#arena), i32: new Int32Array(this.#arena) };
    const start = (t: { buffer: number; offset: number }) => list.buffers[t.buffer].offset + t.offset;
    const end = (t: { buffer: number }) => list.buffers[t.buffer].offset + list.buffers[t.buffer].length;
    return {
      list,
      ids: inputs.ids,
      rows: inputs.rows,
      sequences: inputs.states.map((address, i) => ({ ...address, from: inputs.starts[i], to: inputs.starts[i + 1] })),
      inputs: inputs.tensors ?? new Map(),
      outputs: new Map(),
      f32: (t) => arena.f32.subarray(start(t), end(t)),
      i32: (t) => arena.i32.subarray(start(t), end(t)),
      weight: (weight) => {
        if (!this.#weights.has(weight))
          throw new BackendError(`${weight.name}: expected a weight that this backend holds, found another's or a disposed one`);
        return (weight as ReferenceWeight).values;
      },
      mamba: (layer) => store.mamba(layer),
      kv: (layer) => store.kv(layer),
    };
  }
}

function allocate(length: number, { name, shape }: WeightSource): Float32Array {
  try {
    return new Float32Array(length);
  } catch (cause) {
    const message = `${name}: expected room for [${shape.join(", ")}] f32, ${length * 4} bytes, found none; the reference backend holds every weight in f32`;
    throw new JambaError("OUT_OF_MEMORY", message, { cause });
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => (typeof setImmediate === "function" ? setImmediate(resolve) : setTimeout(resolve)));
}
