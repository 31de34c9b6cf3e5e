// Modules of kernels, loaded when a list first needs them, and launches as the addon takes them.

import { fromNode } from "@jamba/core";
import type { NativeDevice } from "./addon.ts";

export type Numbers = Readonly<Record<string, number>>;
export type Grid = readonly [x: number, y?: number, z?: number];

/** ptx/manifest.json, as far as it is needed here. */
interface Manifest {
  readonly params: Readonly<Record<string, readonly { readonly name: string; readonly type: string }[]>>;
  readonly modules: Readonly<
    Record<string, { readonly stem: string; readonly kernels: Readonly<Record<string, { readonly threads: number }>> }>
  >;
}

/** A kernel that can be launched. */
export interface Kernel {
  readonly name: string;
  readonly address: number;
  readonly threads: number;
  readonly params: readonly { readonly name: string; readonly type: string }[];
}

export class Kernels {
  readonly #modules = new Map<string, Promise<ReadonlyMap<string, Kernel>>>();

  private constructor(
    readonly native: NativeDevice,
    readonly manifest: Manifest,
    readonly readModule: (name: string) => Promise<string>,
  ) {}

  static async open(native: NativeDevice, folder: string): Promise<Kernels> {
    const { readFile } = await fromNode<typeof import("node:fs/promises")>("node:fs/promises");
    const { gunzipSync } = await fromNode<typeof import("node:zlib")>("node:zlib");
    const { join } = await fromNode<typeof import("node:path")>("node:path");
    const manifest = JSON.parse(await readFile(join(folder, "ptx", "manifest.json"), "utf8")) as Manifest;
    return new Kernels(native, manifest, async (name) =>
      gunzipSync(await readFile(join(folder, "ptx", `${name}.ptx.gz`))).toString("utf8"),
    );
  }

  /** @param name of the kernel without its format, which is the module's too */
  async get(stem: string, name: string, dtype?: string): Promise<Kernel> {
    const module = dtype ? `${stem}.${dtype}` : stem;
    const loading = this.#modules.get(module) ?? this.#load(module);
    this.#modules.set(module, loading);
    return (await loading).get(dtype ? `${name}_${dtype}` : name)!;
  }

  async #load(module: string): Promise<ReadonlyMap<string, Kernel>> {
    const { stem, kernels } = this.manifest.modules[module];
    const names = Object.keys(kernels);
    const addresses = await this.native.load(await this.readModule(module), names);
    const params = this.manifest.params[stem];
    return new Map(names.map((name, i) => [name, { name, address: addresses[i], threads: kernels[name].threads, params }]));
  }
}

const headBytes = 40;
const sizeOf = (type: string) => (type === "address" || type === "int64_t" ? 8 : 4);

/** Launches one after another, as `Launch` in driver.h has them. */
export class Launches {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #starts: number[] = [];

  constructor(all: readonly { readonly kernel: Kernel; readonly params: Numbers }[]) {
    const laid = all.map(({ kernel }) => layoutOf(kernel));
    this.bytes = new Uint8Array(laid.reduce((sum, { size }) => sum + headBytes + 8 * Math.ceil(size / 8), 0));
    this.#view = new DataView(this.bytes.buffer);
    let at = 0;
    for (const [i, { kernel, params }] of all.entries()) {
      this.#starts.push(at);
      this.#view.setBigUint64(at, BigInt(kernel.address), true);
      for (const [j, n] of [kernel.threads, 1, 1, laid[i].size].entries()) this.#view.setUint32(at + 20 + 4 * j, n, true);
      this.#put(at + headBytes, kernel, laid[i].places, params);
      at += headBytes + 8 * Math.ceil(laid[i].size / 8);
    }
  }

  /** One with nothing in its grid is left out. */
  setGrid(i: number, [x, y = 1, z = 1]: Grid): void {
    for (const [j, n] of [x, y, z].entries()) this.#view.setUint32(this.#starts[i] + 8 + 4 * j, n, true);
  }

  /** @throws where a parameter is missing or too much: a fault of calls.ts */
  #put(at: number, { name, params }: Kernel, places: readonly number[], values: Numbers): void {
    const found = Object.keys(values);
    if (params.length !== found.length || params.some((field) => !(field.name in values)))
      throw new Error(`${name}: expected the parameters ${params.map((field) => field.name).join(", ")}, found ${found.join(", ")}`);
    for (const [i, field] of params.entries()) {
      const [place, value] = [at + places[i], values[field.name]];
      if (field.type === "float") this.#view.setFloat32(place, value, true);
      else if (field.type === "int") this.#view.setInt32(place, value, true);
      else this.#view.setBigUint64(place, BigInt(value), true);
    }
  }
}

/** As C++ lays a struct out. */
function layoutOf({ params }: Kernel): { size: number; places: number[] } {
  let at = 0;
  let most = 4;
  const places = params.map(({ type }) => {
    const size = sizeOf(type);
    most = Math.max(most, size);
    const place = Math.ceil(at / size) * size;
    at = place + size;
    return place;
  });
  return { size: Math.ceil(at / most) * most, places };
}

/** As many blocks as have so many threads together. */
export function flat(n: number, threads = 128): Grid {
  return [Math.ceil(n / threads)];
}
