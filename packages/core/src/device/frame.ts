// The half of a backend that is the same for every device: checks, ownership, order, programs, weights from sources, accounting, the end.

import type { Tensor as HostTensor } from "onnxruntime-common";
import { type BlockDtype, blockFormats, isBlockDtype, storedBytes, storedDtypes } from "../blocks.ts";
import { type CommandList, weightsOf } from "../command.ts";
import type { WeightDtype } from "../dtype.ts";
import { BackendError, DtypeError, JambaError, LoadError, ShapeError } from "../errors.ts";
import { lower } from "../lower/lower.ts";
import type {
  Backend,
  DeviceInfo,
  DeviceTensors,
  MemoryUse,
  PackedSource,
  PackedWeights,
  PlannedStep,
  Program,
  Room,
  Step,
  StepInputs,
  SubmitOptions,
} from "./backend.ts";
import { checkAddress, checkCopies, checkInputs, expectCount } from "./checks.ts";
import type { Driver, DriverTensors, DriverWeight } from "./driver.ts";
import { allocate, type Guard, HeldProgram, HeldStates, HeldStep, HeldWeight } from "./held.ts";
import { readParts, writeParts } from "./move-state.ts";
import { packCopies, packInputs } from "./pack-inputs.ts";
import { readInto, steady } from "./read-weight.ts";
import type { StateAddress, StateCopies, StatePart, StateSpec, StateStore } from "./state.ts";
import { matrixOf, type Weight, type WeightSource } from "./weight.ts";

/** A backend on top of a device. */
export function openDevice(driver: Driver): Backend {
  return new Device(driver);
}

/** Bytes that are read at once from a packed weight that can't be mapped. */
const packedPieceBytes = 4 * 2 ** 20;

class Device implements Backend {
  readonly device: DeviceInfo;
  readonly lost: Promise<JambaError>;
  readonly packed?: PackedWeights;
  readonly encodeBlocks?: Backend["encodeBlocks"];
  readonly profile?: Backend["profile"];
  readonly deviceTensors?: DeviceTensors;
  readonly #driver: Driver;
  readonly #weights = new Set<HeldWeight>();
  readonly #stores = new Set<HeldStates>();
  readonly #programs = new Set<HeldProgram>();
  readonly #guard: Guard = { expectAlive: () => this.#alive(), wait: (work) => this.#wait(work) };
  /** Who waits for the device: told when it is lost. */
  readonly #waiting = new Set<(reason: JambaError) => void>();
  #gone?: JambaError;
  #disposed?: Promise<void>;

  constructor(driver: Driver) {
    this.#driver = driver;
    this.device = driver.device;
    const { packed, profile, deviceTensors } = driver;
    this.lost = driver.lost ?? new Promise(() => undefined);
    void driver.lost?.then((reason) => {
      this.#gone = reason;
      for (const tell of this.#waiting) tell(reason);
    });
    if (packed) {
      this.packed = {
        layout: packed.layout,
        open: (source, signal) => this.#openPacked(source, signal),
        read: async (weight, from, to) => {
          this.#alive();
          return this.#wait(packed.read(this.#held(weight), from, to));
        },
      };
    }
    if (driver.encodeBlocks) this.encodeBlocks = (...args) => this.#encodeBlocks(...args);
    if (deviceTensors) this.deviceTensors = { join: (tensors) => this.#join(deviceTensors, tensors) };
    if (profile) {
      this.profile = async () => {
        this.#alive();
        return this.#wait(profile.call(driver));
      };
    }
  }

  async openWeight(source: WeightSource, dtype: WeightDtype, signal?: AbortSignal): Promise<Weight & Disposable> {
    this.#alive();
    const { name, shape } = source;
    this.#expectDtype(name, dtype);
    expectStored(source);
    const weight = await this.#hold({ name, dtype, shape: [...shape] });
    try {
      await readInto(weight.held, source, this.#guard, signal);
      this.#alive();
      return weight;
    } catch (error) {
      weight[Symbol.dispose]();
      throw error;
    }
  }

  async createStates(spec: StateSpec): Promise<StateStore> {
    this.#alive();
    this.#expectSpec(spec);
    const held = this.#inUse(await this.#wait(this.#driver.createStates(spec)));
    const store: HeldStates = new HeldStates(spec, held, this.#guard, () => this.#stores.delete(store));
    this.#stores.add(store);
    return store;
  }

  async prepare(list: CommandList, states: StateStore): Promise<Program> {
    this.#alive();
    const store = this.#own(states);
    const weights = [...new Set(list.commands.flatMap(weightsOf))];
    for (const weight of weights) this.#held(weight);
    const plan = lower(list, this.#driver.lowering);
    const compiled = this.#inUse(await this.#wait(this.#driver.compile(plan, store.held, (weight) => this.#held(weight))));
    const program: HeldProgram = new HeldProgram(list, store, plan, weights, compiled, () => this.#programs.delete(program));
    this.#programs.add(program);
    return program;
  }

  submit(program: Program, inputs: StepInputs, { signal }: SubmitOptions = {}): Step {
    this.#alive();
    signal?.throwIfAborted();
    if (!this.#programs.has(program as HeldProgram))
      throw new BackendError(`${this.#name}: expected a program that is in use, found a disposed one or another backend's`);
    const { list, states, plan, weights, compiled } = program as HeldProgram;
    this.#own(states);
    for (const weight of weights) this.#held(weight);
    checkInputs(list, states, inputs);
    const outputs = plan.outputs.map(({ x }) => allocate(x ?? { dtype: "f32", shape: [inputs.asked?.ids.length ?? 0] }));
    const packed = packInputs(
      plan,
      states.spec,
      inputs,
      outputs.map(({ data }) => data as Float32Array),
      this.#driver.deviceTensors,
    );
    for (const old of states.kept.splice(0, states.kept.length - 1)) old.dropKept();
    const ticket = this.#driver.submit(compiled, states.held, packed);
    states.kept.push(ticket);
    const cancel = () => ticket.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    const done = this.#wait(ticket.done)
      .catch((error) => {
        // However a device says that it was cancelled.
        if (signal?.aborted && !(error instanceof JambaError)) throw signal.reason;
        throw error;
      })
      .finally(() => signal?.removeEventListener("abort", cancel));
    done.catch(() => undefined); // whoever reads hears of it
    return new HeldStep(program as HeldProgram, ticket, outputs, done, this.#guard);
  }

  async copyStates(states: StateStore, copies: StateCopies): Promise<void> {
    this.#alive();
    const { held } = this.#own(states);
    checkCopies(states, copies);
    await this.#wait(this.#driver.copyStates(held, packCopies(copies)));
  }

  readState(states: StateStore, address: StateAddress): AsyncIterable<StatePart> {
    this.#alive();
    const { held, spec } = this.#own(states);
    checkAddress(states, address);
    return readParts(held, spec, address, this.#guard);
  }

  async writeState(states: StateStore, address: StateAddress, parts: AsyncIterable<StatePart> | Iterable<StatePart>): Promise<void> {
    this.#alive();
    const { held, spec } = this.#own(states);
    checkAddress(states, address);
    await writeParts(held, spec, address, parts, this.#guard);
  }

  async #join(driver: DriverTensors, tensors: readonly HostTensor[]): Promise<HostTensor> {
    this.#alive();
    const [first, ...others] = tensors;
    if (!first) throw new ShapeError("join: expected at least one tensor, found none");
    for (const tensor of tensors) {
      const { type, dims, location, size } = tensor;
      if (location !== "gpu-buffer")
        throw new JambaError("UNSUPPORTED", `join: expected tensors in GPU buffers, found one in "${location}"`);
      if (type !== first.type || dims.slice(1).join() !== first.dims.slice(1).join())
        throw new ShapeError(`join: expected rows as of ${first.type} [${first.dims.join(", ")}], found ${type} [${dims.join(", ")}]`);
      driver.expectReadable("join", tensor.gpuBuffer, 4 * size);
    }
    if (others.length === 0) return first;
    const rows = tensors.reduce((sum, { dims }) => sum + dims[0], 0);
    const joined = await this.#wait(driver.join(tensors, [rows, ...first.dims.slice(1)]));
    for (const tensor of tensors) tensor.dispose();
    return joined;
  }

  memory(): MemoryUse {
    const sum = (held: Iterable<{ sizeBytes: number }>) => [...held].reduce((a, b) => a + b.sizeBytes, 0);
    const weights = [...this.#weights].map(({ held }) => held);
    return {
      weightBytes: sum(weights),
      mappedBytes: sum(weights.filter(({ mapped }) => mapped)),
      stateBytes: sum([...this.#stores].map(({ held }) => held)),
      arenaBytes: this.#disposed ? 0 : this.#driver.arenaBytes(),
    };
  }

  room(): Promise<Room> {
    return this.#driver.room();
  }

  weightBytes(shape: readonly number[], dtype: WeightDtype): number {
    this.#expectDtype("weight", dtype);
    return this.#driver.weightBytes({ name: "weight", shape, dtype });
  }

  stateBytes(spec: StateSpec): { slot: number; page: number } {
    this.#expectSpec(spec);
    return this.#driver.stateBytes(spec);
  }

  workspaceBytes(steps: readonly PlannedStep[]): number {
    this.#alive();
    for (const { seen } of steps) expectCount("workspaceBytes: seen", seen);
    return this.#driver.workspaceBytes(steps.map(({ list, seen }) => ({ plan: lower(list, this.#driver.lowering), seen })));
  }

  dispose(): Promise<void> {
    this.#disposed ??= (async () => {
      await this.#driver.interrupt();
      for (const program of this.#programs) program[Symbol.dispose]();
      const stores = [...this.#stores];
      for (const store of stores) store.dispose();
      await Promise.all(stores.map(({ released }) => released));
      for (const weight of this.#weights) weight[Symbol.dispose]();
      await this.#driver.dispose();
    })();
    return this.#disposed;
  }

  async #openPacked({ name, dtype, shape, read, file }: PackedSource, signal?: AbortSignal): Promise<HeldWeight> {
    this.#alive();
    const packed = this.#driver.packed!;
    this.#expectDtype(name, dtype);
    const { map } = packed;
    if (file && map) {
      if (!Number.isSafeInteger(file.offset) || file.offset < 0 || file.offset % 64 !== 0)
        throw new LoadError(`${name}: expected an offset into ${file.path} that is a multiple of 64, found ${file.offset}`);
      return this.#hold({ name, dtype, shape: [...shape] }, (weight) => map.call(packed, weight, file));
    }
    const weight = await this.#hold({ name, dtype, shape: [...shape] });
    try {
      const { sizeBytes } = weight.held;
      for (let from = 0; from < sizeBytes; from += packedPieceBytes) {
        signal?.throwIfAborted();
        const to = Math.min(sizeBytes, from + packedPieceBytes);
        const bytes = await read(from, to, signal);
        if (bytes.byteLength !== to - from) throw new LoadError(`${name}: expected ${to - from} bytes, found ${bytes.byteLength}`);
        this.#alive();
        await this.#wait(packed.write(weight.held, from, steady(bytes)));
      }
      return weight;
    } catch (error) {
      weight[Symbol.dispose]();
      throw error;
    }
  }

  async #encodeBlocks(values: Float32Array, columns: number, dtype: BlockDtype, importance?: Float32Array): Promise<Uint8Array> {
    this.#alive();
    if (!isBlockDtype(dtype)) throw new DtypeError(`encodeBlocks: expected one of ${Object.keys(blockFormats).join(", ")}, found ${dtype}`);
    const length = blockFormats[dtype].values;
    if (!(Number.isSafeInteger(columns) && columns > 0) || columns % length !== 0 || values.length % columns !== 0)
      throw new ShapeError(`encodeBlocks: expected rows of whole blocks of ${dtype}, found ${values.length} values in rows of ${columns}`);
    if (importance && (importance.length !== columns || !importance.every((v) => v >= 0 && v < Number.POSITIVE_INFINITY)))
      throw new ShapeError(
        `encodeBlocks: importance: expected ${columns} mean squares, found ${importance.length} numbers or some that are none`,
      );
    const blocks = new Uint8Array(storedBytes(dtype, values.length));
    const encoded = this.#driver.encodeBlocks!(steady(values), columns, dtype, importance && steady(importance), blocks);
    await this.#wait(encoded);
    return blocks;
  }

  async #hold(
    weight: Weight,
    create: (weight: Weight) => DriverWeight | Promise<DriverWeight> = (weight) => this.#driver.createWeight(weight),
  ): Promise<HeldWeight> {
    const made = create(weight);
    const held = this.#inUse(made instanceof Promise ? await this.#wait(made) : made);
    const own: HeldWeight = new HeldWeight(weight, held, () => this.#weights.delete(own));
    this.#weights.add(own);
    return own;
  }

  /** What the driver holds of a weight. */
  #held(weight: Weight): DriverWeight {
    this.#alive();
    if (!this.#weights.has(weight as HeldWeight))
      throw new BackendError(`${weight.name}: expected a weight that this backend holds, found another's or a disposed one`);
    return (weight as HeldWeight).held;
  }

  #own(states: StateStore): HeldStates {
    if (!this.#stores.has(states as HeldStates))
      throw new BackendError(
        `${this.#name}: expected states that it made itself, found another's; move them with readState and writeState`,
      );
    return states as HeldStates;
  }

  #expectDtype(name: string, dtype: WeightDtype): void {
    const { weightDtypes } = this.device;
    if (!weightDtypes.includes(dtype))
      throw new DtypeError(`${name}: expected one of ${weightDtypes.join(", ")} on ${this.#name}, found ${dtype}`);
  }

  #expectSpec({ pageTokens, kvDtype }: StateSpec): void {
    const { kvDtypes } = this.device;
    if (!Number.isSafeInteger(pageTokens) || pageTokens < 1 || pageTokens > 2 ** 16)
      throw new ShapeError(`createStates: pageTokens: expected an integer in [1, 65536], found ${pageTokens}`);
    if (!kvDtypes.includes(kvDtype))
      throw new DtypeError(`createStates: kvDtype: expected one of ${kvDtypes.join(", ")} on ${this.#name}, found ${kvDtype}`);
  }

  get #name(): string {
    return `${this.device.kind} backend`;
  }

  #alive(): void {
    if (this.#disposed) throw new JambaError("DISPOSED", `${this.#name}: expected an open backend, found it disposed`);
    if (this.#gone) throw this.#gone;
  }

  /** What the driver made, which nobody would let go of if the backend was disposed or lost meanwhile. */
  #inUse<T extends { release(): void }>(made: T): T {
    if (this.#disposed || this.#gone) made.release();
    this.#alive();
    return made;
  }

  /** What a device that is lost may never settle, or settle as if nothing had happened. */
  async #wait<T>(work: T | Promise<T>): Promise<T> {
    if (!this.#driver.lost || !(work instanceof Promise)) return work;
    let tell!: (reason: JambaError) => void;
    const lost = new Promise<never>((_, reject) => {
      tell = reject;
    });
    this.#waiting.add(tell);
    try {
      const found = await Promise.race([work, lost]);
      if (this.#gone) throw this.#gone;
      return found;
    } catch (error) {
      // What failed because of it may say so before the device does.
      if (!this.#gone) await new Promise((resolve) => setTimeout(resolve));
      throw this.#gone ?? error;
    } finally {
      this.#waiting.delete(tell);
    }
  }
}

/** @throws DtypeError for a dtype that is none, or rows that are not whole blocks of it; ShapeError for a shape that is none */
function expectStored({ name, dtype, shape }: WeightSource): void {
  if (!storedDtypes.includes(dtype))
    throw new DtypeError(`${name}: expected one of ${storedDtypes.join(", ")} in the file, found ${dtype}`);
  if (shape.length === 0 || shape.some((n) => !Number.isSafeInteger(n) || n < 0 || n >= 2 ** 31))
    throw new ShapeError(`${name}: expected a vector, a matrix or a stack of matrices, found [${shape.join(", ")}]`);
  const { columns } = matrixOf(shape);
  if (isBlockDtype(dtype) && columns % blockFormats[dtype].values !== 0)
    throw new DtypeError(`${name}: expected rows of whole ${dtype} blocks of ${blockFormats[dtype].values}, found [${shape.join(", ")}]`);
}
