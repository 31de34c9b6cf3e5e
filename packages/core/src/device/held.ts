// What callers hold of a backend: weights, programs, states and steps, each with what the driver holds of it.

import { Tensor as HostTensor } from "onnxruntime-common";
import type { CommandList, Tensor } from "../command.ts";
import type { WeightDtype } from "../dtype.ts";
import { BackendError, JambaError, ShapeError } from "../errors.ts";
import type { Plan } from "../lower/lower.ts";
import type { Program, Step, TensorLocation } from "./backend.ts";
import { expectCount } from "./checks.ts";
import type { DriverProgram, DriverStates, DriverWeight, Ticket } from "./driver.ts";
import type { StateSpec, StateStore } from "./state.ts";
import type { Weight } from "./weight.ts";

/** How what is held reaches a device that may be lost or disposed. */
export interface Guard {
  /** @throws JambaError DISPOSED, DEVICE_LOST */
  readonly expectAlive: () => void;
  /** Ends when `work` does, or with the device. */
  readonly wait: <T>(work: T | Promise<T>) => Promise<T>;
}

export class HeldWeight implements Weight, Disposable {
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];

  constructor(
    { name, dtype, shape }: Weight,
    readonly held: DriverWeight,
    readonly forget: () => boolean,
  ) {
    this.name = name;
    this.dtype = dtype;
    this.shape = shape;
  }

  [Symbol.dispose](): void {
    if (this.forget()) this.held.release();
  }
}

export class HeldProgram implements Program {
  constructor(
    readonly list: CommandList,
    readonly states: HeldStates,
    readonly plan: Plan,
    readonly weights: readonly Weight[],
    readonly compiled: DriverProgram,
    readonly forget: () => boolean,
  ) {}

  [Symbol.dispose](): void {
    if (this.forget()) this.compiled.release();
  }
}

export class HeldStates implements StateStore {
  /** The last two steps, whose kept values can still be read. */
  readonly kept: Ticket[] = [];
  /** One at a time: a device may have to wait for memory. */
  #growing: Promise<unknown> = Promise.resolve();
  /** Once it was disposed: when the driver has let go of it. */
  released?: Promise<unknown>;

  constructor(
    readonly spec: StateSpec,
    readonly held: DriverStates,
    readonly guard: Guard,
    readonly forget: () => boolean,
  ) {}

  get nSlots(): number {
    return this.held.nSlots;
  }

  get nPages(): number {
    return this.held.nPages;
  }

  async reserve(nSlots: number, nPages: number): Promise<void> {
    for (const count of [nSlots, nPages]) expectCount("reserve", count);
    if (this.released) throw new JambaError("DISPOSED", "reserve: expected states that are in use, found them disposed");
    const grown = this.#growing.then(() => {
      this.guard.expectAlive();
      return this.guard.wait(this.held.reserve(nSlots, nPages));
    });
    this.#growing = grown.catch(() => undefined);
    await grown;
  }

  shrink(nSlots: number, nPages: number): void {
    for (const count of [nSlots, nPages]) expectCount("shrink", count);
    this.held.shrink(nSlots, nPages);
  }

  dispose(): void {
    if (!this.forget()) return;
    for (const ticket of this.kept.splice(0)) ticket.dropKept();
    // Not in the middle of a growth.
    this.released = this.#growing.then(() => this.held.release());
  }
}

export class HeldStep implements Step {
  constructor(
    readonly program: HeldProgram,
    readonly ticket: Ticket,
    /** Of the values that are read, in the order of the plan. */
    readonly outputs: readonly HostTensor[],
    readonly done: Promise<void>,
    readonly guard: Guard,
  ) {}

  async read(name: string, rows?: readonly [from: number, to: number], location: TensorLocation = "cpu"): Promise<HostTensor> {
    const { plan } = this.program;
    const output = plan.outputs.findIndex((one) => one.name === name);
    if (location !== "cpu") return this.#copyOut(name, output, rows, location);
    if (output >= 0) {
      await this.done;
      return rows ? rowsOf(name, this.outputs[output], rows) : this.outputs[output];
    }
    return this.#readKept(name, this.#keptAt(name), rows);
  }

  async #copyOut(
    name: string,
    output: number,
    rows: readonly [from: number, to: number] | undefined,
    location: TensorLocation,
  ): Promise<HostTensor> {
    if (location !== "gpu-buffer" || !this.ticket.copyOut)
      throw new JambaError(
        "UNSUPPORTED",
        `step: ${name}: expected the location "cpu", found ${JSON.stringify(location)}; this device hands over no other`,
      );
    const of = output >= 0 ? "outputs" : "kept";
    const index = output >= 0 ? output : this.#keptAt(name);
    this.#expectThere(name);
    const { dtype, shape } = this.program.plan[of][index].x ?? { dtype: "f32", shape: this.outputs[index].dims };
    const [from, to] = rows ?? [0, shape[0]];
    expectRows(name, shape[0], from, to);
    const columns = shape.slice(1).reduce((a, b) => a * b, 1);
    const like = { type: dtype === "f32" ? "float32" : "int32", dims: [to - from, ...shape.slice(1)] } as const;
    const copying = this.guard.wait(this.ticket.copyOut({ of, index }, from * columns, like));
    copying.catch(() => undefined); // after a step that failed there is only its own error to tell
    try {
      await this.done;
    } catch (error) {
      void copying.then(
        (tensor) => tensor.dispose(),
        () => undefined,
      );
      throw error;
    }
    return copying;
  }

  #keptAt(name: string): number {
    const kept = this.program.plan.kept.findIndex((one) => one.name === name);
    if (kept < 0) throw new ShapeError(`step: expected a value that its list reads or keeps, found "${name}"`);
    return kept;
  }

  #expectThere(name: string): void {
    this.guard.expectAlive();
    if (!this.program.states.kept.includes(this.ticket))
      throw new BackendError(`step: ${name}: expected to be read before the submit after the next one, found it gone`);
  }

  async #readKept(name: string, index: number, rows: readonly [from: number, to: number] | undefined): Promise<HostTensor> {
    this.#expectThere(name);
    const { dtype, shape } = this.program.plan.kept[index].x;
    const [from, to] = rows ?? [0, shape[0]];
    expectRows(name, shape[0], from, to);
    const values = allocate({ dtype, shape: [to - from, shape[1]] });
    // Asked for at once, so that it stands before later steps in the queue.
    const reading = this.guard.wait(this.ticket.readKept(index, from, to, values.data as Float32Array));
    reading.catch(() => undefined); // after a step that failed there is only its own error to tell
    await this.done;
    await reading;
    return values;
  }
}

/** In memory of their own, so that the others can go. */
function rowsOf(name: string, whole: HostTensor, [from, to]: readonly [from: number, to: number]): HostTensor {
  const { data, dims } = whole;
  expectRows(name, dims[0], from, to);
  if (from === 0 && to === dims[0]) return whole;
  const columns = data.length / dims[0];
  return new HostTensor((data as Float32Array).slice(from * columns, to * columns), [to - from, ...dims.slice(1)]);
}

function expectRows(name: string, rows: number, from: number, to: number): void {
  if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= rows))
    throw new ShapeError(`step: ${name}: expected rows within [0, ${rows}], found [${from}, ${to})`);
}

/** @throws JambaError OUT_OF_MEMORY */
export function allocate({ dtype, shape }: Pick<Tensor, "dtype"> & { readonly shape: readonly number[] }): HostTensor {
  const length = shape.reduce((a, b) => a * b, 1);
  try {
    return dtype === "f32" ? new HostTensor(new Float32Array(length), shape) : new HostTensor(new Int32Array(length), shape);
  } catch (cause) {
    throw new JambaError("OUT_OF_MEMORY", `step: expected room for [${shape.join(", ")}] values, found none`, { cause });
  }
}
