// Jamba on WebGPU: weights, states and steps on one device. Kernels stand in kernels/, one file an op.

import {
  type DeviceInfo,
  type Driver,
  JambaError,
  type LoweringTarget,
  noInputs,
  type OpProfile,
  type PackedCopies,
  type PackedInputs,
  type Plan,
  type Room,
  type StateSpec,
  sequencesOf,
  stateLayout,
  stepWords,
  type Ticket,
  type Weight,
  wordsOf,
} from "@jamba/core";
import { callsOf, copyCalls, scratchWords } from "./calls.ts";
import type { Products } from "./calls-matrix.ts";
import { GpuTensors } from "./device-tensors.ts";
import type { GpuBuffer, GpuDevice } from "./gpu.ts";
import { GpuMemory, type Place } from "./gpu-memory.ts";
import { Kernels } from "./kernels.ts";
import { Pace, type Rate } from "./pace.ts";
import { Packer } from "./pack.ts";
import { inOne, Profile } from "./profile.ts";
import { GpuProgram } from "./program.ts";
import { expectNone, scoped } from "./scoped.ts";
import { copiesBetween, GpuStates, type Segment, type SegmentsInUse, segmentsInUse } from "./states.ts";
import { GpuWeight } from "./weights.ts";

export class WebGpuDriver implements Driver<GpuWeight, GpuStates, GpuProgram> {
  readonly device: DeviceInfo;
  readonly lowering: LoweringTarget;
  readonly lost: Promise<JambaError>;
  readonly memory: GpuMemory;
  readonly deviceTensors: GpuTensors;
  readonly kernels: Kernels;
  /** What steps work in. */
  readonly arena: Place;
  /** The integers of a step. */
  readonly words: Place;
  readonly #packer: Packer;
  readonly #profile?: Profile;
  readonly #pace = new Pace();
  /** Of the last steps of few and of many tokens. */
  readonly #rates: Record<"few" | "many", Rate> = { few: {}, many: {} };
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
    this.deviceTensors = new GpuTensors(this.memory, gpu.limits.maxStorageBufferBindingSize);
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
    [this.arena, this.words] = [this.#place(), this.#place()];
    if (!gpu.features.has("timestamp-query")) return;
    const profile = new Profile(gpu, this.memory);
    this.#profile = profile;
    this.profile = async () => profile.take();
  }

  weightBytes(weight: Weight): number {
    return GpuWeight.sizeOf(weight, this.memory);
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
    await this.#start({ programs: [states.copier], states, inputs: { ...noInputs, copies }, turn: 0, isWanted: () => true });
  }

  async compile(plan: Plan, states: GpuStates, weightOf: (weight: Weight) => GpuWeight): Promise<GpuProgram> {
    if (plan.arenaBytes > this.arena.buffer.size) {
      const [buffer] = await this.memory.allocate(`step of ${plan.step.L} tokens`, [plan.arenaBytes]);
      // Not in the middle of a step, and another list may have brought a larger one meanwhile.
      await this.memory.turns.take(async () => {
        if (buffer.size > this.arena.buffer.size) this.#replace(this.arena, buffer);
        else buffer.destroy();
      });
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
    let isWanted = true;
    const done = this.#start({ programs: [states.copier, program], states, inputs, turn, isWanted: () => isWanted });
    return {
      done,
      readKept: async (index, from, _, values) => {
        const { kept } = program.plan!;
        const at = wordsOf(kept.slice(0, index)) + from * kept[index].x.shape[1];
        put(values, await this.memory.fetch(() => [{ buffer: states.results[turn].buffer, at: 4 * at, size: values.byteLength }]));
      },
      copyOut: ({ of, index }, first, like) => {
        const { kept } = program.plan!;
        const outputsBefore = inputs.outputs.slice(0, index).reduce((sum, { length }) => sum + length, 0);
        const at = 4 * (first + (of === "kept" ? wordsOf(kept.slice(0, index)) : wordsOf(kept) + outputsBefore));
        const size = 4 * like.dims.reduce((a, b) => a * b, 1);
        return this.deviceTensors.of(() => [{ buffer: states.results[turn].buffer, at, size }], like);
      },
      // The submit after the next one overwrites it.
      dropKept() {},
      cancel() {
        isWanted = false;
      },
    };
  }

  /** Time by the device's own clock, where it tells: from the first call on, since asking costs. */
  readonly profile?: () => Promise<OpProfile[]>;

  arenaBytes(): number {
    return this.arena.buffer.size;
  }

  workspaceBytes(steps: readonly { readonly plan: Plan }[]): number {
    return Math.max(this.arena.buffer.size, ...steps.map(({ plan }) => plan.arenaBytes));
  }

  async room(): Promise<Room> {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.gpu.limits;
    const [buffer, binding] = [maxBufferSize, maxStorageBufferBindingSize].map((bytes) => `${Math.floor(bytes / 2 ** 20)} MiB`);
    return {
      said: `WebGPU does not tell how much memory there is, only that a buffer has at most ${buffer} and a step works in ${binding}`,
    };
  }

  async interrupt(): Promise<void> {
    this.#ended = new JambaError("DISPOSED", "webgpu: expected an open backend, found it disposed");
    if (!this.isOwn) return;
    this.gpu.destroy();
    await this.gpu.lost;
  }

  async dispose(): Promise<void> {
    // Whoever still waits for a turn hears that the device has ended.
    await this.memory.turns.take(async () => undefined);
    for (const { buffer } of [this.arena, this.words]) buffer.destroy();
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

  /**
   * With room for what grows a little each step.
   * @throws JambaError OUT_OF_MEMORY for more than a binding holds, with nothing changed
   */
  #need(place: Place, bytes: number): void {
    const { mostArenaBytes } = this.lowering;
    if (bytes > mostArenaBytes)
      throw new JambaError(
        "OUT_OF_MEMORY",
        `step: expected at most ${mostArenaBytes} bytes to keep and to read, found ${bytes}; read fewer tokens at a time`,
      );
    if (bytes > place.buffer.size) this.#replace(place, this.memory.buffer(Math.min(mostArenaBytes, 2 ** Math.ceil(Math.log2(bytes)))));
  }

  /** One submit, or several of a long step; and one map if anything is read. */
  async #start(asked: Asked): Promise<void> {
    const { programs, states, inputs } = asked;
    // The states may grow or shrink before its turn comes.
    const step: Started = {
      ...asked,
      used: segmentsInUse(states, sequencesOf(inputs)),
      all: { slots: [...states.slots.segments], pages: [...states.pages.segments] },
      between: [states.slots, states.pages].flatMap((pool) => copiesBetween(pool, inputs.copies[pool.name as "slots" | "pages"])),
    };
    const submit = () => this.memory.turns.take(() => this.#submitAll(step));
    const { pieces, found } = await programs.reduce((work, program) => () => program.use(work), submit)();
    const ended = await Promise.all(pieces);
    for (const error of found) expectNone(await error);
    const bytes = ended.at(-1)?.[0];
    let at = 0;
    for (const values of inputs.outputs) {
      if (bytes) put(values, bytes, at);
      at += values.byteLength;
    }
  }

  /** @throws an error if nobody wants the step any more: what was submitted of it runs to its end */
  async #submitAll(step: Started): Promise<Submitted> {
    const dispatches = step.programs.flatMap((program) => dispatchesOf(program, step.inputs));
    const works = dispatches.map(({ work }) => work);
    const { rate: known, plan } = step.programs.at(-1)!;
    const like = this.#rates[plan && plan.step.L > 8 ? "many" : "few"];
    const rates = [known, like];
    const isShort = () => this.#pace.isShort(sumOf(works), known.ms ? known : like);
    // Of a first step of few tokens nothing is known, and most devices are quick.
    const isWhole = (like === this.#rates.few && !like.ms) || isShort();
    const submitted: Submitted = { pieces: [], found: [] };
    for (let at = 0; at < dispatches.length || at === 0; ) {
      if (!isWhole) await this.#pace.room();
      if (this.#ended) throw this.#ended;
      if (!step.isWanted()) throw new Error("webgpu: expected a step that is wanted, found it cancelled");
      const end = isWhole ? dispatches.length : this.#pace.endOf(works, at, known.ms ? known : like);
      const work = sumOf(works.slice(at, end));
      const { value: piece, found } = scoped(this.gpu, () => this.#submitPiece(step, dispatches, at, end));
      this.#pace.add(piece, work, rates);
      piece.catch(() => undefined); // whoever waits for the step hears of it
      submitted.pieces.push(piece);
      submitted.found.push(found);
      if (end === at) break;
      at = end;
    }
    return submitted;
  }

  /** Dispatches [from, to) of a step: before the first one its inputs, after the last one what it gives. */
  #submitPiece(
    { programs, states, inputs, turn, used, all, between }: Started,
    dispatches: readonly Dispatch[],
    from: number,
    to: number,
  ): Piece {
    const results = states.results[turn];
    const keptBytes = 4 * wordsOf(programs.at(-1)!.plan?.kept ?? []);
    const outputBytes = inputs.outputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const encoder = this.gpu.createCommandEncoder();
    if (from === 0) {
      const words = withSegments(stepWords(inputs), used.pages);
      this.#need(this.words, words.byteLength);
      this.#need(results, keptBytes + outputBytes);
      this.memory.write(this.words.buffer, 0, words);
      for (const { from, to } of between) encoder.copyBufferToBuffer(from.buffer, from.at, to.buffer, to.at, from.size);
      for (const program of programs) program.renew(`${this.#generation} ${states.generation}`);
    }
    const own = { arena: this.arena, step: this.words, results };
    const passes = this.#profile?.isOn ? this.#profile.begin(encoder) : inOne(encoder);
    for (let i = from; i < to; i++) {
      const { program, index, groups } = dispatches[i];
      const { kernel, pool, op, tensor } = program.calls[index];
      const lent = tensor === undefined ? undefined : (inputs.buffers?.get(tensor) as GpuBuffer | undefined);
      const pass = passes.next(op);
      pass.setPipeline(kernel.pipeline);
      // Copies may be in any segment.
      for (const segment of pool ? (program.plan ? used : all)[pool] : [undefined]) {
        pass.setBindGroup(0, program.group(index, own, turn, segment, lent));
        pass.dispatchWorkgroups(...groups);
      }
    }
    const measured = passes.end();
    const staging = to === dispatches.length && outputBytes > 0 ? this.memory.staging(outputBytes) : undefined;
    if (staging) encoder.copyBufferToBuffer(results.buffer, keptBytes, staging, 0, outputBytes);
    this.gpu.queue.submit([encoder.finish()]);
    const over = () => this.memory.settle(this.gpu.queue.onSubmittedWorkDone()).then(() => undefined);
    const ended = staging ? this.memory.map(staging, outputBytes) : over();
    return Promise.all([ended, measured?.()]);
  }
}

/** A step as it is asked for. */
interface Asked {
  readonly programs: readonly GpuProgram[];
  readonly states: GpuStates;
  readonly inputs: PackedInputs;
  readonly turn: 0 | 1;
  readonly isWanted: () => boolean;
}

/** With what the states were then. */
interface Started extends Asked {
  readonly used: SegmentsInUse;
  readonly all: SegmentsInUse;
  readonly between: ReturnType<typeof copiesBetween>;
}

/** What a piece gives in the end, if it is the last one and anything is read. */
type Piece = Promise<[Uint8Array | undefined, unknown]>;

interface Submitted {
  readonly pieces: Piece[];
  readonly found: Promise<Error | null>[];
}

interface Dispatch {
  readonly program: GpuProgram;
  readonly index: number;
  readonly groups: readonly [x: number, y: number, z: number];
  /** Groups of threads. */
  readonly work: number;
}

/** What a program does for these inputs: calls that have nothing to do are left out. */
function dispatchesOf(program: GpuProgram, inputs: PackedInputs): Dispatch[] {
  const dispatches: Dispatch[] = [];
  for (const [index, call] of program.calls.entries()) {
    const [x, y = 1, z = 1] = typeof call.groups === "function" ? call.groups(inputs) : call.groups;
    const work = x * y * z;
    if (work > 0) dispatches.push({ program, index, groups: [x, y, z], work });
  }
  return dispatches;
}

const sumOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Behind the parts of a step, the first units of the first and the last segment of pages that it uses. */
function withSegments(words: Int32Array, segments: readonly Segment[]): Int32Array {
  const all = new Int32Array(words.length + 2);
  all.set(words);
  all[words.length] = segments[0]?.first ?? 0;
  all[words.length + 1] = segments.at(-1)?.first ?? 0;
  return all;
}

/** The same bits, whatever the type. */
function put({ buffer, byteOffset, byteLength }: Float32Array | Int32Array, from: Uint8Array, at = 0): void {
  new Uint8Array(buffer, byteOffset, byteLength).set(from.subarray(at, at + byteLength));
}
