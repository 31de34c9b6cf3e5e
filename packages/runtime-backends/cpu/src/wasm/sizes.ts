// What things take, asked of a module of its own on this thread: sizes are wanted at once, and the module that works is elsewhere.

import type { WeightDescription } from "../addon.ts";
import { Instance } from "./instance.ts";

/** Names by the numbers that a module knows them by. */
export interface ModuleNames {
  readonly level: string;
  readonly ops: readonly string[];
  readonly dtypes: readonly string[];
  readonly stored: readonly { readonly name: string; readonly values: number; readonly bytes: number }[];
}

/** As `names` in native/wasm/door.cc writes them. */
export function parseNames(text: string): ModuleNames {
  const [level, ops, dtypes, stored] = text.split(";").map((part) => part.split(",").filter(Boolean));
  return {
    level: level[0],
    ops,
    dtypes,
    stored: stored.map((one) => {
      const [name, values, bytes] = one.split(" ");
      return { name, values: Number(values), bytes: Number(bytes) };
    }),
  };
}

export class Sizes {
  readonly #instance: Instance;

  constructor(
    module: WebAssembly.Module,
    shared: boolean,
    threads: number,
    readonly names: ModuleNames,
  ) {
    this.#instance = new Instance(module, new WebAssembly.Memory({ initial: 64, maximum: 4096, shared }));
    this.#instance.exports.__wasm_call_ctors();
    this.#instance.exports.start(threads);
  }

  weightBytes([name, ...rest]: WeightDescription): number {
    return this.#instance.call((args, x) => {
      const text = new TextEncoder().encode(name);
      return x.weightBytes(args.copy(text), text.length, ...rest);
    });
  }

  rowBytes(columns: number, stored: number): number {
    const { values, bytes } = this.names.stored[stored] ?? { values: 1, bytes: 0 };
    return (columns / values) * bytes;
  }

  stateSizes(layout: Int32Array): Float64Array {
    return this.#instance.call((args, x) => {
      const sizes = args.room(16);
      x.stateSizes(args.span(layout), sizes);
      return this.#instance.numbers(sizes, 2);
    });
  }

  roomOf(words: Int32Array, weights: readonly WeightDescription[], layout: Int32Array, seen: number): Float64Array {
    return this.#instance.call((args, x) => {
      const described = Float64Array.from(weights.flatMap(([, ...rest]) => rest.map(Number)));
      const sizes = args.room(32);
      x.roomOf(args.span(words), args.span(described), args.span(layout), seen, sizes);
      return this.#instance.numbers(sizes, 4);
    });
  }
}
