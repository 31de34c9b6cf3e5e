// Jamba on CUDA: weights, states and steps on one device. Kernels stand in native/kernels/, one file an op.

import {
  type DeviceInfo,
  type Driver,
  type DriverProgram,
  type JambaError,
  type LoweringTarget,
  noInputs,
  type PackedCopies,
  type PackedInputs,
  type Plan,
  type Room,
  type StateSpec,
  stateLayout,
  stepWords,
  type Ticket,
  type Weight,
  wordsOf,
} from "@jamba/core";
import { type Call, callsOf, copyCalls, scratchWords } from "./calls.ts";
import { type Kernels, Launches } from "./kernels.ts";
import type { CudaMemory } from "./memory.ts";
import { CudaStates } from "./states.ts";
import { CudaWeight } from "./weights.ts";

/** A list made ready: its launches, as results go to the first and to the second of two places. */
export class CudaProgram implements DriverProgram {
  private constructor(
    readonly plan: Plan | undefined,
    readonly calls: readonly Call[],
    readonly launches: readonly Launches[],
  ) {}

  static async open(kernels: Kernels, turns: readonly (readonly Call[])[], plan?: Plan): Promise<CudaProgram> {
    const launches = turns.map(async (calls) => {
      const found = await Promise.all(calls.map(({ stem, name, dtype }) => kernels.get(stem, name, dtype)));
      return new Launches(calls.map(({ params }, i) => ({ kernel: found[i], params })));
    });
    return new CudaProgram(plan, turns[0], await Promise.all(launches));
  }

  /** As the step has it: bytes of its own, since another step may wait with these. */
  launchesOf(inputs: PackedInputs, turn: number): Uint8Array {
    const launches = this.launches[turn % this.launches.length];
    for (const [i, { grid }] of this.calls.entries()) launches.setGrid(i, typeof grid === "function" ? grid(inputs) : grid);
    return launches.bytes.slice();
  }

  release(): void {}
}

export class CudaDriver implements Driver<CudaWeight, CudaStates, CudaProgram> {
  readonly lowering: LoweringTarget;
  readonly lost: Promise<JambaError>;
  /** What copies slots and pages outside of any step. */
  readonly #copiers = new WeakMap<CudaStates, CudaProgram>();
  #arenaBytes = 0;

  private constructor(
    readonly device: DeviceInfo,
    readonly memory: CudaMemory,
    /** Addresses: of what steps work in, and of the integers of a step. */
    readonly arena: number,
    readonly step: number,
  ) {
    this.lost = memory.lost;
    this.lowering = {
      fuses: new Set(["norm into matmul", "swiglu of two matmuls"] as const),
      alignBytes: 16,
      mostArenaBytes: memory.totalBytes,
      scratchWords,
    };
  }

  static async open(device: DeviceInfo, memory: CudaMemory): Promise<CudaDriver> {
    return new CudaDriver(device, memory, await memory.range(), await memory.range());
  }

  weightBytes(weight: Weight): number {
    return CudaWeight.sizeOf(weight);
  }

  createWeight(weight: Weight): Promise<CudaWeight> {
    return CudaWeight.open(weight, this.memory);
  }

  stateBytes(spec: StateSpec): { slot: number; page: number } {
    const { slotWords, pageWords } = stateLayout(spec);
    return { slot: 4 * slotWords, page: 4 * pageWords };
  }

  async createStates(spec: StateSpec): Promise<CudaStates> {
    const states = await CudaStates.open(this.memory, spec);
    this.#copiers.set(states, await CudaProgram.open(this.memory.kernels, [copyCalls(states, this.step)]));
    return states;
  }

  copyStates(states: CudaStates, copies: PackedCopies): Promise<void> {
    return this.#run(this.#copiers.get(states)!, states, { ...noInputs, copies }, 0).done;
  }

  async compile(plan: Plan, states: CudaStates, weightOf: (weight: Weight) => CudaWeight): Promise<CudaProgram> {
    if (plan.arenaBytes > this.#arenaBytes) {
      await this.memory.map(this.arena, plan.arenaBytes, `step of ${plan.step.L} tokens`);
      this.#arenaBytes = Math.max(this.#arenaBytes, plan.arenaBytes);
    }
    const { arena, step } = this;
    const turns = states.results.map((results) => callsOf(plan, { states, weightOf, arena, step, results }));
    return CudaProgram.open(this.memory.kernels, turns, plan);
  }

  submit(program: CudaProgram, states: CudaStates, inputs: PackedInputs): Ticket {
    const turn = states.steps++ % 2;
    const { done, cancel } = this.#run(program, states, inputs, turn);
    return {
      done,
      cancel,
      readKept: (index, from, _, values) => {
        const { kept } = program.plan!;
        const at = wordsOf(kept.slice(0, index)) + from * kept[index].x.shape[1];
        return this.memory.read(states.results[turn] + 4 * at, [values]);
      },
      // The submit after the next one overwrites it.
      dropKept() {},
    };
  }

  arenaBytes(): number {
    return this.#arenaBytes;
  }

  workspaceBytes(steps: readonly { readonly plan: Plan }[]): number {
    return Math.max(this.#arenaBytes, ...steps.map(({ plan }) => plan.arenaBytes));
  }

  async room(): Promise<Room> {
    const [freeBytes, totalBytes] = await this.memory.told(this.memory.native.room());
    return { freeBytes, totalBytes, said: `memory of ${this.device.name}` };
  }

  interrupt(): Promise<void> {
    return this.memory.native.interrupt();
  }

  dispose(): Promise<void> {
    for (const range of [this.arena, this.step]) this.memory.release(range);
    return this.memory.dispose();
  }

  #run(program: CudaProgram, states: CudaStates, inputs: PackedInputs, turn: number) {
    const values = stepWords(inputs);
    const keptBytes = 4 * wordsOf(program.plan?.kept ?? []);
    const outputBytes = inputs.outputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const results = states.results[turn];
    const needs = [this.step, values.byteLength, results, keptBytes + outputBytes];
    const read = { from: results + keptBytes, outputs: inputs.outputs };
    return this.memory.run(needs, { to: this.step, values }, program.launchesOf(inputs, turn), read);
  }
}
