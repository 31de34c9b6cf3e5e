// A plain driver for WebGPU: f32 storage, one kernel per op, nothing fused. A trial of the contract, not for users.

import {
  type Backend,
  BackendError,
  type DeviceInfo,
  type Driver,
  type DriverProgram,
  type DriverStates,
  type DriverWeight,
  decodeStored,
  type FloatDtype,
  type FusedCommand,
  JambaError,
  type LoweringTarget,
  lower,
  matrixOf,
  openDevice,
  type PackedCopies,
  type PackedInputs,
  type Plan,
  partBytes,
  roundFloats,
  ShapeError,
  type StateAddress,
  type StatePart,
  type StateSpec,
  type StoredDtype,
  stateBytes,
  statePartsOf,
  stepParts,
  stepWords,
  type Tensor,
  type Ticket,
  type Weight,
} from "@jamba/core";
import { type KernelName, kernels } from "./kernels.ts";
import { type Adapter, type Gpu, type GpuBuffer, type GpuDevice, type Limits, type Pipeline, usage } from "./webgpu.ts";

export interface TrialOptions {
  /** Bytes of a weight that one binding takes; what the adapter can if not given. Tests make it small. */
  readonly partBytes?: number;
}

export async function openTrial(gpu: Gpu, options?: TrialOptions): Promise<Backend> {
  return openDevice(await openDriver(gpu, options));
}

/** @throws BackendError where there is no adapter */
export async function openDriver(gpu: Gpu, { partBytes }: TrialOptions = {}): Promise<TrialDriver> {
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new BackendError("webgpu: expected an adapter, found none");
  const names = ["maxStorageBufferBindingSize", "maxBufferSize", "maxStorageBuffersPerShaderStage"] as const satisfies (keyof Limits)[];
  const gpuDevice = await adapter.requestDevice({ requiredLimits: Object.fromEntries(names.map((name) => [name, adapter.limits[name]])) });
  return new TrialDriver(adapter, gpuDevice, partBytes ?? gpuDevice.limits.maxStorageBufferBindingSize);
}

/** A buffer that may be replaced by a larger one: bind groups name it by this. */
interface Place {
  buffer: GpuBuffer;
}

interface Compiled {
  readonly compute: Pipeline;
  readonly layout: object;
}

/** A kernel with what it is given. How many groups run may depend on the step. */
interface Call {
  readonly kernel: KernelName;
  readonly pipeline: Compiled;
  readonly words: readonly number[];
  readonly places: readonly Place[];
  readonly groups: (inputs: PackedInputs) => readonly [x: number, y: number];
}

class TrialDriver implements Driver<TrialWeight, TrialStates, TrialProgram> {
  readonly device: DeviceInfo;
  readonly lowering: LoweringTarget;
  readonly lost: Promise<JambaError>;
  /** What WebGPU tells nobody else: faults of this file. */
  readonly faults: string[] = [];
  readonly #pipelines = new Map<KernelName, Promise<Compiled>>();
  readonly #arena: Place;
  readonly #words: Place;
  /** Counts replaced buffers. */
  #generation = 0;
  #ended?: JambaError;

  constructor(
    { info, features }: Adapter,
    readonly gpu: GpuDevice,
    readonly partBytes: number,
  ) {
    this.device = {
      kind: "webgpu",
      name: info.description || info.vendor,
      numerics: "trial-webgpu-1",
      features: [...features].sort(),
      threads: 1,
      weightDtypes: ["f32", "bf16", "f16"],
      kvDtypes: ["f32"],
      chunkTokens: 64,
      stateStep: { slots: 4, pages: 64 },
      interrupts: "steps",
    };
    this.lowering = { fuses: new Set(), alignBytes: 4, mostArenaBytes: gpu.limits.maxStorageBufferBindingSize, scratchWords };
    this.lost = new Promise((resolve) => {
      void gpu.lost.then(({ message }) => {
        if (!this.#ended) resolve(new JambaError("DEVICE_LOST", `webgpu: the device was lost: ${message}; open the backend again`));
      });
    });
    gpu.onuncapturederror = ({ error }) => this.faults.push(error.message);
    [this.#arena, this.#words] = [this.place(), this.place()];
  }

  weightBytes({ shape }: Weight): number {
    return 4 * shape.reduce((a, b) => a * b, 1);
  }

  async createWeight(weight: Weight): Promise<TrialWeight> {
    const { rows, columns } = matrixOf(weight.shape);
    const step = Math.max(1, Math.floor(this.partBytes / (4 * columns || 4)));
    const parts = Array.from({ length: Math.max(1, Math.ceil(rows / step)) }, (_, i) => ({
      firstRow: i * step,
      rows: Math.min(step, rows - i * step),
    }));
    const buffers = await this.allocate(
      weight.name,
      parts.map(({ rows }) => 4 * rows * columns),
    );
    return new TrialWeight(
      this,
      weight,
      parts.map((part, i) => ({ ...part, buffer: buffers[i] })),
    );
  }

  stateBytes(spec: StateSpec): { slot: number; page: number } {
    for (const layer of spec.layers) {
      if (layer.kind === "mamba" ? layer.dState > 32 || layer.dConv > 8 : layer.headDim > 256)
        throw new ShapeError(`states: expected dState <= 32, dConv <= 8, headDim <= 256, found ${JSON.stringify(layer)}`);
    }
    return stateBytes(spec);
  }

  async createStates(spec: StateSpec): Promise<TrialStates> {
    this.stateBytes(spec);
    const parts = statePartsOf(spec, spec.pageTokens).map((part) => ({
      ...part,
      sizeBytes: partBytes(part),
      paged: part.name === "k" || part.name === "v",
      ...this.place(),
    }));
    const pipeline = await this.#pipeline("copy");
    const calls = parts.flatMap((part): Call[] => {
      const words = part.sizeBytes / 4;
      const pairs = stepParts.indexOf(part.paged ? "pageCopies" : "slotCopies");
      const groups = ({ copies }: PackedInputs) => flat(((part.paged ? copies.pages : copies.slots).length / 2) * words);
      return words === 0 ? [] : [{ kernel: "copy", pipeline, words: [words, pairs], places: [part], groups }];
    });
    const states = new TrialStates(this, spec, parts);
    const noPlan = lower({ step: { L: 0, nSequences: 0, nRows: 0 }, states: spec, commands: [], lengths: [] }, this.lowering);
    states.copier = await this.#program(noPlan, calls, states);
    return states;
  }

  async copyStates(states: TrialStates, copies: PackedCopies): Promise<void> {
    await this.#start([states.copier], states, { ...noInputs, copies }, 0);
  }

  async compile(plan: Plan, states: TrialStates, weightOf: (weight: Weight) => TrialWeight): Promise<TrialProgram> {
    if (plan.arenaBytes > this.#arena.buffer.size) {
      const [buffer] = await this.allocate(`step of ${plan.step.L} tokens`, [plan.arenaBytes]);
      // Another list may have brought a larger one meanwhile.
      if (buffer.size > this.#arena.buffer.size) this.#replace(this.#arena, buffer);
      else buffer.destroy();
    }
    const planned = callsOf(plan, { states, weightOf, none: this.#words });
    const pipelines = await Promise.all(planned.map(({ kernel }) => this.#pipeline(kernel)));
    const calls = planned.map((call, i) => ({ ...call, pipeline: pipelines[i] }));
    return this.#program(plan, calls, states);
  }

  submit(program: TrialProgram, states: TrialStates, inputs: PackedInputs): Ticket {
    const turn = (states.steps++ % 2) as 0 | 1;
    const done = this.#start([states.copier, program], states, inputs, turn);
    const { buffer } = states.results[turn];
    return {
      done,
      readKept: async (index, from, _, values) => {
        const { kept } = program.plan;
        const at = wordsOf(kept.slice(0, index)) + from * kept[index].x.shape[1];
        put(values, await this.fetch([{ buffer, at: 4 * at, size: values.byteLength }]));
      },
      // The submit after the next one overwrites it.
      dropKept() {},
      cancel() {},
    };
  }

  arenaBytes(): number {
    return this.#arena.buffer.size;
  }

  workspaceBytes(steps: readonly { readonly plan: Plan }[]): number {
    return Math.max(this.#arena.buffer.size, ...steps.map(({ plan }) => plan.arenaBytes));
  }

  async room() {
    return { said: "WebGPU does not tell how much memory there is" };
  }

  async interrupt(): Promise<void> {
    this.#ended = new JambaError("DISPOSED", "webgpu: expected an open backend, found it disposed");
    this.gpu.destroy();
    await this.gpu.lost;
  }

  async dispose(): Promise<void> {}

  /** @throws JambaError OUT_OF_MEMORY, with nothing allocated */
  async allocate(what: string, sizes: readonly number[]): Promise<GpuBuffer[]> {
    const { buffers, found } = this.#scoped(() => ({ buffers: sizes.map((size) => this.#buffer(size)) }));
    const error = await found;
    if (!error) return buffers;
    for (const buffer of buffers) buffer.destroy();
    const bytes = sizes.reduce((a, b) => a + b, 0);
    throw new JambaError("OUT_OF_MEMORY", `${what}: expected room for ${bytes} bytes, found: ${error.message}`, { cause: error });
  }

  /** Copies of ranges of buffers, as they are after what was submitted before. */
  async fetch(ranges: readonly { buffer: GpuBuffer; at: number; size: number }[]): Promise<ArrayBuffer> {
    const size = ranges.reduce((sum, range) => sum + range.size, 0);
    if (size === 0) return new ArrayBuffer(0);
    const { staging, found } = this.#scoped(() => {
      const staging = this.#buffer(size, usage.mapRead | usage.copyDst);
      const encoder = this.gpu.createCommandEncoder();
      let to = 0;
      for (const { buffer, at, size } of ranges) {
        encoder.copyBufferToBuffer(buffer, at, staging, to, size);
        to += size;
      }
      this.gpu.queue.submit([encoder.finish()]);
      return { staging };
    });
    const data = await this.#map(staging, size);
    expectNone(await found);
    return data;
  }

  /** For what has no size yet. */
  place(): Place {
    return { buffer: this.#buffer(16) };
  }

  #buffer(size: number, bits: number = usage.storage | usage.copyDst | usage.copySrc): GpuBuffer {
    return this.gpu.createBuffer({ size: Math.max(16, size), usage: bits });
  }

  /** Puts a larger buffer in the place of one, which what was submitted may still use. */
  #replace(place: Place, buffer: GpuBuffer): void {
    place.buffer.destroy();
    place.buffer = buffer;
    this.#generation++;
  }

  /** With room for what grows a little each step. */
  #need(place: Place, bytes: number): void {
    if (bytes > place.buffer.size) this.#replace(place, this.#buffer(2 ** Math.ceil(Math.log2(bytes))));
  }

  /** What WebGPU found wrong in `work`, which it tells later. */
  #scoped<T extends object>(work: () => T): T & { readonly found: Promise<Error | null> } {
    for (const filter of ["validation", "out-of-memory"] as const) this.gpu.pushErrorScope(filter);
    const result = work();
    const errors = Promise.all([this.gpu.popErrorScope(), this.gpu.popErrorScope()]);
    return { ...result, found: errors.then((found) => found.find((error) => error) ?? null) };
  }

  #pipeline(name: KernelName): Promise<Compiled> {
    const known = this.#pipelines.get(name);
    if (known) return known;
    const { built, found } = this.#scoped(() => {
      const module = this.gpu.createShaderModule({ label: name, code: kernels[name].code });
      return { built: this.gpu.createComputePipelineAsync({ label: name, layout: "auto", compute: { module } }) };
    });
    const pipeline = Promise.all([built, found]).then(
      ([compute]) => ({ compute, layout: compute.getBindGroupLayout(0) }),
      async (cause) => {
        throw new BackendError(`webgpu: ${name}: expected a kernel that compiles, found: ${(await found)?.message ?? cause}`, { cause });
      },
    );
    this.#pipelines.set(name, pipeline);
    return pipeline;
  }

  async #program(plan: Plan, calls: readonly Call[], states: TrialStates): Promise<TrialProgram> {
    const { program, found } = this.#scoped(() => {
      const params = this.#buffer(calls.length * paramBytes, usage.uniform | usage.copyDst);
      const words = new Uint32Array((calls.length * paramBytes) / 4);
      for (const [i, call] of calls.entries()) words.set(call.words, (i * paramBytes) / 4);
      this.gpu.queue.writeBuffer(params, 0, words);
      const program: TrialProgram = { plan, calls, params, release: () => params.destroy() };
      this.#bind(program, states);
      return { program };
    });
    expectNone(await found);
    return program;
  }

  /** Bind groups of a program by turn, made again when a buffer was replaced. */
  #bind(program: TrialProgram, states: TrialStates): NonNullable<TrialProgram["bound"]>["groups"] {
    const version = `${this.#generation} ${states.generation}`;
    if (program.bound?.version === version) return program.bound.groups;
    const groups = program.calls.map(({ kernel, pipeline: { layout }, places }, i) => {
      const { bindings } = kernels[kernel];
      const groupOf = (results: Place) => {
        const rest = [...places];
        const own: Record<string, Place> = { a: this.#arena, s: this.#words, o: results };
        const entries = Array.from(bindings, (kind, binding) => {
          if (kind === "p") return { binding, resource: { buffer: program.params, offset: i * paramBytes, size: 128 } };
          return { binding, resource: { buffer: (own[kind] ?? rest.shift()!).buffer } };
        });
        return this.gpu.createBindGroup({ layout, entries });
      };
      const first = groupOf(states.results[0]);
      return [first, bindings.includes("o") ? groupOf(states.results[1]) : first] as const;
    });
    program.bound = { version, groups };
    return groups;
  }

  /** One submit, and one map if anything is read. */
  async #start(programs: readonly TrialProgram[], states: TrialStates, inputs: PackedInputs, turn: 0 | 1): Promise<void> {
    const results = states.results[turn];
    const keptBytes = 4 * wordsOf(programs.at(-1)!.plan.kept);
    const outputBytes = inputs.outputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const words = stepWords(inputs);
    const { staging, found } = this.#scoped(() => {
      this.#need(this.#words, words.byteLength);
      this.#need(results, keptBytes + outputBytes);
      this.gpu.queue.writeBuffer(this.#words.buffer, 0, words);
      const encoder = this.gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const program of programs) {
        const groups = this.#bind(program, states);
        for (const [i, call] of program.calls.entries()) {
          const [x, y] = call.groups(inputs);
          if (x * y === 0) continue;
          pass.setPipeline(call.pipeline.compute);
          pass.setBindGroup(0, groups[i][turn]);
          pass.dispatchWorkgroups(x, y);
        }
      }
      pass.end();
      const staging = outputBytes > 0 ? this.#buffer(outputBytes, usage.mapRead | usage.copyDst) : undefined;
      if (staging) encoder.copyBufferToBuffer(results.buffer, keptBytes, staging, 0, outputBytes);
      this.gpu.queue.submit([encoder.finish()]);
      return { staging };
    });
    const read = staging ? await this.#map(staging, outputBytes) : await this.#settle(this.gpu.queue.onSubmittedWorkDone());
    expectNone(await found);
    let at = 0;
    for (const values of inputs.outputs) {
      put(values, read as ArrayBuffer, at);
      at += values.byteLength;
    }
  }

  async #map(staging: GpuBuffer, size: number): Promise<ArrayBuffer> {
    await this.#settle(staging.mapAsync(1));
    const data = staging.getMappedRange().slice(0, size);
    staging.destroy();
    return data;
  }

  /** A device that ends lets maps fail, and the rest succeed. */
  async #settle(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (cause) {
      throw this.#ended ?? failure(cause);
    }
    if (this.#ended) throw this.#ended;
  }
}

const failure = (cause: unknown) => new BackendError(`webgpu: the device failed: ${(cause as Error).message}`, { cause });

function expectNone(error: Error | null): void {
  if (error) throw failure(error);
}

/** What parameters lie apart by: WebGPU's limit for offsets of uniforms. */
const paramBytes = 256;

class TrialWeight implements DriverWeight {
  constructor(
    readonly driver: TrialDriver,
    readonly weight: Weight,
    readonly parts: readonly (Place & { readonly firstRow: number; readonly rows: number })[],
  ) {}

  get sizeBytes(): number {
    return this.driver.weightBytes(this.weight);
  }

  async pack(from: number, to: number, bytes: Uint8Array, stored: StoredDtype): Promise<void> {
    const { dtype, shape } = this.weight;
    const { columns } = matrixOf(shape);
    const values = decodeStored(bytes, stored);
    if (dtype !== stored) roundFloats(values, dtype as FloatDtype);
    for (const { buffer, firstRow, rows } of this.parts) {
      const [first, end] = [Math.max(from, firstRow), Math.min(to, firstRow + rows)];
      if (first < end)
        this.driver.gpu.queue.writeBuffer(
          buffer,
          4 * (first - firstRow) * columns,
          values.subarray((first - from) * columns, (end - from) * columns),
        );
    }
  }

  release(): void {
    for (const { buffer } of this.parts) buffer.destroy();
  }
}

interface StateBuffer extends Place, Omit<StatePart, "bytes"> {
  /** Bytes of one slot or page. */
  readonly sizeBytes: number;
  readonly paged: boolean;
}

/** One buffer per part of each layer, with all slots or pages: growth copies it. */
class TrialStates implements DriverStates {
  nSlots = 0;
  nPages = 0;
  generation = 0;
  steps = 0;
  /** Of the last two steps: what they keep, then what they read. */
  readonly results: readonly [Place, Place];
  /** Does the copies of a step. */
  copier!: TrialProgram;
  #released = false;

  constructor(
    readonly driver: TrialDriver,
    readonly spec: StateSpec,
    readonly parts: readonly StateBuffer[],
  ) {
    this.results = [driver.place(), driver.place()];
  }

  get sizeBytes(): number {
    const { slot, page } = stateBytes(this.spec);
    return this.nSlots * slot + this.nPages * page;
  }

  async reserve(nSlots: number, nPages: number): Promise<void> {
    [nSlots, nPages] = [Math.max(nSlots, this.nSlots), Math.max(nPages, this.nPages)];
    const growing = this.parts.filter(({ paged }) => (paged ? nPages > this.nPages : nSlots > this.nSlots));
    const sizes = growing.map(({ paged, sizeBytes }) => sizeBytes * (paged ? nPages : nSlots));
    const { maxStorageBufferBindingSize: most } = this.driver.gpu.limits;
    if (sizes.some((size) => size > most))
      throw new JambaError("OUT_OF_MEMORY", `states: expected at most ${most} bytes of one layer, found ${Math.max(...sizes)}`);
    const buffers = await this.driver.allocate("states", sizes);
    const encoder = this.driver.gpu.createCommandEncoder();
    for (const [i, part] of growing.entries()) {
      const held = part.sizeBytes * (part.paged ? this.nPages : this.nSlots);
      if (held > 0 && !this.#released) encoder.copyBufferToBuffer(part.buffer, 0, buffers[i], 0, held);
    }
    this.driver.gpu.queue.submit([encoder.finish()]);
    for (const [i, part] of growing.entries()) {
      part.buffer.destroy();
      part.buffer = buffers[i];
    }
    [this.nSlots, this.nPages] = [nSlots, nPages];
    this.generation++;
    if (this.#released) this.release();
  }

  /** Smaller buffers could fail, and a caller that does not wait would not hear of it. */
  shrink(): void {}

  async readPart(address: StateAddress, part: Omit<StatePart, "bytes">): Promise<Uint8Array> {
    if (address.seen === 0) return new Uint8Array(partBytes(part));
    return new Uint8Array(await this.driver.fetch(this.#ranges(address, part)));
  }

  async writePart(address: StateAddress, { bytes, ...part }: StatePart): Promise<void> {
    let from = 0;
    for (const { buffer, at, size } of this.#ranges(address, part)) {
      if (size > 0) this.driver.gpu.queue.writeBuffer(buffer, at, bytes, from, size);
      from += size;
    }
  }

  release(): void {
    this.#released = true;
    for (const { buffer } of [...this.parts, ...this.results]) buffer.destroy();
    this.copier.release();
    this.nSlots = this.nPages = 0;
  }

  /** Where the bytes of a part lie, in its order: of keys and values each head's run in each page. */
  #ranges({ slot, pages, seen }: StateAddress, { layer, name, shape }: Omit<StatePart, "bytes">) {
    const { buffer, sizeBytes, paged } = this.parts.find((part) => part.layer === layer && part.name === name)!;
    if (!paged) return [{ buffer, at: slot * sizeBytes, size: sizeBytes }];
    const { pageTokens } = this.spec;
    const [nKvHeads, , headDim] = shape;
    return Array.from({ length: nKvHeads * Math.ceil(seen / pageTokens) }, (_, i) => {
      const [page, head] = [i % Math.ceil(seen / pageTokens), Math.floor(i / Math.ceil(seen / pageTokens))];
      const at = pages[page] * sizeBytes + 4 * head * pageTokens * headDim;
      return { buffer, at, size: 4 * headDim * Math.min(pageTokens, seen - page * pageTokens) };
    });
  }
}

interface TrialProgram extends DriverProgram {
  readonly plan: Plan;
  readonly calls: readonly Call[];
  readonly params: GpuBuffer;
  bound?: { readonly version: string; readonly groups: readonly (readonly [object, object])[] };
}

const sizeOf = ({ shape }: Tensor) => shape[0] * shape[1];

/** Of kept values, which lie one after another. */
const wordsOf = (kept: Plan["kept"]) => kept.reduce((sum, { x }) => sum + sizeOf(x), 0);

/** Words that a command works in beside its operands. */
function scratchWords(command: FusedCommand): number {
  if (command.op === "top") return 2 * command.k * command.logits.shape[0];
  return command.op === "experts" ? sizeOf(command.routes.experts) * command.gateProj.shape[1] : 0;
}

function flat(n: number): [x: number, y: number] {
  const groups = Math.ceil(n / 64);
  const y = Math.ceil(groups / 65535); // the most that one axis takes
  return [Math.ceil(groups / Math.max(1, y)), y];
}

interface Compiling {
  readonly states: TrialStates;
  readonly weightOf: (weight: Weight) => TrialWeight;
  /** Bound where there is no bias. */
  readonly none: Place;
}

function callsOf(plan: Plan, { states, weightOf, none }: Compiling): Omit<Call, "pipeline">[] {
  const calls: Omit<Call, "pipeline">[] = [];
  const at = (t: Tensor) => plan.buffers[t.buffer].offset + t.offset;
  const view = (t: Tensor) => [at(t), t.rowStride];
  const add = (kernel: KernelName, [x, y]: readonly [number, number], words: readonly number[], ...places: Place[]) =>
    calls.push({ kernel, words, places, groups: () => [x, y] });
  /** A weight that no kernel takes in parts. */
  const whole = (weight: Weight | undefined): Place => {
    const parts = weight ? weightOf(weight).parts : [none];
    if (parts.length > 1) throw new JambaError("OUT_OF_MEMORY", `${weight!.name}: expected a weight that one binding holds`);
    return parts[0];
  };
  const state = (layer: number, name: string) => states.parts.find((part) => part.layer === layer && part.name === name)!;
  const { L, nSequences, nRows } = plan.step;
  const kept = wordsOf(plan.kept);
  let [nInputs, nOutputs, keptAt] = [0, 0, 0];
  for (const [index, c] of plan.commands.entries()) {
    const scratch = plan.scratch[index].offset;
    switch (c.op) {
      case "input":
        add("input", flat(sizeOf(c.out)), [sizeOf(c.out), at(c.out), nInputs++]);
        break;
      case "read":
        add("read", flat(sizeOf(c.x)), [...c.x.shape, kept, ...view(c.x), nOutputs++]);
        break;
      case "keep":
        add("keep", flat(sizeOf(c.x)), [...c.x.shape, keptAt, ...view(c.x)]);
        keptAt += sizeOf(c.x);
        break;
      case "top": {
        const to = [at(c.ids), at(c.values), at(c.sums), scratch];
        add("top", [nRows, 1], [c.logits.shape[1], c.k, ...view(c.logits), ...to, 0xff800000, 0xffffffff]);
        const groups = ({ askedIds }: PackedInputs) => flat(askedIds.length);
        calls.push({ kernel: "asked", words: [...view(c.logits), kept, nOutputs++], places: [], groups });
        break;
      }
      case "embed":
        for (const part of weightOf(c.table).parts)
          add("embed", flat(sizeOf(c.out)), [...c.out.shape, at(c.out), part.firstRow, part.rows], part);
        break;
      case "gatherRows":
        add("gatherRows", flat(sizeOf(c.out)), [...c.out.shape, at(c.out), ...view(c.x)]);
        break;
      case "rmsNorm":
        add("rmsNorm", [c.x.shape[0], 1], [c.x.shape[1], at(c.out), ...view(c.x), bits(c.eps)], whole(c.weight));
        break;
      case "matmul":
        for (const [i, weight] of c.weights.entries()) {
          const words = [...view(c.outs[i]), ...view(c.x), c.x.shape[1], +c.accumulate, +!!c.bias];
          for (const part of weightOf(weight).parts)
            add("matmul", [Math.ceil(part.rows / 64), c.x.shape[0]], [...words, part.firstRow, part.rows], part, whole(c.bias));
        }
        break;
      case "swiglu":
        add("swiglu", flat(sizeOf(c.out)), [...c.out.shape, at(c.out), ...view(c.gate), ...view(c.up)]);
        break;
      case "causalConv": {
        const [dInner, dConv] = c.weight.shape;
        const words = [nSequences, dInner, at(c.out), ...view(c.x), dConv, +!!c.bias];
        add("causalConv", flat(nSequences * dInner), words, whole(c.weight), whole(c.bias), state(c.layer, "conv"));
        break;
      }
      case "selectiveScan": {
        const [dInner, dState] = c.A.shape;
        const words = [nSequences, dInner, at(c.out), dState, ...[c.x, c.z, c.dt, c.B, c.C].flatMap(view)];
        add("selectiveScan", flat(nSequences * dInner), words, whole(c.A), whole(c.D), whole(c.dtBias), state(c.layer, "h"));
        break;
      }
      case "attention": {
        const [k, v] = [state(c.layer, "k"), state(c.layer, "v")];
        const [nKvHeads, pageTokens, headDim] = k.shape;
        const nHeads = c.q.shape[1] / headDim;
        add("append", flat(sizeOf(c.k)), [...c.k.shape, headDim, nKvHeads, pageTokens, ...view(c.k), ...view(c.v)], k, v);
        const words = [L, nHeads, headDim, nKvHeads, pageTokens, ...view(c.q), ...view(c.out), bits(1 / Math.sqrt(headDim))];
        add("attention", [nHeads, L], words, k, v);
        break;
      }
      case "route":
        add("route", flat(c.logits.shape[0]), [...c.logits.shape, at(c.experts), c.experts.shape[1], ...view(c.logits), at(c.weights)]);
        break;
      case "experts": {
        const [, dFf, dModel] = c.gateProj.shape;
        const { experts, weights } = c.routes;
        const [tokens, nActive] = experts.shape;
        for (const [i, { firstRow, rows, ...gate }] of weightOf(c.gateProj).parts.entries()) {
          const words = [dFf, dModel, nActive, ...view(experts), firstRow, rows, ...view(c.x), scratch];
          add("expertsUp", [Math.ceil(dFf / 64), tokens * nActive], words, gate, weightOf(c.upProj).parts[i]);
        }
        for (const [i, { firstRow, rows, ...down }] of weightOf(c.downProj).parts.entries()) {
          const words = [dModel, dFf, nActive, ...view(experts), firstRow, rows, scratch, ...view(weights), ...view(c.out)];
          add("expertsDown", [Math.ceil(dModel / 64), tokens], [...words, +(c.accumulate || i > 0)], down);
        }
        break;
      }
    }
  }
  return calls;
}

const bits = (v: number) => new Uint32Array(Float32Array.of(v).buffer)[0];

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
function put({ buffer, byteOffset, byteLength }: Float32Array | Int32Array, from: ArrayBuffer, at = 0): void {
  new Uint8Array(buffer, byteOffset, byteLength).set(new Uint8Array(from, at, byteLength));
}
