// What workers run: one owns the module, makes every call of it and keeps its handles; the others are in the module's pool from then on.

import { Arguments, Instance, ModuleFailure, makeMemory } from "./instance.ts";
import { cancelPlaces, type Opening, type OwnerCall, type OwnerMessage, type OwnerReply } from "./messages.ts";

/** Of a thread of the pool; tiles and segments need some ten KiB. */
const stackBytes = 256 * 1024;

declare const require: ((name: string) => typeof import("node:fs")) | undefined;
declare const self: {
  postMessage(message: OwnerReply, transfer?: ArrayBuffer[]): void;
  onmessage: (event: { data: OwnerMessage }) => void;
};

let instance: Instance;
let sliceMs = Number.POSITIVE_INFINITY;
const handles = new Map<number, number>();
const waiting: OwnerCall[] = [];
let busy = false;

declare const setImmediate: ((then: () => void) => void) | undefined;

/** Lets messages come in. Node hears of up to a thousand on one port before it looks at another, but of all between two immediates. */
const turn = (() => {
  if (typeof setImmediate === "function") return () => new Promise<void>(setImmediate);
  const { port1, port2 } = new MessageChannel();
  let go: () => void;
  port1.onmessage = () => go();
  return () =>
    new Promise<void>((resolve) => {
      go = resolve;
      port2.postMessage(0);
    });
})();

function placeOf(handle: unknown): number {
  const place = handles.get(handle as number);
  if (place === undefined) throw new ModuleFailure("DISPOSED", "wasm backend: expected something that is in use, found it disposed");
  return place;
}

function hold(handle: unknown, place: number): void {
  handles.set(handle as number, place >>> 0);
}

type Named = (...args: never[]) => unknown;

/** By the names of CpuExecutor. */
const calls: Record<string, Named> = {
  createWeight: (handle: number, name: string, ...rest: [number, boolean, number, number, number]) =>
    instance.call((args, x) => {
      const text = new TextEncoder().encode(name);
      hold(handle, x.createWeight(args.copy(text), text.length, ...rest));
    }),
  packRows: (weight: number, from: number, to: number, bytes: Uint8Array, stored: number) =>
    instance.call((args, x) => x.packRows(placeOf(weight), from, to, args.copy(bytes), bytes.byteLength, stored)),
  packFile: (weight: number, from: number, to: number, path: string, offset: number, sizeBytes: number, stored: number) =>
    instance.call((args, x) => {
      const place = args.room(sizeBytes);
      readFile(path, offset, instance.bytes(place, sizeBytes));
      x.packRows(placeOf(weight), from, to, place, sizeBytes, stored);
    }),
  packBlob: async (weight: number, from: number, to: number, blob: Blob, offset: number, sizeBytes: number, stored: number) => {
    const bytes = new Uint8Array(await readBlob(blob, offset, sizeBytes));
    instance.call((args, x) => x.packRows(placeOf(weight), from, to, args.copy(bytes), sizeBytes, stored));
  },
  writePacked: (weight: number, at: number, bytes: Uint8Array) =>
    instance.call((_, x) => instance.bytes(x.packedAt(placeOf(weight), at, bytes.byteLength), bytes.byteLength).set(bytes)),
  readPacked: (weight: number, from: number, to: number) =>
    instance.call((_, x) => instance.bytes(x.packedAt(placeOf(weight), from, to - from), to - from).slice()),
  encodeBlocks: (values: Float32Array, columns: number, stored: number, importance: Float32Array | undefined, sizeBytes: number) =>
    instance.call((args, x) => {
      const [from, weights, to] = [args.copy(values), importance ? args.copy(importance) : 0, args.room(sizeBytes)];
      x.encodeBlocks(from, values.length, columns, stored, weights, importance?.length ?? 0, to, sizeBytes);
      return instance.bytes(to, sizeBytes).slice();
    }),
  createStates: (handle: number, layout: Int32Array) => instance.call((args, x) => hold(handle, x.createStates(args.span(layout)))),
  reserveStates: (states: number, nSlots: number, nPages: number) =>
    instance.call((_, x) => x.reserveStates(placeOf(states), nSlots, nPages)),
  shrinkStates: (states: number, nSlots: number, nPages: number) =>
    instance.call((_, x) => x.shrinkStates(placeOf(states), nSlots, nPages)),
  copyStates: (states: number, slots: Int32Array, pages: Int32Array) =>
    instance.call((args, x) => x.copyStates(placeOf(states), args.span(slots), args.span(pages))),
  movePart: (states: number, address: Int32Array, layer: number, part: number, bytes: Uint8Array | number, write: boolean) =>
    instance.call((args, x) => {
      const span = write ? args.span(bytes as Uint8Array) : args.roomSpan(bytes as number);
      x.movePart(placeOf(states), args.span(address), layer, part, span, write);
      if (write) return undefined;
      const [place, size] = new Uint32Array(instance.bytes(span, 8).slice().buffer);
      return instance.bytes(place, size).slice();
    }),
  release: (kind: "Weight" | "States" | "Program", handle: number) => {
    const place = handles.get(handle);
    if (place !== undefined) instance.exports[`release${kind}`](place);
    handles.delete(handle);
  },
  createProgram: (handle: number, words: Int32Array, weights: readonly number[], states: number) =>
    instance.call((args, x) => {
      const held = Uint32Array.from(weights, placeOf);
      hold(handle, x.createProgram(args.span(words), args.span(held), placeOf(states)));
    }),
  run,
  readKept: (token: number, index: number, from: number, to: number, sizeBytes: number) =>
    instance.call((_, x) => instance.bytes(x.keptAt(token, index, from, to, sizeBytes), sizeBytes).slice()),
  dropKept: (token: number) => instance.call((_, x) => x.dropKept(token)),
  profile: (nOps: number) =>
    instance.call((args, x) => {
      const all = args.room(16 * nOps);
      x.profile(all);
      return instance.numbers(all, 2 * nOps);
    }),
  measureLimits: () =>
    instance.call((args, x) => {
      const found = args.room(40);
      x.measureLimits(found);
      return instance.numbers(found, 5);
    }),
};

/** What `run` gets: see CpuExecutor. Outputs as sizes. */
async function run(
  program: number,
  states: number,
  integers: readonly ArrayBufferView[],
  inputs: readonly ArrayBufferView[],
  outputs: readonly number[],
  token: number,
): Promise<Uint8Array[]> {
  const args = new Arguments(instance);
  try {
    const places: number[] = [];
    instance.call((_, x) => {
      const words = [...integers, ...inputs].flatMap((one) => [args.copy(one), one.byteLength]);
      for (const bytes of outputs) {
        places.push(args.room(bytes));
        words.push(places.at(-1)!, bytes);
      }
      x.beginRun(placeOf(program), placeOf(states), args.copy(Uint32Array.from(words)), inputs.length, outputs.length, token);
    });
    while (!instance.call((_, x) => x.advanceRun(sliceMs))) await turn();
    if (instance.call((_, x) => x.endRun())) throw new ModuleFailure("ABORTED", "cancelled");
    return outputs.map((bytes, i) => instance.bytes(places[i], bytes).slice());
  } finally {
    args.end();
    instance.exports.commit();
  }
}

async function readBlob(blob: Blob, offset: number, sizeBytes: number): Promise<ArrayBuffer> {
  const where = `${(blob as Partial<File>).name ?? "blob"}: ${sizeBytes} bytes at ${offset}`;
  let bytes: ArrayBuffer;
  try {
    bytes = await blob.slice(offset, offset + sizeBytes).arrayBuffer();
  } catch (error) {
    throw new ModuleFailure("LOAD", `${where}: expected to be read, found: ${(error as Error).message}`);
  }
  if (bytes.byteLength !== sizeBytes) throw new ModuleFailure("LOAD", `${where}: expected that many, found ${bytes.byteLength}`);
  return bytes;
}

/** Straight into the module's memory. */
function readFile(path: string, offset: number, into: Uint8Array): void {
  const fs = require!("node:fs");
  let file: number | undefined;
  try {
    file = fs.openSync(path, "r");
    for (let done = 0; done < into.length; ) {
      const n = fs.readSync(file, into, done, Math.min(into.length - done, 2 ** 30), offset + done);
      if (n === 0)
        throw new ModuleFailure(
          "LOAD",
          `${path}: expected ${into.length} bytes at ${offset}, found ${done}; the file became shorter after it was opened`,
        );
      done += n;
    }
  } catch (error) {
    throw error instanceof ModuleFailure ? error : new ModuleFailure("LOAD", `${path}: ${(error as Error).message}`);
  } finally {
    if (file !== undefined) fs.closeSync(file);
  }
}

async function make({ id, name, args }: OwnerCall): Promise<void> {
  try {
    const value = await (calls[name] as (...args: readonly unknown[]) => unknown)(...args);
    const all = [value].flat().filter((one) => ArrayBuffer.isView(one)) as Uint8Array<ArrayBuffer>[];
    const { exports } = instance;
    self.postMessage(
      { id, value, arenaBytes: exports.arenaBytes(), takenBytes: exports.takenBytes() },
      all.map(({ buffer }) => buffer),
    );
  } catch (error) {
    const { code, message } = error as ModuleFailure;
    if (error instanceof WebAssembly.RuntimeError) self.postMessage({ broken: `${name}: ${message}` });
    else self.postMessage({ id, failed: { code: error instanceof ModuleFailure ? code : undefined, message } });
  }
}

async function makeAll(): Promise<void> {
  busy = true;
  for (let next = waiting.shift(); next; next = waiting.shift()) await make(next);
  busy = false;
}

self.onmessage = ({ data }) => {
  if ("call" in data) {
    waiting.push(data.call);
    if (!busy) void makeAll();
    return;
  }
  if ("cancel" in data) {
    const at = (instance.exports.cancelWords() >>> 0) / 4 + (data.cancel % cancelPlaces);
    new Int32Array(instance.memory.buffer)[at] = data.cancel;
    return;
  }
  if ("join" in data) {
    const { module, memory, stack, thread } = data.join;
    const { exports } = new Instance(module, memory);
    exports.__stack_pointer.value = stack | 0;
    self.postMessage({ joined: true });
    exports.work(thread);
    return;
  }
  try {
    open(data.open);
  } catch (error) {
    self.postMessage({ broken: (error as Error).message });
  }
};

function open({ module, memory, shared, threads, sliceMs: slice }: Opening): void {
  sliceMs = slice;
  const own = memory ? { memory, mostBytes: 0 } : makeMemory(shared);
  instance = new Instance(module, own.memory);
  const { exports } = instance;
  exports.__wasm_call_ctors();
  exports.start(threads);
  const stacks = Array.from({ length: threads - 1 }, () => exports.stackOf(stackBytes) >>> 0);
  const names = exports.names() >>> 0;
  const end = new Uint8Array(instance.memory.buffer).indexOf(0, names);
  const text = instance.text(names, end - names);
  exports.give(names);
  exports.commit();
  self.postMessage({
    opened: {
      stacks,
      cancelWords: exports.cancelWords() >>> 0,
      names: text,
      mostBytes: own.mostBytes,
      roundsOnce: exports.roundsOnce() !== 0,
      areDotsRight: exports.checkDots && exports.checkDots(20) !== 0,
    },
  });
}
