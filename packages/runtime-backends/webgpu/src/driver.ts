// Jamba on WebGPU: weights, states and steps on one device. Kernels stand in kernels/, one file an op.

import {
  type DeviceInfo,
  type Driver,
  JambaError,
  type LoweringTarget,
  type OpProfile,
  type PackedCopies,
  type PackedInputs,
  type Plan,
  type Room,
  type StateSpec,
  sequencesOf,
  stepWords,
  type Ticket,
  type Weight,
} from "@jamba/core";
import { callsOf, copyCalls, scratchWords, wordsOf } from "./calls.ts";
import type { Products } from "./calls-matrix.ts";
import type { GpuBuffer, GpuDevice } from "./gpu.ts";
import { GpuMemory, type Place } from "./gpu-memory.ts";
import { Kernels } from "./kernels.ts";
import { stateLayout } from "./layout.ts";
import { Packer } from "./pack.ts";
import { inOne, type Passes, Profile } from "./profile.ts";
import { GpuProgram } from "./program.ts";
import { expectNone, scoped } from "./scoped.ts";
import { copiesBetween, GpuStates, type Segment, type SegmentsInUse, segmentsInUse } from "./states.ts";
import { GpuWeight } from "./weights.ts";

export class WebGpuDriver implements Driver<GpuWeight, GpuStates, GpuProgram> {
  readonly device: DeviceInfo;
  readonly lowering: LoweringTarget;
  readonly lost: Promise<JambaError>;
  readonly memory: GpuMemory;
  readonly kernels: Kernels;
  readonly #arena: Place;
  readonly #words: Place;
  readonly #packer: Packer;
  readonly #profile?: Profile;
  /** Counts replaced buffers. */
  #generation = 0;
  #ended?: JambaError;

  /** @param isOwn whether the device ends with the driver; a caller's goes on */
  constructor(
    readonly gpu: GpuDevice,
    device: DeviceInfo,
    mostBindingBytes: number,
    readonly isOwn: boolean,
    readonly products: Products,
  ) {
    this.device = device;
    this.memory = new GpuMemory(gpu, mostBindingBytes, () => this.#ended);
    this.kernels = new Kernels(gpu, products.keepsHalves);
    this.#packer = new Packer(this.kernels, this.memory);
    const fuses = new Set(["norm into matmul", "swiglu of two matmuls"] as const);
    this.lowering = {
      fuses,
      alignBytes: 16,
      mostArenaBytes: gpu.limits.maxStorageBufferBindingSize,
      scratchWords: (command, states) => scratchWords(command, states, products),
    };
    this.lost = new Promise((resolve) => {
      void gpu.lost.then(({ message }) => {
        if (!this.#ended) resolve(new JambaError("DEVICE_LOST", `webgpu: the device was lost: ${message}; open the backend again`));
      });
    });
    [this.#arena, this.#words] = [this.#place(), this.#place()];
    if (!gpu.features.has("timestamp-query")) return;
    const profile = new Profile(gpu, this.memory);
    this.#profile = profile;
    this.profile = async () => profile.take();
  }

  weightBytes(weight: Weight): number {
    return GpuWeight.sizeOf(weight, this.memory.mostBindingBytes);
  }

  createWeight(weight: Weight): Promise<GpuWeight> {
    return GpuWeight.open(weight, this.memory, this.#packer);
  }

  stateBytes(spec: StateSpec): { slot: number; page: number } {
    const { slotWords, pageWords } = stateLayout(spec);
    return { slot: 4 * slotWords, page: 4 * pageWords };
  }

  async createStates(spec: StateSpec): Promise<GpuStates> {
    const states = new GpuStates(this.memory, spec, [this.#place(), this.#place()]);
    states.copier = await GpuProgram.open(this.kernels, this.memory, copyCalls(states));
    return states;
  }

  async copyStates(states: GpuStates, copies: PackedCopies): Promise<void> {
    await this.#start([states.copier], states, { ...noInputs, copies }, 0);
  }

  async compile(plan: Plan, states: GpuStates, weightOf: (weight: Weight) => GpuWeight): Promise<GpuProgram> {
    if (plan.arenaBytes > this.#arena.buffer.size) {
      const [buffer] = await this.memory.allocate(`step of ${plan.step.L} tokens`, [plan.arenaBytes]);
      // Another list may have brought a larger one meanwhile.
      if (buffer.size > this.#arena.buffer.size) this.#replace(this.#arena, buffer);
      else buffer.destroy();
    }
    return GpuProgram.open(
      this.kernels,
      this.memory,
      callsOf(plan, { states, weightOf, products: this.products, none: this.memory.none }),
      plan,
    );
  }

  submit(program: GpuProgram, states: GpuStates, inputs: PackedInputs): Ticket {
    const turn = (states.steps++ % 2) as 0 | 1;
    const done = this.#start([states.copier, program], states, inputs, turn);
    const { buffer } = states.results[turn];
    return {
      done,
      readKept: async (index, from, _, values) => {
        const { kept } = program.plan!;
        const at = wordsOf(kept.slice(0, index)) + from * kept[index].x.shape[1];
        put(values, await this.memory.fetch([{ buffer, at: 4 * at, size: values.byteLength }]));
      },
      // The submit after the next one overwrites it.
      dropKept() {},
      cancel() {},
    };
  }

  /** Time by the device's own clock, where it tells: from the first call on, since asking costs. */
  readonly profile?: () => Promise<OpProfile[]>;

  arenaBytes(): number {
    return this.#arena.buffer.size;
  }

  workspaceBytes(steps: readonly { readonly plan: Plan }[]): number {
    return Math.max(this.#arena.buffer.size, ...steps.map(({ plan }) => plan.arenaBytes));
  }

  async room(): Promise<Room> {
    return { said: "WebGPU does not tell how much memory there is" };
  }

  async interrupt(): Promise<void> {
    this.#ended = new JambaError("DISPOSED", "webgpu: expected an open backend, found it disposed");
    if (!this.isOwn) return;
    this.gpu.destroy();
    await this.gpu.lost;
  }

  async dispose(): Promise<void> {
    for (const { buffer } of [this.#arena, this.#words]) buffer.destroy();
    this.#packer.release();
    this.memory.dispose();
  }

  /** For what has no size yet. */
  #place(): Place {
    return { buffer: this.memory.buffer(16) };
  }

  /** Puts a larger buffer in the place of one, which what was submitted may still use. */
  #replace(place: Place, buffer: GpuBuffer): void {
    place.buffer.destroy();
    place.buffer = buffer;
    this.#generation++;
  }

  /** With room for what grows a little each step. */
  #need(place: Place, bytes: number): void {
    if (bytes > place.buffer.size) this.#replace(place, this.memory.buffer(2 ** Math.ceil(Math.log2(bytes))));
  }

  /** One submit, and one map if anything is read. */
  async #start(programs: readonly GpuProgram[], states: GpuStates, inputs: PackedInputs, turn: 0 | 1): Promise<void> {
    const results = states.results[turn];
    const keptBytes = 4 * wordsOf(programs.at(-1)!.plan?.kept ?? []);
    const outputBytes = inputs.outputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const used = segmentsInUse(states, sequencesOf(inputs));
    const words = withSegments(stepWords(inputs), used.pages);
    const { value: read, found } = scoped(this.gpu, () => {
      this.#need(this.#words, words.byteLength);
      this.#need(results, keptBytes + outputBytes);
      this.memory.write(this.#words.buffer, 0, words);
      const encoder = this.gpu.createCommandEncoder();
      for (const pool of [states.slots, states.pages])
        for (const { from, to } of copiesBetween(pool, inputs.copies[pool.name as "slots" | "pages"]))
          encoder.copyBufferToBuffer(from.buffer, from.at, to.buffer, to.at, from.size);
      const passes = this.#profile?.isOn ? this.#profile.begin(encoder) : inOne(encoder);
      // Copies may be in any segment.
      const all = { slots: states.slots.segments, pages: states.pages.segments };
      for (const program of programs) this.#encode(passes, program, states, inputs, turn, program.plan ? used : all);
      const measured = passes.end();
      const staging = outputBytes > 0 ? this.memory.staging(outputBytes) : undefined;
      if (staging) encoder.copyBufferToBuffer(results.buffer, keptBytes, staging, 0, outputBytes);
      this.gpu.queue.submit([encoder.finish()]);
      const read = staging ? this.memory.map(staging, outputBytes) : this.memory.settle(this.gpu.queue.onSubmittedWorkDone());
      return Promise.all([read, measured?.()]);
    });
    const [bytes] = await read;
    expectNone(await found);
    let at = 0;
    for (const values of inputs.outputs) {
      if (bytes) put(values, bytes, at);
      at += values.byteLength;
    }
  }

  #encode(passes: Passes, program: GpuProgram, states: GpuStates, inputs: PackedInputs, turn: 0 | 1, used: SegmentsInUse): void {
    const own = { arena: this.#arena, step: this.#words, results: states.results[turn] };
    program.renew(`${this.#generation} ${states.generation}`);
    for (const [i, { groups, kernel, pool, op }] of program.calls.entries()) {
      const [x, y = 1, z = 1] = typeof groups === "function" ? groups(inputs) : groups;
      if (x * y * z === 0) continue;
      const pass = passes.next(op);
      pass.setPipeline(kernel.pipeline);
      for (const segment of pool ? used[pool] : [undefined]) {
        pass.setBindGroup(0, program.group(i, own, turn, segment));
        pass.dispatchWorkgroups(x, y, z);
      }
    }
  }
}

/** Behind the parts of a step, the first units of the first and the last segment of pages that it uses. */
function withSegments(words: Int32Array, segments: readonly Segment[]): Int32Array {
  const all = new Int32Array(words.length + 2);
  all.set(words);
  all[words.length] = segments[0]?.first ?? 0;
  all[words.length + 1] = segments.at(-1)?.first ?? 0;
  return all;
}

const none = new Int32Array(0);
const noInputs: PackedInputs = {
  ids: none,
  rows: none,
  starts: Int32Array.of(0),
  addresses: none,
  copies: { slots: none, pages: none },
  temperatures: new Float32Array(0),
  askedStarts: Int32Array.of(0),
  askedIds: none,
  tensors: [],
  outputs: [],
};

/** The same bits, whatever the type. */
function put({ buffer, byteOffset, byteLength }: Float32Array | Int32Array, from: Uint8Array, at = 0): void {
  new Uint8Array(buffer, byteOffset, byteLength).set(from.subarray(at, at + byteLength));
}
