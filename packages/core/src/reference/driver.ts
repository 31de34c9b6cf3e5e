// The oracle, and the smallest driver: plain loops over f32 storage with f64 sums, on the calling thread. Slow, right, and short.
// Who writes a driver for another device starts from here.

import { decodeStored, type StoredDtype } from "../blocks.ts";
import { type FusedCommand, type FusedCommandOf, type FusedOp, weightsOf } from "../command.ts";
import type { DeviceInfo } from "../device/backend.ts";
import type { Driver, DriverProgram, DriverWeight, PackedCopies, PackedInputs, Ticket } from "../device/driver.ts";
import { openDevice } from "../device/frame.ts";
import { hostRoom } from "../device/host-room.ts";
import { type StateSpec, stateBytes } from "../device/state.ts";
import { sequencesOf } from "../device/step-words.ts";
import { matrixOf, type Weight } from "../device/weight.ts";
import { type FloatDtype, roundFloats } from "../dtype.ts";
import { JambaError } from "../errors.ts";
import type { Fusion } from "../lower/fuse.ts";
import type { Plan } from "../lower/lower.ts";
import { nextTurn } from "../slices.ts";
import { attention } from "./attention.ts";
import { causalConv } from "./causal-conv.ts";
import { dense, type StepContext } from "./context.ts";
import { embed } from "./embed.ts";
import { experts } from "./experts.ts";
import { gatherRows } from "./gather-rows.ts";
import { input, keep, read } from "./host.ts";
import { gateUp, matmul } from "./matmul.ts";
import { rmsNorm } from "./rms-norm.ts";
import { route } from "./route.ts";
import { selectiveScan } from "./selective-scan.ts";
import { ReferenceStates } from "./states.ts";
import { swiglu } from "./swiglu.ts";
import { top } from "./top.ts";

export type ReferenceKernels = { readonly [O in FusedOp]: (command: FusedCommandOf<O>, step: StepContext) => void };

export const referenceKernels: ReferenceKernels = {
  input,
  embed,
  rmsNorm,
  matmul,
  gateUp,
  causalConv,
  selectiveScan,
  attention,
  swiglu,
  route,
  experts,
  gatherRows,
  top,
  read,
  keep,
};

export interface ReferenceOptions {
  /** Replaces some: kernels of a new device can be tried one at a time, and a test can plant a fault. */
  readonly kernels?: Partial<ReferenceKernels>;
  /** None if not given: a trace then shows every op. */
  readonly fuses?: readonly Fusion[];
}

/** Opens the reference backend. It holds weights as f32, after rounding them to the dtype that was asked for. */
export function openReference(options: ReferenceOptions = {}) {
  return openDevice(new ReferenceDriver(options));
}

interface ReferenceProgram extends DriverProgram {
  readonly plan: Plan;
  readonly values: ReadonlyMap<Weight, Float32Array>;
}

/** How long commands may run before other work of the event loop gets its turn. */
const turnMs = 8;

class ReferenceDriver implements Driver<ReferenceWeight, ReferenceStates, ReferenceProgram> {
  readonly device: DeviceInfo = {
    kind: "reference",
    name: "JavaScript, plain loops",
    numerics: "reference-1",
    features: ["f32 storage, f64 sums", "one thread, by design: this backend is the specification that others are tested against"],
    threads: 1,
    weightDtypes: ["f32", "bf16", "f16"],
    kvDtypes: ["f32", "bf16", "f16"],
    chunkTokens: 64,
    stateStep: { slots: 4, pages: 16 },
    interrupts: "commands",
  };
  readonly lowering;
  readonly #kernels: ReferenceKernels;
  #arena = new ArrayBuffer(0);
  #queue: Promise<unknown> = Promise.resolve();
  #interrupted = false;
  /** Kept between steps: many short ones in a row must not shut out timers and signals either. */
  #turnEnds = 0;

  constructor({ kernels, fuses = [] }: ReferenceOptions) {
    this.#kernels = { ...referenceKernels, ...kernels };
    this.lowering = { fuses: new Set(fuses), alignBytes: 4, mostArenaBytes: Number.POSITIVE_INFINITY };
  }

  weightBytes({ shape }: Weight): number {
    return 4 * shape.reduce((a, b) => a * b, 1);
  }

  createWeight(weight: Weight): ReferenceWeight {
    return new ReferenceWeight(weight);
  }

  stateBytes(spec: StateSpec): { slot: number; page: number } {
    return stateBytes({ ...spec, kvDtype: "f32" });
  }

  createStates(spec: StateSpec): ReferenceStates {
    return new ReferenceStates(spec, (work) => this.#inOrder(work));
  }

  copyStates(states: ReferenceStates, copies: PackedCopies): Promise<void> {
    return this.#inOrder(async () => states.copy(copies));
  }

  compile(plan: Plan, _: ReferenceStates, weightOf: (weight: Weight) => ReferenceWeight): ReferenceProgram {
    const values = new Map(plan.commands.flatMap(weightsOf).map((weight) => [weight, weightOf(weight).values]));
    return { plan, values, release() {} };
  }

  submit({ plan, values: weights }: ReferenceProgram, states: ReferenceStates, inputs: PackedInputs): Ticket {
    let kept: (Float32Array | Int32Array)[] = [];
    let cancelled = false;
    const done = this.#inOrder(async () => {
      states.copy(inputs.copies);
      const step = this.#context(plan, states, inputs, weights, kept);
      for (const command of plan.commands) {
        if (performance.now() > this.#turnEnds) {
          await nextTurn();
          this.#turnEnds = performance.now() + turnMs;
        }
        if (cancelled) throw new Error("cancelled");
        this.#expectRunning();
        (this.#kernels[command.op] as (command: FusedCommand, step: StepContext) => void)(command, step);
      }
    });
    return {
      done,
      readKept: async (index, from, to, values) => {
        const all = kept;
        await done;
        const columns = plan.kept[index].x.shape[1];
        values.set(all[index].subarray(from * columns, to * columns));
      },
      dropKept: () => {
        kept = [];
      },
      cancel: () => {
        cancelled = true;
      },
    };
  }

  arenaBytes(): number {
    return this.#arena.byteLength;
  }

  workspaceBytes(steps: readonly { readonly plan: Plan }[]): number {
    return Math.max(0, ...steps.map(({ plan }) => plan.arenaBytes));
  }

  room() {
    return hostRoom();
  }

  async interrupt(): Promise<void> {
    this.#interrupted = true;
    await this.#queue;
  }

  async dispose(): Promise<void> {
    this.#arena = new ArrayBuffer(0);
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      this.#expectRunning();
      return work();
    });
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #expectRunning(): void {
    if (this.#interrupted) throw new JambaError("DISPOSED", "reference backend: expected an open backend, found it disposed");
  }

  #context(
    plan: Plan,
    states: ReferenceStates,
    inputs: PackedInputs,
    weights: ReadonlyMap<Weight, Float32Array>,
    kept: (Float32Array | Int32Array)[],
  ): StepContext {
    if (this.#arena.byteLength < plan.arenaBytes) this.#arena = new ArrayBuffer(plan.arenaBytes);
    const arena = { f32: new Float32Array(this.#arena), i32: new Int32Array(this.#arena) };
    const start = (t: { buffer: number; offset: number }) => plan.buffers[t.buffer].offset + t.offset;
    const end = (t: { buffer: number }) => plan.buffers[t.buffer].offset + plan.buffers[t.buffer].length;
    let [nGiven, nOutputs] = [0, 0];
    const step: StepContext = {
      inputs,
      sequences: sequencesOf(inputs),
      f32: (t) => arena.f32.subarray(start(t), end(t)),
      i32: (t) => arena.i32.subarray(start(t), end(t)),
      weight: (weight) => weights.get(weight)!,
      mamba: (layer) => states.mamba(layer),
      kv: (layer) => states.kv(layer),
      nextInput: () => inputs.tensors[nGiven++],
      nextOutput: () => inputs.outputs[nOutputs++],
      keep: (x) => void kept.push(dense(step, x)),
    };
    return step;
  }
}

class ReferenceWeight implements DriverWeight {
  readonly values: Float32Array;

  constructor(readonly weight: Weight) {
    const { name, shape } = weight;
    const length = shape.reduce((a, b) => a * b, 1);
    try {
      this.values = new Float32Array(length);
    } catch (cause) {
      const message = `${name}: expected room for [${shape.join(", ")}] f32, ${length * 4} bytes, found none; the reference backend holds every weight in f32`;
      throw new JambaError("OUT_OF_MEMORY", message, { cause });
    }
  }

  get sizeBytes(): number {
    return this.values.byteLength;
  }

  async pack(from: number, _: number, bytes: Uint8Array, stored: StoredDtype): Promise<void> {
    const decoded = decodeStored(bytes, stored);
    const { dtype, shape } = this.weight;
    if (dtype !== stored) roundFloats(decoded, dtype as FloatDtype);
    this.values.set(decoded, from * matrixOf(shape).columns);
  }

  release(): void {}
}
