// What callers hold of a backend: weights, programs and states, each with what the driver holds of it.

import type { CommandList } from "../command.ts";
import type { WeightDtype } from "../dtype.ts";
import { JambaError } from "../errors.ts";
import type { Plan } from "../lower/lower.ts";
import type { Program } from "./backend.ts";
import { expectCount } from "./checks.ts";
import type { DriverProgram, DriverStates, DriverWeight, Ticket } from "./driver.ts";
import type { StateSpec, StateStore } from "./state.ts";
import type { Weight } from "./weight.ts";

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
    readonly weights: readonly HeldWeight[],
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
    readonly frame: { forget(): boolean; wait<T>(work: T | Promise<T>): Promise<T> },
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
    const grown = this.#growing.then(() => this.frame.wait(this.held.reserve(nSlots, nPages)));
    this.#growing = grown.catch(() => undefined);
    await grown;
  }

  shrink(nSlots: number, nPages: number): void {
    for (const count of [nSlots, nPages]) expectCount("shrink", count);
    this.held.shrink(nSlots, nPages);
  }

  dispose(): void {
    if (!this.frame.forget()) return;
    for (const ticket of this.kept.splice(0)) ticket.dropKept();
    // Not in the middle of a growth.
    this.released = this.#growing.then(() => this.held.release());
  }
}
